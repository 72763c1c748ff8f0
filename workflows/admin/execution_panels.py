"""What the page of an execution shows, whole or as the part that is asked for every 2 seconds while it runs."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

from django.db.models import Case, IntegerField, Q, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from core import clock
from core.admin import NOTHING, Button, duration_text, label, moment_text, pretty_json
from core.admin.display import LONGEST_SHOWN
from workflows.admin.compensation_panel import compensation
from workflows.admin.timeline import in_reading_order, timeline_of
from workflows.choices import FINAL_STATUSES, ExecutionStatus, StepStatus
from workflows.explanations import shown_status, why
from workflows.models import Branch, Execution, StepAttempt

MOST_ATTEMPTS = 500
MOST_CHILDREN = 20
MOST_LINES = 200
# With hundreds of steps, whole inputs and outputs would make a page that no browser likes.
LONGEST_PAGE = 1_000_000
LEAST_SHOWN = 1000
HEAVY = ("input_data", "output_data", "log", "warnings")
LEGEND = (
    ("completed", "✓ completed"),
    ("running", "▸ running"),
    ("failed", "✕ failed"),
    ("waiting", "… waits"),
    ("queue", "in the queue"),
    ("cancelled", "■ cancelled"),
    ("compensated", "↩ undone"),
)
CANCEL = Button(
    "cancel",
    "Cancel",
    icon="cancel",
    variant="danger",
    confirm="Cancel this execution? What its steps have done so far stays done.",
)
RETRY = Button("retry_step", "Retry from here", icon="replay")
RERUN = Button("rerun", "Re-run…", icon="restart_alt", is_link=True)


def live(request: HttpRequest, execution: Any, *, seen: str = "") -> dict[str, Any]:
    """Return what the page shows; the steps' data are left out if `seen` says that the reader has them.

    Three statements, whatever the number of steps; one more if something was undone. `execution` comes from
    ExecutionAdmin.for_detail.
    """
    branches = list(execution.branches.order_by("pk"))
    attempts = _attempts(execution)
    saga = compensation(request, execution) if execution.is_undone else None
    mark = _mark(execution, attempts, branches)
    is_live = execution.status not in FINAL_STATUSES
    found = {
        "is_live": is_live,
        "is_poll": bool(seen),
        "live_url": f"{reverse('admin:workflows_execution_live', args=(execution.pk,))}?seen={mark}",
        "now": f"{clock.now():%H:%M:%S}",
        "timeline": timeline_of(execution, attempts, branches, now=clock.now()),
        "legend": LEGEND,
        "facts": _facts(execution),
        "cancel": CANCEL if is_live else None,
        "cancel_url": reverse("admin:workflows_execution_press", args=(execution.pk, CANCEL.name)),
        "may_press": request.user.has_perm("workflows.change_execution"),
        "saga": saga,
        "rerun_url": "" if is_live else reverse("admin:workflows_execution_rerun", args=(execution.pk,)),
        "rerun": RERUN,
        **_reason(execution, branches),
        **_retry(execution, attempts, is_undone=saga is not None),
    }
    if seen != mark:
        found |= {"has_steps": True, **_steps(execution, attempts, branches), **_call(request, execution)}
        for shown in found["attempts"]:
            shown["retryable"] = shown["row"].pk in found["retryable_ids"]
    return found


def failed_attempt(execution: Execution) -> StepAttempt | None:
    """Return the first step, as the definition has them, that did not end well at last: there a re-run begins."""
    latest = execution.attempts.order_by("path", "-attempt").distinct("path")
    ends = (StepStatus.FAILED, StepStatus.CANCELLED)
    found = StepAttempt.objects.filter(pk__in=latest.values("pk"), status__in=ends).defer(*HEAVY)
    return found.order_by("node").first()


def _attempts(execution: Execution) -> list[StepAttempt]:
    """Return the attempts that the page shows, in reading order: of long loops, first those that went wrong."""
    ended_well = Q(status__in=(StepStatus.COMPLETED, StepStatus.SKIPPED))
    rank = Case(When(scope="", then=0), When(ended_well, then=2), default=1, output_field=IntegerField())
    found = execution.attempts.defer(*HEAVY).annotate(rank=rank).order_by("rank", "node", "attempt")
    return in_reading_order(list(found[:MOST_ATTEMPTS]))


def _retry(execution: Execution, attempts: list[StepAttempt], *, is_undone: bool) -> dict[str, Any]:
    """Return which attempts can be retried: those that failed last, once all has ended and nothing was undone."""
    latest = {attempt.path: attempt for attempt in attempts}
    ended = execution.status in FINAL_STATUSES and not is_undone
    failed = [row for row in latest.values() if ended and row.status == StepStatus.FAILED]
    wrong = failed if execution.status != ExecutionStatus.COMPLETED else []
    last = max(wrong, key=lambda row: (row.completed_at or row.created_at, row.pk), default=None)
    return {
        "retryable_ids": {row.pk for row in failed},
        "retry": RETRY,
        "retry_url": reverse("admin:workflows_execution_press", args=(execution.pk, RETRY.name)),
        "failed": last,
        "failed_hidden": {"attempt": last.pk} if last else {},
    }


def _mark(execution: Execution, attempts: Iterable[StepAttempt], branches: Sequence[Branch]) -> str:
    """Return a word that changes whenever the steps' part of the page does."""
    state = [(row.pk, shown_status(row, branches), row.completed_at, row.error_code) for row in attempts]
    return f"{crc32(repr((execution.status, execution.updated_at, state)).encode()):08x}"


def _reason(execution: Execution, branches: Sequence[Branch]) -> dict[str, Any]:
    found = why(execution, branches)
    sentence = found["why"] or {
        ExecutionStatus.COMPLETED: "Every step that was to run has completed.",
        ExecutionStatus.CANCELLED: "It was cancelled.",
    }.get(ExecutionStatus(execution.status), "")
    return {"status": label(execution.status), "sentence": sentence, "waits": found["waiting_on"]}


def _facts(execution: Execution) -> list[tuple[str, Any]]:
    workflow = reverse("admin:workflows_workflow_change", args=(execution.workflow_id,))
    facts = [
        ("Workflow", format_html('<a href="{}">{}</a>', workflow, execution.workflow)),
        ("Version", f"{execution.version.number}{' (test run of a draft)' if execution.is_test else ''}"),
        ("Trigger", execution.get_trigger_type_display()),
        ("Input files", _links("files_file", execution.input_file_ids)),
        ("Output files", _links("files_file", execution.output_file_ids)),
        ("Owner", execution.owner),
        ("Priority", execution.get_priority_display()),
        ("Retries", execution.retry_count),
        ("Created (UTC)", moment_text(execution.created_at)),
        ("Started (UTC)", moment_text(execution.started_at)),
        ("Ended (UTC)", moment_text(execution.completed_at)),
        ("Duration", duration_text(execution.execution_time_ms)),
        ("UUID", execution.uuid),
        ("Correlation id", execution.correlation_id or NOTHING),
    ]
    return facts + _family(execution)


def _family(execution: Any) -> list[tuple[str, Any]]:
    """Return the executions that this one comes from or started, where there are any."""
    related = (
        ("Started by", [execution.parent_id] if execution.parent_id else []),
        ("Repeats", [execution.rerun_of_id] if execution.rerun_of_id else []),
        ("Has started", execution.child_ids),
        ("Run again as", execution.rerun_ids),
    )
    return [(name, _links("workflows_execution", ids)) for name, ids in related if ids]


def _links(page: str, ids: list[int]) -> str:
    if not ids:
        return NOTHING
    return format_html_join(
        ", ", '<a href="{}">{}</a>', ((reverse(f"admin:{page}_change", args=(pk,)), pk) for pk in ids)
    )


def _steps(execution: Execution, attempts: list[StepAttempt], branches: Sequence[Branch]) -> dict[str, Any]:
    shown = [attempt.pk for attempt in attempts]
    heavy = {row[0]: row[1:] for row in StepAttempt.objects.filter(pk__in=shown).values_list("pk", *HEAVY)}
    tries = Counter(attempt.path for attempt in attempts)
    latest = {attempt.path: attempt.pk for attempt in attempts}
    room = _Room()
    return {
        "attempts": [
            _shown(attempt, heavy.get(attempt.pk, (None, None, [], [])), branches, of=tries[attempt.path], room=room)
            | {"is_latest": latest[attempt.path] == attempt.pk}
            for attempt in attempts
        ],
        "is_cut": len(attempts) == MOST_ATTEMPTS,
        "trigger_data": room.text_of(execution.trigger_data),
    }


def _shown(
    attempt: StepAttempt, heavy: Sequence[Any], branches: Sequence[Branch], *, of: int, room: "_Room"
) -> dict[str, Any]:
    input_data, output_data, log, warnings = heavy
    return {
        "row": attempt,
        "status": label(shown_status(attempt, branches)),
        "count": f"{attempt.attempt} of {of}",
        "started": moment_text(attempt.started_at),
        "duration": duration_text(attempt.execution_time_ms),
        "input": room.text_of(input_data),
        "output": _output_text(attempt, output_data, room),
        "log": log[:MOST_LINES],
        "lines_left_out": max(len(log) - MOST_LINES, 0),
        "warnings": warnings,
        "hidden": {"attempt": attempt.pk},
    }


def _output_text(attempt: StepAttempt, output_data: Any, room: "_Room") -> str | None:
    if attempt.spill_id is not None:
        return "Too large to show here: it is in the storage, and the API gives it with the execution's steps."
    return None if output_data is None else room.text_of(output_data)


class _Room:
    """How much of the page is left for data; the first values are shown whole, later ones cut short."""

    def __init__(self) -> None:
        self.left = LONGEST_PAGE

    def text_of(self, value: Any) -> str:
        text = pretty_json(value, longest=min(LONGEST_SHOWN, max(self.left, LEAST_SHOWN)))
        self.left -= len(text)
        return text


def _call(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    """Return the same start as a command for a shell; the key is the reader's own, from his environment."""
    path = f"/api/v1/workflows/{execution.workflow_id}/{'draft/run' if execution.is_test else 'execute'}"
    body = json.dumps({"trigger_data": execution.trigger_data or {}}, ensure_ascii=False)
    if len(body) > LONGEST_SHOWN:
        return {"call": ""}
    url = shlex.quote(request.build_absolute_uri(path))
    lines = [
        f"curl -X POST {url}",
        '-H "X-API-Key: $API_KEY"',
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    ]
    return {"call": " \\\n  ".join(lines)}
