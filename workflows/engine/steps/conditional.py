"""`conditional`: choose one of two actions, branches or forward skips (contract 13.3, 13.4)."""

from typing import Any

from core.expressions import ExpressionError, evaluate_condition
from workflows.choices import Effect
from workflows.engine.steps.base import Choose, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.registry import register

OBJECT_FORM_KEYS = ("left", "field", "left_value")
OBJECT_KEYS = (*OBJECT_FORM_KEYS, "operator", "right", "right_value", "value")


class ConditionalConfig(StepConfig):
    condition: Any = None
    true_action: dict[str, Any] | None = None
    false_action: dict[str, Any] | None = None
    left: Any = None
    left_value: Any = None
    field: Any = None
    operator: str | None = None
    right: Any = None
    right_value: Any = None
    value: Any = None


@register
class ConditionalStep(Step[ConditionalConfig]):
    type = "conditional"
    aliases = ("condition",)
    title = "Condition"
    config_model = ConditionalConfig
    output_keys = ("condition_result", "condition_met", "branch", "action_taken", "result")
    effect = Effect.PURE
    lane = None
    # The condition is evaluated over typed values, never over text made from them.
    raw_keys = frozenset(
        {"condition", "true_action", "false_action", "left", "left_value", "field", "right", "right_value", "value"}
    )

    def run(self, config: ConditionalConfig, context: StepContext) -> Choose:
        try:
            met = evaluate_condition(
                condition_of(config.model_dump(exclude_unset=True)),
                context.scope,
                strict=context.strict,
                warnings=context.warnings,
            )
        except ExpressionError as error:
            raise StepError(error.code, str(error), retryable=False) from error
        branch = "true" if met else "false"
        action = config.true_action if met else config.false_action
        return Choose(
            branch,
            {
                "condition_result": met,
                "condition_met": met,
                "branch": branch,
                "action_taken": describe_action(action),
                "result": None,
            },
        )


def condition_of(config: dict[str, Any]) -> Any:
    """Return the condition of a config: its `condition`, or the object form spelt out in the config itself."""
    if config.get("condition") is not None:
        return config["condition"]
    if any(key in config for key in OBJECT_FORM_KEYS):
        return {"operator": "equals"} | {key: config[key] for key in OBJECT_KEYS if key in config}
    raise StepError("config_invalid", "condition is required", retryable=False)


def describe_action(action: dict[str, Any] | None) -> str | None:
    """Name an action for the output: its type, `skip_to_step:<name>`, `steps`, or None."""
    if not action:
        return None
    if target := action.get("skip_to_step"):
        return f"skip_to_step:{target}"
    return "steps" if "steps" in action else action.get("type")
