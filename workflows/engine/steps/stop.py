"""`stop`: end the execution here, completed or failed."""

from typing import Literal

from workflows.choices import Effect
from workflows.engine.steps.base import Step, StepConfig, StepContext, Stop
from workflows.engine.steps.registry import register


class StopConfig(StepConfig):
    status: Literal["completed", "failed"] = "completed"
    message: str = ""


@register
class StopStep(Step[StopConfig]):
    type = "stop"
    title = "Stop"
    config_model = StopConfig
    output_keys = ("status", "message")
    effect = Effect.PURE
    lane = None

    def run(self, config: StopConfig, context: StepContext) -> Stop:
        data = {"status": config.status, "message": config.message}
        return Stop(data, failed=config.status == "failed", message=config.message)
