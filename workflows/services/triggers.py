"""File triggers: which workflows a processed file starts, and why the others did not (contract 13.6)."""

from typing import Any

from django.db import InterfaceError, OperationalError, transaction

from core import clock, faults, jsonsafe, logs
from files import services as files
from workflows import enqueue
from workflows.choices import Lane, TriggerType, WorkflowStatus
from workflows.engine.file_triggers import read_triggers, reason_against_extension
from workflows.engine.launch import Start
from workflows.models import Evaluation, Workflow
from workflows.services.executions import start_execution

log = logs.get(__name__)

EVALUATIONS_PER_BELL = 50


def request_evaluation(*, owner_id: int, processing_number: int, correlation_id: str, facts: dict[str, Any]) -> None:
    """Ask, inside the extraction's transaction, for the file to be held against its owner's workflows."""
    Evaluation.objects.get_or_create(
        file_id=facts["file_id"],
        processing_number=processing_number,
        defaults={"owner_id": owner_id, "request": facts, "correlation_id": correlation_id},
    )
    enqueue.ring_lane_on_commit(Lane.FLOW)


def evaluate_due_files() -> int:
    """Look at up to 50 requests, each in its own transaction, one that breaks too. Returns how many there were."""
    key = 0
    for done in range(EVALUATIONS_PER_BELL):
        key = _evaluate_next(after=key)
        if not key:
            return done
    enqueue.ring_lane(Lane.FLOW)
    return EVALUATIONS_PER_BELL


def _evaluate_next(*, after: int) -> int:
    """Evaluate the oldest due request behind another. Returns its key, or 0 if there is none."""
    request = None
    try:
        with transaction.atomic():
            due = Evaluation.objects.select_for_update(skip_locked=True).filter(evaluated_at=None, pk__gt=after)
            request = due.order_by("pk").first()
            if request is None:
                return 0
            _evaluate(request)
            faults.point("in_evaluation")
    except Exception as error:
        if request is None:
            raise
        log.exception("file.not_evaluated", file_id=request.file_id)
        _put_aside(request, error)
    return request.pk


def _evaluate(request: Evaluation) -> None:
    request.verdicts = [_verdict(workflow, request) for workflow in _candidates(request.owner_id)]
    request.evaluated_at = clock.now()
    request.save(update_fields=["verdicts", "evaluated_at"])
    fired = [verdict["workflow_id"] for verdict in request.verdicts if verdict["fired"]]
    if fired:
        files.record_triggered_workflows(request.file_id, fired)
    log.info("file.evaluated", file_id=request.file_id, fired=fired)


def _put_aside(request: Evaluation, error: Exception) -> None:
    """Let the requests behind one that broke have their turn; unless the fault will pass, its verdicts say so."""
    if isinstance(error, OperationalError | InterfaceError):
        return  # a passing fault of the database: the request stays due
    reason = f"could not be evaluated: {_sentence(error)}"
    verdicts = [_against(workflow, reason) for workflow in _candidates(request.owner_id)]
    Evaluation.objects.filter(pk=request.pk, evaluated_at=None).update(verdicts=verdicts, evaluated_at=clock.now())


def _candidates(owner_id: int) -> list[Workflow]:
    return list(
        Workflow.objects.filter(owner_id=owner_id)
        .exclude(status=WorkflowStatus.DELETED)
        .exclude(trigger_on_file_upload=False)
        .order_by("pk")
    )


def _verdict(workflow: Workflow, request: Evaluation) -> dict[str, Any]:
    """Start the workflow if it matches, in a savepoint: one that fails never takes the others with it."""
    try:
        if reason := reason_against(workflow, request.request):
            return _against(workflow, reason)
        with transaction.atomic():
            started = start_execution(workflow, _start(workflow, request))
    except (OperationalError, InterfaceError):
        raise  # a passing fault of the database: the evaluation stays due
    except Exception as error:
        # One owner's broken workflow must not stop the triggers of all others.
        log.exception("trigger.failed", workflow_id=workflow.pk, file_id=request.file_id)
        return _against(workflow, f"could not be started: {_sentence(error)}")
    return _against(workflow, "matched") | {"fired": True, "execution_id": started.execution_id}


def _against(workflow: Workflow, reason: str) -> dict[str, Any]:
    """Return the verdict that a workflow did not fire."""
    return {
        "workflow_id": workflow.pk,
        "workflow": workflow.name,
        "fired": False,
        "execution_id": None,
        "reason": reason,
    }


def _sentence(error: Exception) -> str:
    return jsonsafe.clean_text(str(error), set())


def reason_against(workflow: Workflow, facts: dict[str, Any]) -> str:
    """Return why a workflow does not fire for a file, as a sentence; empty if it does. Raises InvalidInput.

    Dialect C's triggers may each take the file; a stored one that cannot be read is refused.
    """
    if not workflow.is_executable:
        return f"the workflow is {workflow.status} and {'enabled' if workflow.is_enabled else 'disabled'}"
    if reason := reason_against_extension(workflow.trigger_file_extensions, facts):
        return reason
    triggers = read_triggers((workflow.trigger_config or {}).get("triggers") or [], "trigger_config", "triggers")
    reasons = [trigger.reason_against(facts) for trigger in triggers]
    return "; ".join(reasons) if reasons and all(reasons) else ""


def reason_against_file(workflow: Workflow, file_id: int) -> str:
    """Return why a workflow would not start for one of its owner's files; empty if it would.

    Raises FileNotFound, InvalidInput.
    """
    facts = facts_of_file(workflow, file_id)
    if not workflow.trigger_on_file_upload:
        return "the workflow does not start for files"
    return reason_against(workflow, facts)


def facts_of_file(workflow: Workflow, file_id: int) -> dict[str, Any]:
    """Return what a trigger would tell of a file of the workflow's owner (contract 13.6). Raises FileNotFound."""
    return files.trigger_facts(files.get_owned_file(file_id, owner_id=workflow.owner_id))


def _start(workflow: Workflow, request: Evaluation) -> Start:
    return Start(
        trigger_type=TriggerType.FILE_UPLOAD,
        trigger_data=request.request,
        input_file_ids=[request.file_id],
        correlation_id=request.correlation_id,
        # Unique per workflow, file and processing, whoever evaluates how often.
        idempotency_key=f"file:{workflow.pk}:{request.file_id}:{request.processing_number}",
    )
