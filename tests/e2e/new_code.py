"""A step type that only the newer code of a deploy knows (`STEP_MODULES`)."""

from workflows.choices import Effect
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext
from workflows.engine.steps.registry import register


class Greeting(StepConfig):
    name: str = "world"


@register
class GreetStep(Step[Greeting]):
    type = "greet_from_the_future"
    config_model = Greeting
    output_keys = ("greeting",)
    effect = Effect.PURE

    def run(self, config: Greeting, context: StepContext) -> Output:
        return Output({"greeting": f"hello {config.name}"})
