"""Matching events with the steps that wait for them; who stores events calls this (ENGINE 5).

Both sides look after they have committed: the dispatcher of an event at the open waits, a wait at the events
before it. Whichever commits second sees the other.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from core import clock, logs
from core.expressions import ExpressionError
from workflows import transitions
from workflows.choices import EventWaitStatus, WaitingOn
from workflows.engine import checkpoint
from workflows.engine.event_filter import holds, key_of
from workflows.models import Branch, EventWait

log = logs.get(__name__)

__all__ = ["EventNews", "awaited", "key_of", "mark_scanned", "match_event", "offer_event", "open_wait", "unscanned"]


@dataclass(frozen=True)
class EventNews:
    """A committed event."""

    uuid: UUID
    event_type: str
    owner_id: int
    data: dict[str, Any]
    at: datetime

    def shown_to(self, wait: EventWait) -> dict[str, Any]:
        """Return what filters and outputs see; the type as the step spells it (contract 17, conflict 12)."""
        at = self.at.isoformat().replace("+00:00", "Z")
        return {"id": str(self.uuid), "type": wait.event_type, "data": self.data, "at": at}


def awaited(keys: Collection[str]) -> set[tuple[int, str]]:
    """Return which of these types are waited for, as (owner id, key)."""
    found = EventWait.objects.filter(status=EventWaitStatus.OPEN, event_key__in=list(keys)).order_by()
    return set(found.values_list("owner_id", "event_key").distinct())


def match_event(news: EventNews) -> int:
    """Wake every branch whose wait takes the event, in the caller's transaction. Returns how many.

    A branch that is being resumed at its deadline waits no more: it looks at the stored events by itself.
    """
    waits = {wait.branch_id: wait for wait in _candidates(news) if _takes(wait, news)}
    if not waits:
        return 0
    waiting = Branch.objects.filter(pk__in=list(waits), waiting_on=WaitingOn.EVENT).order_by("pk")
    branch_ids = list(waiting.select_for_update().values_list("pk", flat=True))
    spellings = {waits[pk].event_type for pk in branch_ids}
    return sum(_give([waits[pk] for pk in branch_ids if waits[pk].event_type == name], news) for name in spellings)


def open_wait(wait_id: int) -> EventWait | None:
    """Return a wait if it is still open."""
    return EventWait.objects.filter(pk=wait_id, status=EventWaitStatus.OPEN).first()


def offer_event(wait: EventWait, news: EventNews, *, is_ending: bool = False) -> bool:
    """Give an open wait an event from the look-back, and wake its branch. True if it took it.

    `is_ending`: the branch's own worker asks, at the deadline; nobody is to be woken.
    """
    if not _takes(wait, news):
        return False
    with transaction.atomic():
        if is_ending:
            return bool(transitions.match_event_waits([wait.pk], news.shown_to(wait)))
        waiting = Branch.objects.filter(pk=wait.branch_id, waiting_on=WaitingOn.EVENT)
        return waiting.select_for_update().exists() and _give([wait], news) == 1


def unscanned(*, before: datetime | None = None, limit: int) -> list[int]:
    """Return open waits that have not looked back, oldest first; `before`: made earlier than that."""
    made = Q() if before is None else Q(created_at__lt=before)
    found = EventWait.objects.filter(made, status=EventWaitStatus.OPEN, scanned_at=None)
    return list(found.order_by("pk").values_list("pk", flat=True)[:limit])


def mark_scanned(wait_id: int) -> None:
    """Note that the events before a wait were looked through."""
    EventWait.objects.filter(pk=wait_id, scanned_at=None).update(scanned_at=clock.now())


def _candidates(news: EventNews) -> QuerySet[EventWait]:
    in_time = Q(deadline_at=None) | Q(deadline_at__gte=news.at)
    return EventWait.objects.filter(
        in_time,
        status=EventWaitStatus.OPEN,
        event_key=key_of(news.event_type),
        owner_id=news.owner_id,
        since__lte=news.at,
    ).order_by("pk")


def _takes(wait: EventWait, news: EventNews) -> bool:
    """Decide the filter. One that cannot be decided takes nothing, and the wait says why."""
    if wait.filter is None:
        return True
    try:
        return holds(wait.filter, wait.names, news.shown_to(wait))
    except ExpressionError as error:
        problem = str(error)[:512]
    except Exception as error:
        # One owner's filter must not stop the events of all others.
        log.exception("filter.crashed", wait_id=wait.pk, event_id=str(news.uuid))
        problem = f"{type(error).__name__}: {error}"[:512]
    if problem != wait.problem:
        EventWait.objects.filter(pk=wait.pk).update(problem=problem)
    return False


def _give(waits: list[EventWait], news: EventNews) -> int:
    """Give an event to waits of one spelling, whose branches are locked, and wake those."""
    if not waits:
        return 0
    branch_ids = transitions.match_event_waits([wait.pk for wait in waits], news.shown_to(waits[0]))
    with connection.cursor() as cursor:
        return sum(checkpoint.wake(cursor, branch_id, waiting_on=WaitingOn.EVENT) for branch_id in branch_ids)
