"""The bars of an execution over time: attempts, and what was waited for between them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby

from core.admin import duration_text
from workflows.choices import FINAL_STATUSES, StepStatus, WaitingOn
from workflows.explanations import shown_status
from workflows.models import Branch, Execution, StepAttempt

# Shorter pauses are the engine's own steps from one attempt to the next.
SHORTEST_WAIT_MS = 50
TICKS = 4
# In per cent: less is no wider than the sign.
NARROWEST_WITH_SIGN = 3
# Of a loop of a thousand items nobody reads every bar.
MOST_INNER = 20
ENDED_WELL = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})
QUEUE = "Waits for a worker"
# A step of this type waits from its first moment to its last.
WAITING_TYPE = "delay"
# Each kind of bar has a sign beside its colour and pattern.
SIGNS = {
    "completed": "✓",
    "failed": "✕",
    "running": "▸",
    "waiting": "…",
    "cancelled": "■",
    "skipped": "-",
    "compensated": "↩",
}


@dataclass(frozen=True)
class Bar:
    """A stretch of time, in per cent of the whole; `words` says it for those who do not see it."""

    kind: str
    left: float
    width: float
    words: str
    attempt_id: int | None = None

    @property
    def sign(self) -> str:
        """Return the sign that stands in the bar, if there is room for one."""
        return SIGNS.get(self.kind, "") if self.width >= NARROWEST_WITH_SIGN else ""

    @property
    def is_late(self) -> bool:
        """True in the right half, where its words open to the left."""
        return self.left > 50  # noqa: PLR2004  (half of it)


@dataclass(frozen=True)
class Row:
    """One step: its bars in order, and its last status and duration in words."""

    name: str
    status: str
    took: str
    bars: tuple[Bar, ...]
    # Inside a loop, a `parallel` or a conditional; the last of them may stand for those that are not shown.
    is_inner: bool = False
    is_rest: bool = False


@dataclass(frozen=True)
class Timeline:
    """Rows of bars, and (per cent, text) of the scale."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class _Span:
    begin: datetime
    end: datetime

    def bar(self, kind: str, start: datetime, stop: datetime, words: str, attempt_id: int | None = None) -> Bar:
        whole = max((self.end - self.begin).total_seconds(), 0.001)
        left = 100 * max((start - self.begin).total_seconds(), 0) / whole
        width = 100 * max((stop - start).total_seconds(), 0) / whole
        took = duration_text(_ms(start, stop))
        text = f"{words}: {took}, from {_time(start)} to {_time(stop)} UTC"
        return Bar(kind, round(min(left, 100), 3), round(min(width, 100 - min(left, 100)), 3), text, attempt_id)


def timeline_of(
    execution: Execution, attempts: Sequence[StepAttempt], branches: Sequence[Branch], *, now: datetime
) -> Timeline:
    """Return the timeline of an execution from its making to its end, or until now while it runs.

    `attempts` come in reading order. What ran inside a step stands under it: MOST_INNER rows, those first that
    did not end well, and one that counts the rest.
    """
    span = _span(execution, attempts, now)
    rows = [_queue_row(span, execution, attempts, now)]
    for top, inside in groupby(_by_path(attempts), key=lambda tries: _top(tries[0].path)):
        rows += _group(span, top, list(inside), branches)
    return Timeline(tuple(row for row in rows if row is not None), _ticks(span))


def in_reading_order(attempts: list[StepAttempt]) -> list[StepAttempt]:
    """Sort attempts as a reader follows them: steps as they stand, under a loop item after item (2 before 10)."""
    first: dict[str, int] = {}
    for attempt in attempts:
        top = _top(attempt.path)
        first[top] = min(first.get(top, attempt.node), attempt.node)
    return sorted(
        attempts, key=lambda row: (first[_top(row.path)], _natural(row.scope), row.node, row.path, row.attempt)
    )


def _natural(scope: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in scope.split("/")] if scope else []


def _top(path: str) -> str:
    return path.partition("/")[0]


def _by_path(attempts: Sequence[StepAttempt]) -> Iterable[list[StepAttempt]]:
    return (list(tries) for _, tries in groupby(attempts, key=lambda attempt: attempt.path))


def _group(span: _Span, top: str, steps: list[list[StepAttempt]], branches: Sequence[Branch]) -> list[Row]:
    """Return the row of a step and, under it, those of what ran inside."""
    own = [_row(span, tries, branches) for tries in steps if tries[0].path == top]
    inner = [tries for tries in steps if tries[0].path != top]
    # A stable sort: of those alike, the first ones.
    kept = {tries[0].pk for tries in sorted(inner, key=lambda tries: tries[-1].status in ENDED_WELL)[:MOST_INNER]}
    shown = [tries for tries in inner if tries[0].pk in kept]
    rows = [
        replace(_row(span, tries, branches), name=tries[0].path.removeprefix(f"{top}/"), is_inner=True)
        for tries in shown
    ]
    if not own:
        # What runs after the end, or undoes a step, has no row above it.
        rows = [replace(row, name=f"{top}/{row.name}", is_inner=False) for row in rows]
    rest = [tries for tries in inner if tries[0].pk not in kept]
    return [*own, *rows, *([_rest_row(rest)] if rest else [])]


def _rest_row(rest: list[list[StepAttempt]]) -> Row:
    counts = Counter(tries[-1].status for tries in rest)
    said = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return Row(f"… and {len(rest)} more: {said}", "", "", (), is_inner=True, is_rest=True)


def _span(execution: Execution, attempts: Iterable[StepAttempt], now: datetime) -> _Span:
    ends = [attempt.completed_at for attempt in attempts if attempt.completed_at]
    last = execution.completed_at if execution.status in FINAL_STATUSES and execution.completed_at else now
    return _Span(execution.created_at, max([last, *ends]))


def _queue_row(span: _Span, execution: Execution, attempts: Iterable[StepAttempt], now: datetime) -> Row | None:
    starts = [attempt.started_at for attempt in attempts if attempt.started_at]
    until = min(starts, default=span.end)
    if starts and _ms(span.begin, until) < SHORTEST_WAIT_MS:
        return None
    bar = span.bar("queue", span.begin, until, QUEUE)
    return Row(QUEUE, "", duration_text(_ms(span.begin, until)), (bar,))


def _row(span: _Span, tries: list[StepAttempt], branches: Sequence[Branch]) -> Row:
    path = tries[0].path
    bars: list[Bar] = []
    ended: datetime | None = None
    for attempt in tries:
        if attempt.started_at is None:
            continue
        if ended and _ms(ended, attempt.started_at) >= SHORTEST_WAIT_MS:
            bars.append(span.bar("waiting", ended, attempt.started_at, f"Wait before attempt {attempt.attempt}"))
        ended = attempt.completed_at or span.end
        words = f"Attempt {attempt.attempt} of {path}, {shown_status(attempt, branches)}"
        bars.append(span.bar(_kind(attempt), attempt.started_at, ended, words, attempt.pk))
    latest = tries[-1]
    if ended and (reason := _retry_reason(latest, branches)):
        bars.append(span.bar("waiting", ended, span.end, f"Waits: {reason}"))
    return Row(path, shown_status(latest, branches), duration_text(latest.execution_time_ms), tuple(bars))


def _kind(attempt: StepAttempt) -> str:
    if attempt.step_type == WAITING_TYPE and attempt.status in (StepStatus.COMPLETED, StepStatus.RUNNING):
        return "waiting"
    return attempt.status


def _retry_reason(latest: StepAttempt, branches: Iterable[Branch]) -> str:
    if latest.status != StepStatus.FAILED:
        return ""
    for branch in branches:
        if branch.waiting_on == WaitingOn.RETRY and branch.cursor == latest.node:
            return branch.waiting_reason
    return ""


def _ticks(span: _Span) -> tuple[tuple[int, str], ...]:
    whole = _ms(span.begin, span.end)
    return tuple((100 * part // TICKS, duration_text(whole * part // TICKS)) for part in range(TICKS + 1))


def _ms(start: datetime, stop: datetime) -> int:
    return int((stop - start).total_seconds() * 1000)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-3]
