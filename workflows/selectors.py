"""Reads of workflows and executions that join, annotate or raise NotFound."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import (
    Case,
    Count,
    F,
    Func,
    IntegerField,
    Max,
    Min,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    When,
)
from django.db.models.functions import Cast, Coalesce

from accounts.principal import Principal
from core import clock
from workflows import timetables
from workflows.choices import LIVE_STATUSES, ApprovalStatus, ExecutionStatus, StepStatus, WorkflowStatus
from workflows.engine import spill
from workflows.errors import ApprovalNotFound, ExecutionNotFound, SagaNotFound, StepNotFound, WorkflowNotFound
from workflows.models import (
    Approval,
    Branch,
    CounterDelta,
    Execution,
    Spill,
    StepAttempt,
    Workflow,
    WorkflowInstance,
    WorkflowSchedule,
    WorkflowVersion,
)

ModelT = TypeVar("ModelT", bound=Model)

LARGEST_ID = 2**63 - 1
# How much an answer about one execution reads from the storage.
MOST_SPILLED_BYTES = 64 * 1024 * 1024
# How much of its outputs an execution shows in a list (ENGINE 8), and how much a whole list carries.
MOST_LISTED_BYTES = 64 * 1024
MOST_LISTED_BYTES_IN_ALL = 16 * 1024 * 1024
# PostgreSQL writes JSON with spaces, compact JSON has none: at most twice as many characters.
_SPACED = 2


def visible_to(principal: Principal, queryset: QuerySet[ModelT]) -> QuerySet[ModelT]:
    """Keep the rows that a caller may see: his owner's, or all for a key of the environment."""
    return queryset if principal.sees_all else queryset.filter(owner=principal.owner)


def list_workflows(
    principal: Principal, *, status: str | None = None, enabled: bool | None = None
) -> QuerySet[Workflow]:
    """Return workflows newest first; deleted ones only if asked for. An unknown status is ignored."""
    queryset = visible_to(principal, with_next_slot(with_totals(Workflow.objects.all())))
    if status in WorkflowStatus.values:
        queryset = queryset.filter(status=status)
    else:
        queryset = queryset.exclude(status=WorkflowStatus.DELETED)
    if enabled is not None:
        queryset = queryset.filter(is_enabled=enabled)
    return queryset.order_by("-id")


def with_totals(queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
    """Add the totals that were not yet folded, as `pending_total`, `pending_successful`, `pending_failed`."""
    deltas = CounterDelta.objects.filter(workflow_id=OuterRef("pk")).order_by().values("workflow_id")
    names = ("total", "successful", "failed")
    return queryset.annotate(
        pending_last_at=Subquery(deltas.annotate(n=Max("last_execution_at")).values("n")),
        **{f"pending_{name}": Coalesce(Subquery(deltas.annotate(n=Sum(name)).values("n")), 0) for name in names},
    )


def with_next_slot(queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
    """Add the earliest slot of a workflow's schedules as `next_slot_at`."""
    schedules = WorkflowSchedule.objects.filter(workflow=OuterRef("pk")).order_by().values("workflow")
    return queryset.annotate(next_slot_at=Subquery(schedules.annotate(at=Min("next_slot_at")).values("at")))


def next_slot_at(workflow: Workflow) -> datetime | None:
    """Return when a workflow's schedules start it next, with what `with_next_slot` added."""
    found: datetime | None = getattr(workflow, "next_slot_at", None) if workflow.is_executable else None
    return found


def list_next_schedules() -> QuerySet[WorkflowSchedule]:
    """Return the schedules that will start a workflow, the earliest first."""
    startable = WorkflowSchedule.objects.filter(
        next_slot_at__isnull=False, workflow__status=WorkflowStatus.ACTIVE, workflow__is_enabled=True
    )
    return startable.select_related("workflow", *timetables.ROWS).order_by("next_slot_at", "pk")


def get_workflow(principal: Principal, key: str) -> Workflow:
    """Return a workflow by its integer or UUID. Raises WorkflowNotFound."""
    present = with_next_slot(with_totals(Workflow.objects.exclude(status=WorkflowStatus.DELETED)))
    found = visible_to(principal, present)
    workflow = found.filter(**_key(key)).first() if _key(key) else None
    if workflow is None:
        raise WorkflowNotFound
    return workflow


def get_draft(workflow: Workflow) -> WorkflowVersion:
    """Return the draft of a workflow, which is the published version while nothing newer was kept."""
    draft = workflow.draft_version or workflow.published_version
    if draft is None:
        raise WorkflowNotFound
    return draft


def find_executable(principal: Principal, key: str) -> Workflow:
    """Return a workflow for a start, in one plain query. Raises WorkflowNotFound."""
    found = visible_to(principal, Workflow.objects.exclude(status=WorkflowStatus.DELETED))
    workflow = found.filter(**_key(key)).first() if _key(key) else None
    if workflow is None:
        raise WorkflowNotFound
    return workflow


def list_executions(
    principal: Principal, *, workflow_id: int | None = None, status: str | None = None
) -> QuerySet[Execution]:
    """Return executions newest first. An unknown status is ignored."""
    queryset = visible_to(principal, Execution.objects.all())
    if workflow_id is not None:
        queryset = queryset.filter(workflow_id=workflow_id)
    if status in ExecutionStatus.values:
        queryset = queryset.filter(status=status)
    return queryset.order_by("-id")


def get_execution(principal: Principal, key: str) -> Execution:
    """Return an execution by its integer or UUID. Raises ExecutionNotFound."""
    found = visible_to(principal, Execution.objects.all())
    execution = found.filter(**_key(key)).first() if _key(key) else None
    if execution is None:
        raise ExecutionNotFound
    return execution


def get_saga_of(execution: Execution) -> WorkflowInstance:
    """Return the saga of an execution that undid steps. Raises SagaNotFound."""
    found = WorkflowInstance.objects.filter(execution=execution).first()
    if found is None:
        raise SagaNotFound
    return found


def get_attempt(principal: Principal, key: str) -> StepAttempt:
    """Return a step attempt by id, of an execution the caller may see. Raises StepNotFound."""
    queryset = StepAttempt.objects.select_related("execution")
    if not principal.sees_all:
        queryset = queryset.filter(execution__owner=principal.owner)
    attempt = queryset.filter(pk=int(key)).first() if _is_id(key) else None
    if attempt is None:
        raise StepNotFound
    return attempt


def approvals_seen_by(principal: Principal, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
    """Keep the approvals of the caller's owner, and those that the caller is asked, alone or in a group."""
    if principal.sees_all:
        return queryset
    seen = Q(owner=principal.owner)
    if principal.user is not None:
        seen |= Q(assignee=principal.user) | Q(group__in=principal.user.groups.values("pk"))
    return queryset.filter(seen)


def list_approvals(
    principal: Principal, *, status: str | None = None, pending: bool | None = None
) -> QuerySet[Approval]:
    """Return approvals newest first, with their workflows. An unknown status is ignored."""
    queryset = _with_workflow(approvals_seen_by(principal, Approval.objects.all()))
    if status in ApprovalStatus.values:
        queryset = queryset.filter(status=status)
    if pending is not None:
        is_pending = Q(status=ApprovalStatus.PENDING)
        queryset = queryset.filter(is_pending if pending else ~is_pending)
    return queryset.order_by("-id")


def get_approval(principal: Principal, key: UUID) -> Approval:
    """Return an approval by UUID. Raises ApprovalNotFound."""
    found = _with_workflow(approvals_seen_by(principal, Approval.objects.filter(uuid=key))).first()
    if found is None:
        raise ApprovalNotFound
    return found


def _with_workflow(queryset: QuerySet[Approval]) -> QuerySet[Approval]:
    return queryset.select_related("owner", "execution__workflow").only(
        *(field.name for field in Approval._meta.concrete_fields),
        "owner__name",
        "execution__workflow__name",
    )


def latest_attempts(execution_ids: Iterable[int], *, nested: bool = False) -> dict[int, list[StepAttempt]]:
    """Return the latest attempt of every path, by execution, in program order; one query.

    Each carries `first_id`, the id of the path's first attempt, which is the step's id in the API.
    Steps inside a conditional's action are left out unless `nested`.
    """
    rows = StepAttempt.objects.filter(execution_id__in=list(execution_ids))
    return _latest(rows if nested else rows.exclude(path__contains="/"))


def listed_attempts(execution_ids: Iterable[int]) -> dict[int, list[StepAttempt]]:
    """Return the latest attempts as lists show them: with the outputs that fit, in program order; two queries.

    An output that does not fit is None and `left_out`. Outputs that nobody will see are never read: those of one
    page of executions can be larger than a web process may grow.
    """
    stored = Func("output_data", function="pg_column_size", output_field=IntegerField())
    written = Func(Cast("output_data", TextField()), function="octet_length", output_field=IntegerField())
    rows = (
        StepAttempt.objects.filter(execution_id__in=list(execution_ids))
        .exclude(path__contains="/")
        .defer("input_data", "output_data", "warnings", "log")
        .annotate(stored_bytes=stored)
        # What takes so much in the table, compressed, does not fit; to measure it would be to unpack it.
        .annotate(output_bytes=Case(When(stored_bytes__lte=MOST_LISTED_BYTES, then=written), default=F("stored_bytes")))
    )
    found = _latest(rows)
    fitting = {attempt.pk for attempt in _fitting(found)}
    outputs = dict(StepAttempt.objects.filter(pk__in=fitting).values_list("pk", "output_data")) if fitting else {}
    for attempt in (attempt for attempts in found.values() for attempt in attempts):
        attempt.output_data = outputs.get(attempt.pk)
        attempt.left_out = attempt.status == StepStatus.COMPLETED and attempt.pk not in fitting  # type: ignore[attr-defined]
    return found


def _fitting(found: dict[int, list[StepAttempt]]) -> list[StepAttempt]:
    """Choose the completed attempts whose outputs fit: of each execution the first ones, of all the newest's."""
    chosen: list[StepAttempt] = []
    left_in_all = MOST_LISTED_BYTES_IN_ALL
    for key in sorted(found, reverse=True):
        left = min(_SPACED * MOST_LISTED_BYTES, left_in_all)
        for attempt in found[key]:
            if attempt.status != StepStatus.COMPLETED or attempt.spill_id is not None:
                continue
            size: int = attempt.output_bytes or 0  # type: ignore[attr-defined]
            if size > left:
                break
            left -= size
            left_in_all -= size
            chosen.append(attempt)
    return chosen


def _latest(rows: QuerySet[StepAttempt]) -> dict[int, list[StepAttempt]]:
    latest: dict[tuple[int, str], StepAttempt] = {}
    for row in rows.order_by("execution_id", "path", "attempt"):
        earlier = latest.get((row.execution_id, row.path))
        row.first_id = earlier.first_id if earlier else row.pk  # type: ignore[attr-defined]
        latest[row.execution_id, row.path] = row
    found: dict[int, list[StepAttempt]] = defaultdict(list)
    for row in sorted(latest.values(), key=lambda item: item.node):
        found[row.execution_id].append(row)
    return found


def read_spilled(attempts: Iterable[StepAttempt]) -> None:
    """Fill in outputs that are in the storage, as many as an answer may hold; two statements at most.

    What is left out keeps `output_data` None beside its `spill_id`.
    """
    spilled = {attempt.spill_id: attempt for attempt in attempts if attempt.spill_id is not None}
    if not spilled:
        return
    left, wanted = MOST_SPILLED_BYTES, []
    for key, size in Spill.objects.filter(pk__in=spilled).order_by("pk").values_list("pk", "size_bytes"):
        left -= size
        if left >= 0:
            wanted.append(key)
    for key, output in spill.read_all(wanted).items():
        spilled[key].output_data = output


def branches_of(execution_ids: Iterable[int]) -> dict[int, list[Branch]]:
    """Return the live branches by execution; one query."""
    found: dict[int, list[Branch]] = defaultdict(list)
    for branch in Branch.objects.filter(execution_id__in=list(execution_ids)).order_by("pk"):
        found[branch.execution_id].append(branch)
    return found


def workflow_totals(principal: Principal) -> dict[str, Any]:
    """Return the statistics of `/workflows/stats/summary` (contract 5)."""
    workflows = visible_to(principal, Workflow.objects.order_by())
    executions = visible_to(principal, Execution.objects.order_by())
    by_status = {row["status"]: row["n"] for row in workflows.values("status").annotate(n=Count("pk"))}
    runs = {row["status"]: row["n"] for row in executions.values("status").annotate(n=Count("pk"))}
    return {
        "total_workflows": sum(n for status, n in by_status.items() if status != WorkflowStatus.DELETED),
        "workflow_status_breakdown": {status: by_status.get(status, 0) for status in WorkflowStatus.values},
        "total_executions": sum(runs.values()),
        "execution_status_breakdown": {status: runs.get(status, 0) for status in ExecutionStatus.values},
        "recent_executions_24h": executions.filter(created_at__gte=clock.now() - timedelta(hours=24)).count(),
    }


def health_numbers() -> dict[str, Any]:
    """Return the metrics of `/health` (contract 12): counts by index, and the success rate of 24 hours."""
    since = clock.now() - timedelta(hours=24)
    ended = Execution.objects.filter(completed_at__gte=since).order_by().values("status").annotate(n=Count("pk"))
    by_status = {row["status"]: row["n"] for row in ended}
    completed = by_status.get(ExecutionStatus.COMPLETED, 0)
    failed = by_status.get(ExecutionStatus.FAILED, 0) + by_status.get(ExecutionStatus.TIMEOUT, 0)
    return {
        "total_workflows": Workflow.objects.exclude(status=WorkflowStatus.DELETED).count(),
        "active_executions": Execution.objects.filter(status__in=LIVE_STATUSES).count(),
        "completed_executions_24h": completed,
        "failed_executions_24h": failed,
        "success_rate_24h": round(100 * completed / (completed + failed), 1) if completed + failed else 100.0,
    }


def last_execution_at(workflow: Workflow) -> datetime | None:
    """Return when the workflow last ended an execution, with what `with_totals` added."""
    found = [at for at in (workflow.last_execution_at, getattr(workflow, "pending_last_at", None)) if at]
    return max(found, default=None)


def totals(workflow: Workflow) -> dict[str, int]:
    """Return a workflow's totals with what `with_totals` added."""
    return {
        "total_executions": workflow.total_executions + getattr(workflow, "pending_total", 0),
        "successful_executions": workflow.successful_executions + getattr(workflow, "pending_successful", 0),
        "failed_executions": workflow.failed_executions + getattr(workflow, "pending_failed", 0),
    }


def _key(key: str) -> dict[str, Any]:
    """Return the filter for an id in a path: an integer, a UUID, or nothing that could exist."""
    if _is_id(key):
        return {"pk": int(key)}
    try:
        return {"uuid": UUID(key)}
    except ValueError:
        return {}


def _is_id(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= 19 and int(key) <= LARGEST_ID  # noqa: PLR2004
