"""`parallel`: steps side by side, none of which sees another's output (contract 13.3)."""

from typing import Any

from pydantic import AliasChoices, Field

from workflows.choices import Effect
from workflows.engine.steps.base import Output, Spawn, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.registry import register

MOST_SHOWN = 5


class ParallelConfig(StepConfig):
    steps: list[dict[str, Any]] = Field(
        validation_alias=AliasChoices("steps", "parallel_steps"),
        min_length=1,
        description="Steps to run side by side; an item {name, steps} runs its steps one after another.",
    )


@register
class ParallelStep(Step[ParallelConfig]):
    type = "parallel"
    title = "Parallel"
    config_model = ParallelConfig
    output_keys = ("parallel_results", "completed_count")
    effect = Effect.PURE
    lane = None
    raw_keys = frozenset({"steps", "parallel_steps"})

    def run(self, config: ParallelConfig, context: StepContext) -> Spawn:
        return Spawn(f"runs {len(config.steps)} steps side by side")

    def resume(self, config: ParallelConfig, context: StepContext) -> Output:
        failures = [item for item in context.children.ended if item["error"] is not None]
        if failures:
            named = "; ".join(f"{item['name']}: {item['error']}" for item in failures[:MOST_SHOWN])
            message = f"{len(failures)} of {len(config.steps)} branches failed: {named}"
            raise StepError(failures[0]["error_code"] or "branch_failed", message, retryable=False)
        results = context.children.outputs(str(step["name"]) for step in config.steps)
        return Output({"parallel_results": results, "completed_count": len(results)})
