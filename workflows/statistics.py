"""Reads of what an operator sees first: the last 24 hours, what runs, waits, fails and is due next.

Each is served by an index and bounded, so that all together take few milliseconds beside a million executions.
Callers see what `selectors.visible_to` lets them see.
"""

import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Aggregate, Count, IntegerField, Max, Q, QuerySet
from django.db.models.functions import TruncHour

from accounts.principal import Principal
from core import clock
from workflows.choices import LIVE_STATUSES, ExecutionStatus, Lane, WorkflowStatus
from workflows.models import Branch, Execution, Workflow, WorkflowSchedule
from workflows.selectors import visible_to

HOURS = 24
MOST_ROWS = 10
# Beyond this, numbers say "at least": to count a crowd costs more than to know that it is one.
MOST_COUNTED = 10_000
CLOSED_KEPT_SECONDS = 60.0
# Owners whose closed hours are kept at once.
MOST_KEPT = 1000
UNSUCCESSFUL = (ExecutionStatus.FAILED, ExecutionStatus.TIMEOUT)

_QUEUE = """
SELECT lanes.lane, due.depth, oldest.since
FROM unnest(%(lanes)s::text[]) AS lanes(lane)
CROSS JOIN LATERAL (
  SELECT count(*) AS depth FROM (
    SELECT FROM workflow_branches b WHERE b.lane = lanes.lane AND b.claimed_by = ''
      AND (b.waiting_on = '' OR b.wake_at <= %(now)s) AND (%(owner)s::bigint IS NULL OR b.owner_id = %(owner)s)
    LIMIT %(most)s
  ) counted
) due
LEFT JOIN LATERAL (
  SELECT COALESCE(b.wake_at, e.updated_at) AS since
  FROM workflow_branches b JOIN workflow_executions e ON e.id = b.execution_id
  WHERE b.lane = lanes.lane AND b.claimed_by = ''
    AND (b.waiting_on = '' OR b.wake_at <= %(now)s) AND (%(owner)s::bigint IS NULL OR b.owner_id = %(owner)s)
  ORDER BY b.id LIMIT 1
) oldest ON true
"""


@dataclass(frozen=True)
class Queue:
    """What is due in one lane: how many branches (MOST_COUNTED + 1 means more), and how long the oldest has been."""

    lane: str
    depth: int
    oldest_seconds: float


@dataclass(frozen=True)
class Failing:
    """A workflow with failures since some moment, and the last of them."""

    workflow_id: int
    workflow_name: str
    failures: int
    execution_id: int
    error_message: str


HourCounts = dict[datetime, dict[str, int]]


@dataclass(frozen=True)
class _Kept:
    """The counts of the hours that are over, from `since` on, and until when (monotonic) they are good."""

    counts: HourCounts
    since: datetime
    until: float


_closed: dict[int | None, _Kept] = {}
_lock = threading.Lock()


class _Percentile(Aggregate):
    """`percentile_disc`: a value that occurs, below or at which the fraction lies; None of no rows."""

    function = "PERCENTILE_DISC"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = IntegerField()

    def __init__(self, name: str, *, fraction: float) -> None:
        super().__init__(name, fraction=fraction)


def count_by_hour(principal: Principal, *, since: datetime) -> HourCounts:
    """Count executions by hour (UTC) and status: ended ones by their end, live ones by their beginning.

    Hours that are over change only where a step is tried again, so they are read once in CLOSED_KEPT_SECONDS.
    """
    visible = visible_to(principal, Execution.objects.order_by())
    # A transaction may commit somewhat later than the end that it states.
    open_from = _hour(clock.now() - timedelta(minutes=1))
    live = visible.filter(status__in=LIVE_STATUSES, created_at__gte=since)
    found: HourCounts = {}
    for part in (
        _closed_hours(principal, visible.filter(completed_at__gte=since, completed_at__lt=open_from), since),
        _by_hour(visible.filter(completed_at__gte=max(since, open_from)), "completed_at"),
        _by_hour(live, "created_at"),
    ):
        for hour, by_status in part.items():
            found[hour] = found.get(hour, {}) | by_status
    return found


def get_durations(principal: Principal, *, since: datetime) -> tuple[int | None, int | None]:
    """Return the median and the 95th percentile of completed executions in ms, waits included; None of none.

    Of the latest MOST_COUNTED at most, which is as good as all and costs no more with a crowd.
    """
    completed = visible_to(principal, Execution.objects.all()).filter(
        completed_at__gte=since, status=ExecutionStatus.COMPLETED
    )
    found = completed.order_by("-completed_at")[:MOST_COUNTED].aggregate(
        p50=_Percentile("execution_time_ms", fraction=0.5), p95=_Percentile("execution_time_ms", fraction=0.95)
    )
    return found["p50"], found["p95"]


def forget() -> None:
    """Count the hours that are over anew next time."""
    with _lock:
        _closed.clear()


def list_running(principal: Principal) -> QuerySet[Branch]:
    """Return the branches that workers hold now, oldest execution first, each with its execution and workflow."""
    held = Branch.objects.filter(lease_until__isnull=False).exclude(claimed_by="")
    return _with_names(_of(principal, held))


def list_waiting(principal: Principal) -> QuerySet[Branch]:
    """Return the branches that wait, each with a sentence why, oldest first, with execution and workflow."""
    waiting = Branch.objects.exclude(waiting_on="")
    return _with_names(_of(principal, waiting))


def count_up_to(queryset: QuerySet[Any]) -> int:
    """Count rows; MOST_COUNTED + 1 means that there are more than MOST_COUNTED."""
    return queryset.order_by()[: MOST_COUNTED + 1].count()


def list_next_slots(principal: Principal) -> QuerySet[WorkflowSchedule]:
    """Return the schedules that start something next, soonest first, each with its workflow and its name."""
    owned = Q() if principal.sees_all else Q(workflow__owner=principal.owner)
    startable = Q(workflow__status=WorkflowStatus.ACTIVE, workflow__is_enabled=True, periodic_task__enabled=True)
    return (
        WorkflowSchedule.objects.filter(owned & startable, next_slot_at__isnull=False)
        .select_related("workflow", "periodic_task")
        .only("next_slot_at", "periodic_task__name", "workflow__name")
        .order_by("next_slot_at", "pk")
    )


def list_failing(principal: Principal, *, since: datetime) -> list[Failing]:
    """Return the MOST_ROWS workflows that failed or timed out most since a moment; two queries."""
    ended = visible_to(principal, Execution.objects.order_by()).filter(completed_at__gte=since, status__in=UNSUCCESSFUL)
    worst = list(
        ended.values("workflow_id", "workflow__name")
        .annotate(failures=Count("pk"), last_id=Max("pk"))
        .order_by("-failures", "workflow_id")[:MOST_ROWS]
    )
    last = [row["last_id"] for row in worst]
    errors = dict(Execution.objects.filter(pk__in=last).values_list("pk", "error_message")) if last else {}
    return [
        Failing(
            workflow_id=row["workflow_id"],
            workflow_name=row["workflow__name"],
            failures=row["failures"],
            execution_id=row["last_id"],
            error_message=errors.get(row["last_id"]) or "",
        )
        for row in worst
    ]


def list_queues(principal: Principal) -> list[Queue]:
    """Return every lane with what is due in it and not yet claimed."""
    now = clock.now()
    values: dict[str, Any] = {
        "lanes": Lane.values,
        "now": now,
        "owner": None if principal.sees_all else principal.owner.pk,
        "most": MOST_COUNTED + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_QUEUE, values)
        found = {lane: (depth, since) for lane, depth, since in cursor.fetchall()}
    return [_queue(lane, *found[lane], now) for lane in Lane.values]


def list_executions_of_file(file_id: int, *, owner_id: int) -> QuerySet[Execution]:
    """Return the executions that had a file of their owner as input, newest first, each with its workflow."""
    given = Execution.objects.exclude(input_file_ids=[]).filter(input_file_ids__contains=[file_id], owner_id=owner_id)
    # Not by id: PostgreSQL would rather walk the whole table backwards than ask the index about the file.
    return given.select_related("workflow").defer("trigger_data", "workflow__workflow_config").order_by("-created_at")


def has_workflows(principal: Principal) -> bool:
    """Tell whether there is any workflow to start."""
    return visible_to(principal, Workflow.objects.exclude(status=WorkflowStatus.DELETED)).order_by().exists()


def hours_before(now: datetime) -> list[datetime]:
    """Return the beginnings of the HOURS hours up to the present one, oldest first."""
    return [_hour(now) - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _by_hour(rows: QuerySet[Execution], moment: str) -> HourCounts:
    found: HourCounts = {}
    for hour, status, number in rows.values_list(TruncHour(moment), "status").annotate(n=Count("pk")):
        found.setdefault(hour, {})[status] = number
    return found


def _closed_hours(principal: Principal, rows: QuerySet[Execution], since: datetime) -> HourCounts:
    """Return the counts of the hours that are over, kept for a while for each owner."""
    owner = None if principal.sees_all else principal.owner.pk
    with _lock:
        kept = _closed.get(owner)
    if kept is not None and kept.since == since and time.monotonic() < kept.until:
        return kept.counts
    counts = _by_hour(rows, "completed_at")
    with _lock:
        if len(_closed) >= MOST_KEPT:
            _closed.clear()
        _closed[owner] = _Kept(counts, since, time.monotonic() + CLOSED_KEPT_SECONDS)
    return counts


def _queue(lane: str, depth: int, since: datetime | None, now: datetime) -> Queue:
    seconds = (now - since).total_seconds() if since else 0.0
    return Queue(lane=lane, depth=depth, oldest_seconds=max(seconds, 0.0))


def _of(principal: Principal, branches: QuerySet[Branch]) -> QuerySet[Branch]:
    return branches if principal.sees_all else branches.filter(owner_id=principal.owner.pk)


def _with_names(branches: QuerySet[Branch]) -> QuerySet[Branch]:
    shown = ("waiting_on", "waiting_reason", "lane")
    execution = ("execution__started_at", "execution__created_at", "execution__workflow__name")
    return branches.select_related("execution__workflow").only(*shown, *execution).order_by("pk")
