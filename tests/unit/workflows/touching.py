"""Effects that tell what touched them, and loops of them, for the tests of branches."""

from typing import Any

from workflows.choices import Lane
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError


class TouchConfig(StepConfig):
    value: Any = None
    fails: bool = False


touched: list[str] = []


class Touch(Step[TouchConfig]):
    """An effect that tells what touched it, and fails where its config or the test says so."""

    type = "touch"
    config_model = TouchConfig
    lane = Lane.FLOW
    broken: set[str] = set()

    def run(self, config: TouchConfig, context: StepContext) -> Output:
        touched.append(context.path)
        if config.fails or context.path in self.broken:
            raise StepError("broken", f"{context.path} is broken", retryable=False)
        return Output({"value": config.value})


def touch(name: str, value: object = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "touch", "config": {"value": value}, **more}


def log_step(name: str, message: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": message}, **more}


def loop(*steps: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {"name": "loop", "type": "foreach", "config": {"items": "{{trigger.items}}", "steps": list(steps), **config}}
