"""`log`: write a line to the execution's log and the server's."""

from typing import Literal

from core import logs
from workflows.choices import Effect
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext
from workflows.engine.steps.registry import register

_log = logs.get("workflows.step.log")


class LogConfig(StepConfig):
    message: object = ""
    level: Literal["debug", "info", "warning", "error"] = "info"


@register
class LogStep(Step[LogConfig]):
    type = "log"
    title = "Log"
    config_model = LogConfig
    output_keys = ("message", "level")
    effect = Effect.PURE
    lane = None

    def run(self, config: LogConfig, context: StepContext) -> Output:
        context.log(str(config.message), level=config.level)
        _log.debug("workflow.log", execution_id=context.execution_id, step=context.path, level_wanted=config.level)
        return Output({"message": config.message, "level": config.level})
