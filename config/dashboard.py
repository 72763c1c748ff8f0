"""The admin's first page: the last 24 hours, what runs, waits and is due, and where it hurts. Kept current by htmx.

Every tile leads to the list that it sums up, and is shown to whoever may see that list; whoever is no superuser
sees the rows of the own owner. The page and its live part read the same context.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers

from accounts.principal import Principal
from accounts.selectors import principal_of_user
from core import clock
from core.admin import duration_text, label, size_text
from files import statistics as file_statistics
from workflows import statistics
from workflows.choices import FINAL_STATUSES, ExecutionStatus

EXECUTIONS = "admin:workflows_execution_changelist"
FILES = "admin:files_file_changelist"
# In the order of their place in a bar, from the bottom; the words stand in the legend and the table too.
COLOURS = {
    ExecutionStatus.COMPLETED: "#16a34a",
    ExecutionStatus.FAILED: "#dc2626",
    ExecutionStatus.TIMEOUT: "#f97316",
    ExecutionStatus.CANCELLED: "#6b7280",
    ExecutionStatus.RUNNING: "#3b82f6",
    ExecutionStatus.PENDING: "#a5b4fc",
}
FULL_DISK = 0.9
LONGEST_TEXT = 160
DAYS_OF_YEAR = 365.25
LONG_YEARS = 2

Counts = Mapping[datetime, Mapping[str, int]]


@dataclass(frozen=True)
class Number:
    """One large figure with its meaning, and the list behind it."""

    name: str
    title: str
    value: str
    note: str
    url: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Disk:
    """The file system that holds a folder of ours."""

    title: str
    used: str
    total: str
    free: str
    percent: int
    is_full: bool


def add_tiles(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Give the first page its tiles (unfold's DASHBOARD_CALLBACK)."""
    return context | tiles(request)


def live(request: HttpRequest) -> HttpResponse:
    """Answer the part of the first page that changes; guarded by the admin site's `admin_view`."""
    response = TemplateResponse(request, "admin/dashboard/live.html", tiles(request))
    add_never_cache_headers(response)
    return response


def tiles(request: HttpRequest) -> dict[str, Any]:
    """Read what the signed-in user may see."""
    principal = principal_of_user(request.user)  # type: ignore[arg-type]
    now = clock.now()
    context: dict[str, Any] = {"now": now, "numbers": []}
    if request.user.has_perm("workflows.view_execution"):
        context |= _executions(principal, now)
    if request.user.has_perm("workflows.view_workflow"):
        context |= {"slots": _slots(request, principal, now), "has_workflows": statistics.has_workflows(principal)}
    if request.user.has_perm("files.view_file"):
        context |= _files(request, principal)
    if request.user.is_superuser:
        context["disks"] = _disks()
    return context


# --- Executions -------------------------------------------------------------------------------------
def _executions(principal: Principal, now: datetime) -> dict[str, Any]:
    hours = statistics.hours_before(now)
    counts = statistics.count_by_hour(principal, since=hours[0])
    queues = statistics.list_queues(principal)
    running, waiting = statistics.list_running(principal), statistics.list_waiting(principal)
    numbers = [
        _success(counts, hours[0]),
        _durations(principal, hours[0]),
        _crowd("running", "Running now", statistics.count_up_to(running), "held by a worker"),
        _crowd("waiting", "Waiting", statistics.count_up_to(waiting), "for time, people or others"),
        _due(queues),
    ]
    return {
        "numbers": numbers,
        "chart": _chart(counts, hours),
        "running": [_branch(branch, now) for branch in running[: statistics.MOST_ROWS]],
        "waiting": [_branch(branch, now) for branch in waiting[: statistics.MOST_ROWS]],
        "failing": [_failing(row, hours[0]) for row in statistics.list_failing(principal, since=hours[0])],
        "queues": [
            {
                "lane": queue.lane,
                "depth": _count(queue.depth),
                "age": _age(queue.oldest_seconds),
                "is_empty": not queue.depth,
            }
            for queue in queues
        ],
        "executions_url": reverse(EXECUTIONS),
        "running_url": executions_url(status__exact="running"),
        "failed_url": executions_url(status__exact="failed", completed_at__gte=_stamp(hours[0])),
    }


def executions_url(**filters: Any) -> str:
    """Return the address of the list of executions under filters of Django's admin."""
    return f"{reverse(EXECUTIONS)}?{urlencode(filters)}"


def _success(counts: Counts, since: datetime) -> Number:
    total = {status: sum(by_status.get(status, 0) for by_status in counts.values()) for status in FINAL_STATUSES}
    good = total[ExecutionStatus.COMPLETED]
    ended = good + sum(total[status] for status in statistics.UNSUCCESSFUL)
    url = executions_url(completed_at__gte=_stamp(since))
    if not ended:
        return Number("success", "Success rate, 24 h", "-", "nothing has ended yet", url)
    note = f"{good:,} of {ended:,} completed"
    # Rounded down: 100 % is said only where nothing failed.
    percent = good * 1000 // ended / 10
    return Number("success", "Success rate, 24 h", f"{percent:g} %", note, url, "" if good == ended else "warning")


def _durations(principal: Principal, since: datetime) -> Number:
    p50, p95 = statistics.get_durations(principal, since=since)
    url = executions_url(status__exact="completed", completed_at__gte=_stamp(since))
    if p50 is None:
        return Number("duration", "Median duration, 24 h", "-", "nothing has completed yet", url)
    return Number("duration", "Median duration, 24 h", duration_text(p50), f"95 % within {duration_text(p95)}", url)


def _crowd(name: str, title: str, number: int, note: str) -> Number:
    return Number(name, title, _count(number), note, executions_url(status__exact="running"))


def _due(queues: list[statistics.Queue]) -> Number:
    depth = sum(queue.depth for queue in queues)
    oldest = max((queue.oldest_seconds for queue in queues), default=0.0)
    note = f"the oldest for {_age(oldest)}" if depth else "nobody waits for a worker"
    return Number("due", "Due for a worker", _count(depth), note, executions_url(status__exact="pending"))


def _chart(counts: Counts, hours: list[datetime]) -> dict[str, Any]:
    """Return what the script draws: labels, and by status a colour, numbers and the list behind each bar."""
    datasets: list[dict[str, Any]] = [
        {
            "label": status.value,
            "colour": colour,
            "data": [counts.get(hour, {}).get(status, 0) for hour in hours],
            "urls": [_bar_url(status, hour) for hour in hours],
        }
        for status, colour in COLOURS.items()
    ]
    totals = {row["label"]: sum(row["data"]) for row in datasets}
    return {
        "labels": [f"{hour:%H}:00" for hour in hours],
        "datasets": datasets,
        "total": sum(totals.values()),
        "summary": ", ".join(f"{number:,} {status}" for status, number in totals.items() if number),
        "rows": [
            (f"{hour:%Y-%m-%d %H}:00", [row["data"][at] for row in datasets])
            for at, hour in enumerate(hours)
            if any(row["data"][at] for row in datasets)
        ],
    }


def _bar_url(status: ExecutionStatus, hour: datetime) -> str:
    moment = "completed_at" if status in FINAL_STATUSES else "created_at"
    ends = hour + timedelta(hours=1)
    return executions_url(status__exact=status.value, **{f"{moment}__gte": _stamp(hour), f"{moment}__lt": _stamp(ends)})


def _branch(branch: Any, now: datetime) -> dict[str, Any]:
    execution = branch.execution
    since = execution.started_at or execution.created_at
    return {
        "id": branch.pk,
        "title": execution.workflow.name,
        "execution_id": execution.pk,
        "url": reverse("admin:workflows_execution_change", args=(execution.pk,)),
        "since": f"for {_age((now - since).total_seconds())}",
        "note": branch.waiting_reason
        or (f"waits: {branch.waiting_on}" if branch.waiting_on else f"in lane {branch.lane}"),
    }


def _failing(row: statistics.Failing, since: datetime) -> dict[str, Any]:
    return {
        "id": row.workflow_id,
        "title": row.workflow_name,
        "failures": row.failures,
        "error": _short(row.error_message),
        "execution_url": reverse("admin:workflows_execution_change", args=(row.execution_id,)),
        "url": executions_url(
            workflow__id__exact=row.workflow_id, status__exact="failed", completed_at__gte=_stamp(since)
        ),
    }


# --- Schedules, files, disk -------------------------------------------------------------------------
def _slots(request: HttpRequest, principal: Principal, now: datetime) -> list[dict[str, Any]]:
    rows = statistics.list_next_slots(principal)[: statistics.MOST_ROWS]
    return [
        {
            "id": row.pk,
            "title": _slot_title(row),
            "at": row.next_slot_at,
            "is_due": row.next_slot_at is None or row.next_slot_at <= now,
            "in": _distance(row.next_slot_at - now) if row.next_slot_at else "",
            "url": _slot_url(request, row),
        }
        for row in rows
    ]


def _slot_title(row: Any) -> str:
    """Return the workflow's name, and the schedule's where somebody gave it one of its own."""
    name, workflow = row.periodic_task.name, row.workflow
    return workflow.name if name in (workflow.name, f"Workflow {workflow.pk}") else f"{workflow.name}: {name}"


def _slot_url(request: HttpRequest, row: Any) -> str:
    """Return the schedule's page, or the workflow's for whoever may not see schedules."""
    if request.user.is_superuser:
        return reverse("admin:django_celery_beat_periodictask_change", args=(row.periodic_task_id,))
    return reverse("admin:workflows_workflow_change", args=(row.workflow_id,))


def _files(request: HttpRequest, principal: Principal) -> dict[str, Any]:
    stored = file_statistics.count_files(principal)
    return {
        "files": [
            {"status": label(status), "name": status, "count": f"{number:,}", "url": _files_url(status)}
            for status, number in stored.by_status.items()
        ],
        "files_url": reverse(FILES),
        "file_total": stored.total,
        "stored": size_text(stored.size_bytes),
        "upload_address": request.build_absolute_uri("/files/upload"),
    }


def _files_url(status: str) -> str:
    return f"{reverse(FILES)}?{urlencode({'status__exact': status})}"


def _disks() -> list[Disk]:
    """Return the file systems of our data and of the uploads; one of both if they share it."""
    folders = {"Data": settings.DATA_DIR}
    if isinstance(storage := storages["default"], FileSystemStorage):
        folders["Uploads"] = Path(storage.location)
    found: dict[int, tuple[str, Path]] = {}
    for title, folder in folders.items():
        place = _existing(folder)
        device = place.stat().st_dev
        earlier = f"{found[device][0]} and " if device in found else ""
        found[device] = (f"{earlier}{title.lower() if earlier else title}", place)
    return [_disk(title, place) for title, place in found.values()]


def _disk(title: str, place: Path) -> Disk:
    usage = shutil.disk_usage(place)
    # As `df`: what is reserved for root is neither used nor free.
    share = usage.used / (usage.used + usage.free) if usage.used + usage.free else 1.0
    return Disk(
        title,
        used=size_text(usage.used),
        total=size_text(usage.total),
        free=size_text(usage.free),
        percent=round(share * 100),
        is_full=share >= FULL_DISK,
    )


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.resolve().parents) if place.exists())


# --- Words ------------------------------------------------------------------------------------------
def _count(number: int) -> str:
    return f"{statistics.MOST_COUNTED:,}+" if number > statistics.MOST_COUNTED else f"{number:,}"


def _age(seconds: float) -> str:
    days, rest = divmod(int(max(seconds, 0.0)), 86_400)
    return f"{days} d {rest // 3600} h" if days else duration_text(rest * 1000)


def _distance(ahead: timedelta) -> str:
    """Return how far off a slot is; what is years away needs no hours."""
    years = ahead.days / DAYS_OF_YEAR
    return f"{years:.0f} years" if years >= LONG_YEARS else _age(ahead.total_seconds())


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
