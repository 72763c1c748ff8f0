"""File triggers: which workflows a processed file starts, and why the others did not (contract 13.6)."""

from typing import Any

from django.db import OperationalError, transaction

from core import clock, faults, logs
from files import services as files
from workflows import enqueue
from workflows.choices import Lane, TriggerType, WorkflowStatus
from workflows.engine.launch import Start
from workflows.models import Evaluation, Workflow
from workflows.services.executions import start_execution

log = logs.get(__name__)

EVALUATIONS_PER_BELL = 50
FILE_TRIGGERS = frozenset({"file_upload", "file_processed"})


def request_evaluation(*, owner_id: int, processing_number: int, correlation_id: str, facts: dict[str, Any]) -> None:
    """Ask, inside the extraction's transaction, for the file to be held against its owner's workflows."""
    Evaluation.objects.get_or_create(
        file_id=facts["file_id"],
        processing_number=processing_number,
        defaults={"owner_id": owner_id, "request": facts, "correlation_id": correlation_id},
    )
    enqueue.ring_lane_on_commit(Lane.FLOW)


def evaluate_due_files() -> int:
    """Evaluate up to 50 requests, each in its own transaction. Returns how many were done."""
    for done in range(EVALUATIONS_PER_BELL):
        if not _evaluate_next():
            return done
    enqueue.ring_lane(Lane.FLOW)
    return EVALUATIONS_PER_BELL


def _evaluate_next() -> bool:
    with transaction.atomic():
        request = (
            Evaluation.objects.select_for_update(skip_locked=True).filter(evaluated_at=None).order_by("pk").first()
        )
        if request is None:
            return False
        request.verdicts = [_verdict(workflow, request) for workflow in _candidates(request.owner_id)]
        request.evaluated_at = clock.now()
        request.save(update_fields=["verdicts", "evaluated_at"])
        fired = [verdict["workflow_id"] for verdict in request.verdicts if verdict["fired"]]
        if fired:
            files.record_triggered_workflows(request.file_id, fired)
        faults.point("in_evaluation")
    log.info("file.evaluated", file_id=request.file_id, fired=fired)
    return True


def _candidates(owner_id: int) -> list[Workflow]:
    return list(
        Workflow.objects.filter(owner_id=owner_id)
        .exclude(status=WorkflowStatus.DELETED)
        .exclude(trigger_on_file_upload=False)
        .order_by("pk")
    )


def _verdict(workflow: Workflow, request: Evaluation) -> dict[str, Any]:
    """Start the workflow if it matches, in a savepoint: one that fails never takes the others with it."""
    verdict: dict[str, Any] = {
        "workflow_id": workflow.pk,
        "workflow": workflow.name,
        "fired": False,
        "execution_id": None,
        "reason": reason_against(workflow, request.request),
    }
    if verdict["reason"]:
        return verdict
    try:
        with transaction.atomic():
            started = start_execution(workflow, _start(workflow, request))
    except OperationalError:
        raise  # a passing fault of the database: the evaluation stays due
    except Exception as error:
        # One owner's broken workflow must not stop the triggers of all others.
        log.exception("trigger.failed", workflow_id=workflow.pk, file_id=request.file_id)
        verdict["reason"] = f"could not be started: {error}"
        return verdict
    return verdict | {"fired": True, "execution_id": started.execution_id, "reason": "matched"}


def reason_against(workflow: Workflow, facts: dict[str, Any]) -> str:
    """Return why a workflow does not fire for a file, as a sentence; empty if it does."""
    if not workflow.is_executable:
        return f"the workflow is {workflow.status} and {'enabled' if workflow.is_enabled else 'disabled'}"
    wanted = extensions_of(workflow.trigger_file_extensions)
    extension = str(facts.get("file_extension", "")).lower().lstrip(".")
    if wanted and extension not in wanted:
        return f"the extension {extension!r} is not one of {', '.join(sorted(wanted))}"
    triggers = [
        trigger
        for trigger in (workflow.trigger_config or {}).get("triggers") or []
        if trigger.get("type") in FILE_TRIGGERS
    ]
    reasons = [_reason_of_trigger(trigger, facts, extension) for trigger in triggers]
    return "; ".join(reasons) if reasons and all(reasons) else ""


def reason_against_file(workflow: Workflow, file_id: int) -> str:
    """Return why a workflow would not start for one of its owner's files; empty if it would. Raises FileNotFound."""
    facts = facts_of_file(workflow, file_id)
    if not workflow.trigger_on_file_upload:
        return "the workflow does not start for files"
    return reason_against(workflow, facts)


def facts_of_file(workflow: Workflow, file_id: int) -> dict[str, Any]:
    """Return what a trigger would tell of a file of the workflow's owner (contract 13.6). Raises FileNotFound."""
    return files.trigger_facts(files.get_owned_file(file_id, owner_id=workflow.owner_id))


def _reason_of_trigger(trigger: dict[str, Any], facts: dict[str, Any], extension: str) -> str:
    """Return why one trigger of dialect C does not take a file: extension, size in bytes, or MIME type."""
    extensions = extensions_of(",".join(map(str, trigger.get("file_extensions") or [])))
    if extensions and extension not in extensions:
        return f"the extension {extension!r} is not one of {', '.join(sorted(extensions))}"
    largest = trigger.get("max_file_size")
    if isinstance(largest, int | float) and facts.get("file_size", 0) > largest:
        return f"the file has {facts['file_size']} bytes, more than {largest}"
    types = trigger.get("mime_types") or []
    if types and facts.get("mime_type") not in types:
        return f"the type {facts.get('mime_type')!r} is not one of {', '.join(map(str, types))}"
    return ""


def extensions_of(text: str | None) -> set[str]:
    """Return the items of `trigger_file_extensions`: trimmed, lower case, without a leading dot; empty means all."""
    return {item.strip().lower().lstrip(".") for item in (text or "").split(",") if item.strip().strip(".")}


def _start(workflow: Workflow, request: Evaluation) -> Start:
    return Start(
        trigger_type=TriggerType.FILE_UPLOAD,
        trigger_data=request.request,
        input_file_ids=[request.file_id],
        correlation_id=request.correlation_id,
        # Unique per workflow, file and processing, whoever evaluates how often.
        idempotency_key=f"file:{workflow.pk}:{request.file_id}:{request.processing_number}",
    )
