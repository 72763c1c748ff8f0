"""`workflow`: call another workflow of the same owner, and wait for its end or not (ENGINE 3)."""

import hashlib
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from core import clock, masking
from core.errors import DomainError
from workflows.choices import FINAL_STATUSES, Effect, ExecutionStatus, StepStatus, TriggerType, WaitingOn
from workflows.engine import launch, spill
from workflows.engine.launch import Start
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError, Wait
from workflows.engine.steps.registry import register
from workflows.errors import SlotsTaken
from workflows.models import Execution, StepAttempt, Workflow

# How often a caller looks at a call that goes on after its end was told.
LOOKS_AGAIN_AFTER = timedelta(seconds=10)


class WorkflowConfig(StepConfig):
    workflow_id: int | UUID
    input: dict[str, Any] = {}
    wait: bool = True


@register
class WorkflowStep(Step[WorkflowConfig]):
    type = "workflow"
    title = "Call a workflow"
    config_model = WorkflowConfig
    output_keys = ("execution_id", "workflow_id", "status", "result")
    # The call's key makes its execution once, however often the step is repeated.
    effect = Effect.PURE
    lane = None

    def run(self, config: WorkflowConfig, context: StepContext) -> Output | Wait:
        called = _find(config, context)
        start = Start(
            trigger_type=TriggerType.WORKFLOW,
            # Stored as the called workflow's input: it has the same owner, and asks for secrets itself.
            trigger_data=masking.hide(config.input),
            correlation_id=context.correlation_id,
            idempotency_key=_key(context),
            cause_chain=context.cause_chain,
            parent_id=context.execution_id,
        )
        _refuse(called, start)
        if config.wait:
            reason = f"waits for workflow '{called.name}' (#{called.pk}) to end"
            return Wait(None, reason, on=WaitingOn.CHILDREN, begin=partial(_call, called, start))
        with transaction.atomic():
            _call(called, start, None)
        child = _child(context)
        return Output({"execution_id": child.pk, "workflow_id": called.pk, "status": child.status, "result": None})

    def resume(self, config: WorkflowConfig, context: StepContext) -> Output | Wait:
        child = _child(context)
        if child.status not in FINAL_STATUSES:
            # A step of it was retried before we looked. Its next end wakes nobody, so we look again.
            reason = f"waits for execution {child.pk}, which was retried, to end"
            return Wait(clock.now() + LOOKS_AGAIN_AFTER, reason, on=WaitingOn.CHILDREN)
        output = {"execution_id": child.pk, "workflow_id": child.workflow_id, "status": child.status}
        if child.status != ExecutionStatus.COMPLETED:
            message = f"execution {child.pk} ended {child.status}: {child.error_message or 'without a message'}"
            raise StepError("called_workflow_failed", message, retryable=False, output=output)
        return Output(output | {"result": _result_of(child)})


def _find(config: WorkflowConfig, context: StepContext) -> Workflow:
    key = {"pk": config.workflow_id} if isinstance(config.workflow_id, int) else {"uuid": config.workflow_id}
    found = Workflow.objects.filter(owner=context.owner_id, deleted_at=None, **key).first()
    if found is None:
        raise StepError("workflow_not_found", f"no workflow {config.workflow_id} of this owner", retryable=False)
    if not found.is_executable or found.published_version_id is None:
        raise StepError("workflow_not_executable", f"workflow '{found.name}' is not enabled and active")
    return found


def _refuse(called: Workflow, start: Start) -> None:
    """Refuse a call before the wait is stored. Raises StepError."""
    try:
        launch.refuse_loops(called, start.cause_chain)
        launch.clean_trigger_data(start.trigger_data)
    except DomainError as error:
        raise StepError(error.code.lower(), error.detail, retryable=False) from error


def _call(called: Workflow, start: Start, branch_id: int | None) -> None:
    """Insert the call's execution in the caller's transaction. Raises StepError."""
    assert called.published_version_id is not None  # noqa: S101  (`_find` looked)
    try:
        launch.insert_execution(called, called.published_version_id, start.waking(branch_id))
    except SlotsTaken as error:
        raise StepError("slots_taken", error.detail, effect_happened=False) from error
    except DomainError as error:
        raise StepError(error.code.lower(), error.detail, retryable=False, effect_happened=False) from error


def _key(context: StepContext) -> str:
    """Return the call's key: the same when the attempt is repeated; paths may be longer than keys."""
    place = hashlib.sha256(context.path.encode()).hexdigest()
    return f"call:{context.execution_uuid}:{place}:{context.attempt}"


def _child(context: StepContext) -> Execution:
    return Execution.objects.get(owner=context.owner_id, idempotency_key=_key(context))


def _result_of(child: Execution) -> dict[str, Any]:
    """Return the outputs of the child's own steps by name, as its `result_data` shows them."""
    rows = StepAttempt.objects.filter(execution=child, status=StepStatus.COMPLETED, scope="").order_by(
        "node", "attempt"
    )
    found = {row.step_name: spill.output_of(row.output_data, row.spill_id) for row in rows if "/" not in row.path}
    return {name: dict(output) if output is not None else None for name, output in found.items()}
