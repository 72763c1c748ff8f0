"""`delay`: wait without holding a worker."""

from datetime import timedelta

from pydantic import AliasChoices, Field

from core import clock
from workflows.choices import Effect
from workflows.engine.steps.base import Outcome, Output, Step, StepConfig, StepContext, Wait
from workflows.engine.steps.registry import register

LONGEST_DELAY_SECONDS = 366 * 86_400


class DelayConfig(StepConfig):
    seconds: float = Field(
        default=1,
        ge=0,
        le=LONGEST_DELAY_SECONDS,
        allow_inf_nan=False,
        validation_alias=AliasChoices("seconds", "delay_seconds", "delay"),
    )


@register
class DelayStep(Step[DelayConfig]):
    type = "delay"
    title = "Delay"
    config_model = DelayConfig
    output_keys = ("delayed", "delayed_seconds")
    effect = Effect.PURE
    lane = None

    def run(self, config: DelayConfig, context: StepContext) -> Outcome:
        if config.seconds == 0:
            return self.resume(config, context)
        until = clock.now() + timedelta(seconds=config.seconds)
        return Wait(until=until, reason=f"waits until {until:%Y-%m-%d %H:%M:%S} UTC (delay of {config.seconds:g} s)")

    def resume(self, config: DelayConfig, context: StepContext) -> Output:
        seconds = int(config.seconds) if config.seconds == int(config.seconds) else config.seconds
        return Output({"delayed": True, "delayed_seconds": seconds})
