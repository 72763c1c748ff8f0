"""`data_transform`: reshape data between steps (contract 13.3)."""

from typing import Any

from pydantic import Field

from core.expressions import ExpressionError
from workflows.choices import Effect
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.registry import register
from workflows.engine.transformations import TransformError, transform


class DataTransformConfig(StepConfig):
    source_data: Any = None
    transformations: list[dict[str, Any]] = Field(default_factory=list)


@register
class DataTransformStep(Step[DataTransformConfig]):
    type = "data_transform"
    title = "Transform data"
    config_model = DataTransformConfig
    output_keys = ("result",)
    effect = Effect.PURE
    lane = None
    # A `template` transformation sees earlier keys, so its text is resolved by the transformation itself.
    raw_keys = frozenset({"transformations"})

    def run(self, config: DataTransformConfig, context: StepContext) -> Output:
        source = config.source_data if "source_data" in config.model_fields_set else default_source(context)
        try:
            return Output(
                transform(
                    source,
                    config.transformations,
                    scope=context.scope,
                    strict=context.strict,
                    warnings=context.warnings,
                )
            )
        except (TransformError, ExpressionError) as error:
            raise StepError(error.code, str(error), retryable=False) from error


def default_source(context: StepContext) -> Any:
    """Return the previous step's `json`, else its whole output, else the trigger's data (contract 13.3)."""
    previous = context.previous_output
    if previous is None:
        return context.trigger
    return previous["json"] if previous.get("json") is not None else dict(previous)
