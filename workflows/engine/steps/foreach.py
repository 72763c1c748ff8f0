"""`foreach`: the same steps for every item of a list, some at once, results in the items' order (ENGINE 3)."""

from typing import Any, Literal

from pydantic import Field

from workflows.choices import Effect
from workflows.engine.steps.base import Output, Spawn, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.registry import register

MOST_ITEMS = 10_000
MOST_ERRORS = 1000


class ForeachConfig(StepConfig):
    items: Any = Field(description="A list, or an object whose entries become {key, value}.")
    steps: list[dict[str, Any]] = Field(min_length=1, description="Steps that see {{item}} and {{index}}.")
    max_concurrency: int = Field(default=10, ge=1, le=100, description="How many items are in flight at most.")
    on_item_error: Literal["fail", "continue"] = Field(
        default="fail", description="fail: no further item begins. continue: the item's result is null."
    )


@register
class ForeachStep(Step[ForeachConfig]):
    type = "foreach"
    title = "For each"
    config_model = ForeachConfig
    output_keys = ("results", "count", "succeeded", "failed", "errors")
    effect = Effect.PURE
    lane = None
    raw_keys = frozenset({"steps"})
    counted_keys = frozenset({"items"})

    def run(self, config: ForeachConfig, context: StepContext) -> Spawn | Output:
        count = len(items_of(config.items))
        if not count:
            return Output(summary([], []))
        most = min(count, config.max_concurrency)
        return Spawn(f"runs {count} items, at most {most} at once", count=count, at_once=most)

    def resume(self, config: ForeachConfig, context: StepContext) -> Output:
        errors: list[dict[str, Any]] = [
            {"index": int(item["name"]), "error": item["error"], "error_code": item["error_code"]}
            for item in context.children.ended
            if item["error"] is not None
        ]
        errors.sort(key=lambda item: int(item["index"]))
        if errors and config.on_item_error == "fail":
            first = errors[0]
            which = f"{len(errors)} of {len(items_of(config.items))} items failed: item {first['index']}"
            code = str(first["error_code"] or "item_failed")
            raise StepError(
                code, f"{which}: {first['error']}", retryable=False, output={"errors": errors[:MOST_ERRORS]}
            )
        count = len(items_of(config.items))
        results = list(context.children.outputs(map(str, range(count))).values())
        # An attempt that was given up as unknown may have been filled in late: who made it knows best.
        return Output(summary(results, [item for item in errors if results[item["index"]] is None]))


def summary(results: list[Any], errors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the step's output; `results` has one value for each item, null where it failed."""
    return {
        "results": results,
        "count": len(results),
        "succeeded": len(results) - len(errors),
        "failed": len(errors),
        "errors": errors[:MOST_ERRORS],
    }


def items_of(value: Any) -> list[Any]:
    """Return the items of a loop. Raises StepError for what is no list and no object, or too long."""
    if isinstance(value, dict):
        value = [{"key": key, "value": entry} for key, entry in value.items()]
    if not isinstance(value, list):
        kind = "nothing" if value is None else type(value).__name__
        raise StepError("items_invalid", f"items must be a list or an object, not {kind}", retryable=False)
    if len(value) > MOST_ITEMS:
        raise StepError("too_many_items", f"{len(value)} items; at most {MOST_ITEMS} are allowed", retryable=False)
    return value
