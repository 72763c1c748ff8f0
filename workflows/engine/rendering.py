"""From a step's definition to what it runs with: its config after expressions, checked, and its context."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic import ValidationError

from core import jsonsafe, masking
from core.expressions import ExpressionError, Scope, evaluate_condition, resolve
from workflows.choices import Effect
from workflows.engine import context
from workflows.engine.lease import Claim
from workflows.engine.program import Node, Program
from workflows.engine.step_rows import Attempt
from workflows.engine.steps.base import Children, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.foreach import items_of

LONGEST_INPUT = 256 * 1024
MOST_SHOWN_ITEMS = 100


@dataclass(frozen=True)
class Rendered:
    """A step's config, the same as it is shown and stored (secrets masked), and warnings about its expressions."""

    config: StepConfig
    shown: Any
    warnings: list[str]


def render(node: Node, step: Step[Any], scope: Scope, *, strict: bool) -> Rendered:
    """Resolve the config's expressions and check it against the step type's model. Raises StepError."""
    raw = node.step.get("config") or {}
    try:
        resolved = resolve({k: v for k, v in raw.items() if k not in step.raw_keys}, scope, strict=strict)
        values = resolved.value | {key: raw[key] for key in step.raw_keys if key in raw}
        cleaned, _ = jsonsafe.clean(values)
        config = step.config_model.model_validate(cleaned)
    except ExpressionError as error:
        raise StepError(error.code, str(error), retryable=False, effect_happened=False) from error
    except ValidationError as error:
        raise StepError("config_invalid", describe(error), retryable=False, effect_happened=False) from error
    except jsonsafe.NotJson as error:
        raise StepError("config_invalid", str(error), retryable=False, effect_happened=False) from error
    counted = {key: f"{len(cleaned[key])} items" for key in step.counted_keys if _is_long(cleaned.get(key))}
    shown = _shortened(masking.mask(cleaned | counted, context.secret_needles()))
    return Rendered(config, shown, masking.mask(list(resolved.warnings), context.secret_needles()))


def _shortened(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the input as its row holds it: of what is long, the length; it is rendered again when it is needed."""
    if len(orjson.dumps(shown)) <= LONGEST_INPUT:
        return shown
    sizes = {key: len(orjson.dumps(value)) for key, value in shown.items()}
    share = LONGEST_INPUT // len(shown)
    return {key: value if sizes[key] <= share else f"{sizes[key]} bytes" for key, value in shown.items()}


def _is_long(value: Any) -> bool:
    return isinstance(value, list) and len(value) > MOST_SHOWN_ITEMS


def render_items(node: Node, scope: Scope, *, strict: bool) -> list[Any]:
    """Return the items of a loop: the same at every call, since all that its expression sees is stored.

    Raises StepError.
    """
    try:
        value = resolve({"items": node.step["config"].get("items")}, scope, strict=strict).value["items"]
        cleaned, _ = jsonsafe.clean(value)
    except ExpressionError as error:
        raise StepError(error.code, str(error), retryable=False, effect_happened=False) from error
    return items_of(cleaned)


def is_wanted(node: Node, scope: Scope, *, strict: bool) -> bool:
    """Tell whether the step's `when` holds. Raises StepError."""
    try:
        return evaluate_condition(node.step["when"], scope, strict=strict)
    except ExpressionError as error:
        raise StepError(error.code, str(error), retryable=False, effect_happened=False) from error


def step_context(
    row: Attempt,
    claim: Claim,
    program: Program,
    *,
    scope: Scope,
    deadline: datetime,
    previous_output: Mapping[str, Any] | None,
    children: Children,
    cancel_requested: Callable[[], bool],
) -> StepContext:
    """Return what the step may know and use while it runs."""
    return StepContext(
        execution_id=claim.execution_id,
        execution_uuid=claim.execution_uuid,
        workflow_id=claim.workflow_id,
        version_id=claim.version_id,
        owner_id=claim.owner_id,
        path=row.path,
        attempt=row.attempt,
        idempotency_key=f"{claim.execution_uuid}:{row.path}",
        effect=Effect(row.effect),
        deadline=deadline,
        scope=scope,
        trigger=claim.trigger_data or {},
        cause_chain=tuple(claim.cause_chain),
        previous_output=previous_output,
        strict=is_strict(program),
        correlation_id=claim.correlation_id,
        cancel_requested=cancel_requested,
        children=children,
    )


def is_strict(program: Program) -> bool:
    """Tell whether an unknown name fails the step."""
    return bool(program.settings.get("strict_expressions"))


def describe(error: ValidationError) -> str:
    """Say in one line what is wrong with a step's config."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
