"""The dispatcher: takes committed events to what waits for them, and marks them (ENGINE 8).

Most events concern nobody: those are marked thousands at a time by the beat's sweep, at no cost to whoever stored
them. Nothing here reads by position in the store, so events that commit out of order are not passed over: an event
counts as new until it is marked, and a look-back reads by time what the dispatcher would take to the wait later.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Replace

from automation import enqueue
from automation.models import Event
from core import clock, logs
from workflows.models import EventWait
from workflows.services import waits
from workflows.services.waits import EventNews

log = logs.get(__name__)

BATCH = 5000
BATCHES_PER_SWEEP = 4
DISPATCH_SECONDS = 5.0
LOOK_BACK_BATCH = 200
LOOK_BACKS_PER_BELL = 200
# What bells have not brought to a worker by then, the sweep does by itself, a little at a time.
OVERDUE_SECONDS = 3.0
OVERDUE_PER_SWEEP = 50

# An event is picked before it is asked who waits: a wait that this does not see yet looks back for the event.
_PICK = """
SELECT id, owner_id, replace(event_type, '.', '_'), created_at FROM event_store
WHERE dispatched_at IS NULL AND id > %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True)
class _Picked:
    id: int
    owner_id: int
    key: str
    created_at: datetime


def dispatch_events() -> int:
    """Take undispatched events to the waits they match, for at most 5 s, then ring if some are left.

    Returns how many branches were woken. Each event is a transaction of its own, and safe to repeat.
    """
    ends_at = time.monotonic() + DISPATCH_SECONDS
    woken, last_id = 0, 0
    for wait_id in waits.unscanned(limit=LOOK_BACKS_PER_BELL):
        look_back(wait_id=wait_id)
    while True:
        picked, awaited = _pass_over(last_id)
        for event in awaited:
            woken += _dispatch(event.id)
        if len(picked) < BATCH:
            return woken
        last_id = picked[-1].id
        if time.monotonic() >= ends_at:
            enqueue.ring_dispatcher()
            return woken


def sweep_events() -> None:
    """Mark the events that concern nobody, and ring for the others; what is overdue is dispatched here.

    Called by every beat each second. Its statements do not grow with the number of events.
    """
    awaited: list[_Picked] = []
    last_id = 0
    for _ in range(BATCHES_PER_SWEEP):
        picked, found = _pass_over(last_id)
        awaited += found
        if len(picked) < BATCH:
            break
        last_id = picked[-1].id
    forgotten = waits.unscanned(limit=OVERDUE_PER_SWEEP)
    if awaited or forgotten:
        enqueue.ring_dispatcher()
        _do_overdue(awaited)


def look_back(*, wait_id: int, is_ending: bool = False) -> bool:
    """Hold the stored events of a wait's window against it, oldest first. True if it took one.

    `is_ending`: its own branch asks, at the deadline.
    """
    wait = waits.open_wait(wait_id)
    if wait is None:
        return False
    taken = any(waits.offer_event(wait, _news(event), is_ending=is_ending) for event in _window(wait))
    waits.mark_scanned(wait_id)
    return taken


def _pass_over(after_id: int) -> tuple[list[_Picked], list[_Picked]]:
    """Pick undispatched events and mark those that nobody waits for. Returns (all that were picked, the others)."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_PICK, [after_id, BATCH])
        picked = [_Picked(*row) for row in cursor.fetchall()]
        if not picked:
            return [], []
        wanted = waits.awaited({event.key for event in picked})
        awaited = [event for event in picked if (event.owner_id, event.key) in wanted]
        idle = {event.id for event in picked} - {event.id for event in awaited}
        if idle:
            cursor.execute("UPDATE event_store SET dispatched_at = %s WHERE id = ANY(%s)", [clock.now(), list(idle)])
    return picked, awaited


def _dispatch(event_id: int) -> int:
    """Take one event to its waits, unless another dispatcher does."""
    with transaction.atomic():
        undispatched = Event.objects.select_for_update(skip_locked=True).filter(pk=event_id, dispatched_at=None)
        event = undispatched.first()
        if event is None:
            return 0
        woken = waits.match_event(_news(event))
        Event.objects.filter(pk=event_id).update(dispatched_at=clock.now())
    if woken:
        log.info("event.matched", event_id=str(event.uuid), event_type=event.event_type, waits=woken)
    return woken


def _do_overdue(awaited: list[_Picked]) -> None:
    """Do what no worker heard of: queues full of other bells, or no broker at all."""
    before = clock.now() - timedelta(seconds=OVERDUE_SECONDS)
    for event in [event for event in awaited if event.created_at < before][:OVERDUE_PER_SWEEP]:
        _dispatch(event.id)
    for wait_id in waits.unscanned(before=before, limit=OVERDUE_PER_SWEEP):
        look_back(wait_id=wait_id)


def _window(wait: EventWait) -> Iterator[Event]:
    """Yield the stored events that a wait may take, by time (the index that retention keeps anyway)."""
    found = Event.objects.annotate(key=Replace("event_type", Value("."), Value("_"))).filter(
        key=wait.event_key, owner_id=wait.owner_id, created_at__gte=wait.since
    )
    if wait.deadline_at is not None:
        found = found.filter(created_at__lte=wait.deadline_at)
    return _in_batches(found.order_by("created_at", "pk"))


def _in_batches(found: QuerySet[Event]) -> Iterator[Event]:
    batch = list(found[:LOOK_BACK_BATCH])
    while batch:
        yield from batch
        last = batch[-1]
        later = Q(created_at__gt=last.created_at) | Q(created_at=last.created_at, pk__gt=last.pk)
        full = len(batch) == LOOK_BACK_BATCH
        batch = list(found.filter(later, created_at__gte=last.created_at)[:LOOK_BACK_BATCH]) if full else []


def _news(event: Event) -> EventNews:
    return EventNews(
        uuid=event.uuid,
        event_type=event.event_type,
        owner_id=event.owner_id,
        data=event.event_data,
        at=event.created_at,
    )
