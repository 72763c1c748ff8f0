"""Claims: who works on a branch, until when, and under which fence (ENGINE 1).

A claim sets `claimed_by`, a lease and a new fence. Whoever writes under an old fence writes nothing.
Leases compare with PostgreSQL's clock; waits with `core.clock`.
"""

import os
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from core import clock, faults, logs
from core.db import hot_cursor
from workflows.choices import BranchKind, Lane

log = logs.get(__name__)

BATCH = 20
# How many branches, and workflows that have any, a claim chooses among: enough for all processes that claim at a
# moment. With thousands of workflows most of the time would go into branches that are not chosen.
WINDOW = 100
# How many branches a claim looks at, shared by those workflows.
HEADS = 1_000
# A beat also learns of cancellations, which people expect to work within moments.
LONGEST_BEAT_SECONDS = 2.0


@dataclass
class Claim:
    """A claimed branch with what the runner needs of its execution. Field order is the SQL's."""

    branch_id: int
    execution_id: int
    cursor: int
    attempt: int
    fence: int
    recoveries: int
    was_waiting_on: str
    execution_uuid: uuid.UUID
    workflow_id: int
    version_id: int
    owner_id: int
    status: str
    trigger_type: str
    trigger_data: dict[str, Any] | None
    stop_requested: str
    correlation_id: str
    started_at: datetime | None
    deadline_at: datetime | None
    more_due: bool
    path: str = ""
    kind: str = BranchKind.ROOT
    parent_id: int | None = None
    first_item: int | None = None
    last_item: int | None = None
    cause_chain: list[int] = field(default_factory=list)
    claimed_by: str = ""


_DUE = "lane = %(lane)s AND claimed_by = ''"
_READY = f"{_DUE} AND waiting_on = ''"
# A start may commit in the very moment its workflow is deleted: the claim sees the deletion then.
# The picked ids go through an array, so that the plan looks them up by key: this table is small or large from one
# second to the next, and statistics about it are never right.
_CLAIM = f"""
WITH RECURSIVE queues AS (
  (SELECT owner_id, workflow_id, rank FROM workflow_branches WHERE {_READY}
   ORDER BY owner_id, workflow_id, rank LIMIT 1)
  UNION ALL
  SELECT following.*
  FROM queues CROSS JOIN LATERAL (
    SELECT owner_id, workflow_id, rank FROM workflow_branches
    WHERE {_READY} AND (owner_id, workflow_id) > (queues.owner_id, queues.workflow_id)
    ORDER BY owner_id, workflow_id, rank LIMIT 1
  ) following
), served AS (
  SELECT owner_id, workflow_id FROM (
    SELECT *, row_number() OVER (PARTITION BY owner_id, rank ORDER BY random()) AS turn FROM queues
  ) each ORDER BY rank, turn, random() LIMIT %(window)s
), heads AS (
  SELECT mine.*, row_number() OVER (PARTITION BY mine.owner_id, mine.workflow_id, mine.rank ORDER BY mine.id) AS turn
  FROM served CROSS JOIN LATERAL (
    SELECT id, rank, owner_id, workflow_id FROM workflow_branches
    WHERE {_READY} AND owner_id = served.owner_id AND workflow_id = served.workflow_id
    ORDER BY rank, id LIMIT (SELECT least(%(window)s, %(limit)s + %(heads)s / count(*)) FROM served)
  ) mine
), turns AS (
  SELECT id, rank, row_number() OVER (PARTITION BY owner_id, rank ORDER BY turn, random()) AS turn FROM heads
), picked AS (
  SELECT array_agg(id) AS ids FROM (SELECT id FROM turns ORDER BY rank, turn, random() LIMIT %(window)s) best
), timers AS (
  SELECT id, waiting_on FROM workflow_branches
  WHERE {_DUE} AND wake_at <= %(now)s AND NOT slot_released
  ORDER BY wake_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), ready AS (
  SELECT id, waiting_on FROM workflow_branches
  WHERE id = ANY((SELECT ids FROM picked)::bigint[]) AND claimed_by = '' AND waiting_on = ''
  ORDER BY array_position((SELECT ids FROM picked), id)
  LIMIT %(limit)s - (SELECT count(*) FROM timers) FOR UPDATE SKIP LOCKED
), due AS (SELECT id, waiting_on FROM timers UNION ALL SELECT id, waiting_on FROM ready)
UPDATE workflow_branches b
SET claimed_by = %(me)s, fence = b.fence + 1, wake_at = NULL, waiting_on = '', waiting_reason = '',
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM due, workflow_executions e, workflows w
WHERE b.id = due.id AND e.id = b.execution_id AND w.id = e.workflow_id
RETURNING b.id, b.execution_id, b.cursor, b.attempt, b.fence, b.recoveries, due.waiting_on,
  e.uuid, e.workflow_id, e.version_id, e.owner_id, e.status, e.trigger_type, e.trigger_data,
  CASE WHEN e.stop_requested = '' AND w.deleted_at IS NOT NULL THEN 'cancel' ELSE e.stop_requested END,
  e.correlation_id, e.started_at, e.deadline_at,
  (SELECT count(*) FROM due) >= %(limit)s, b.path, b.kind, b.parent_id, b.first_item, b.last_item,
  e.cause_chain
"""  # noqa: S608  (no value is pasted in: _DUE is the constant above)


def me() -> str:
    """Return the name of this thread of this process, unlike any other before or after it."""
    return f"{socket.gethostname()[:24]}:{os.getpid()}:{threading.get_native_id()}:{_process_id()}"[:64]


_process_ids: dict[int, str] = {}


def _process_id() -> str:
    """A random id per process, made after fork (a pid may come again)."""
    # setdefault is atomic: threads that start together agree.
    return _process_ids.setdefault(os.getpid(), uuid.uuid4().hex[:8])


def claim(lane: Lane, *, limit: int = BATCH) -> list[Claim]:
    """Claim up to `limit` due branches of a lane: timers that rang first, then by rank, everybody taking turns.

    Rank puts continuations before new starts, then the executions' priority. Within a rank each owner's first
    branch comes before anybody's second, and so do the workflows of one owner; chance decides between equals,
    since most claims take one branch. A queue of thousands holds up nobody else.
    """
    faults.point("before_claim")
    name = me()
    with hot_cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "lane": lane,
                "now": clock.now(),
                "limit": limit,
                "window": WINDOW,
                "heads": HEADS,
                "me": name,
                "lease": settings.LEASE_SECONDS,
            },
        )
        claims = [Claim(*(*_decoded(row), name)) for row in cursor.fetchall()]
    faults.point("after_claim")
    return sorted(claims, key=lambda item: (item.was_waiting_on == "", item.branch_id))


def hand_back(claims: list[Claim]) -> None:
    """Give unstarted claims back, so that another process may take them at once."""
    if not claims:
        return
    with hot_cursor() as cursor:
        cursor.execute(
            "UPDATE workflow_branches SET claimed_by = '', lease_until = NULL WHERE id = ANY(%s) AND claimed_by = %s",
            [[item.branch_id for item in claims], claims[0].claimed_by],
        )


def _decoded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        orjson.loads(value) if index in _JSON_COLUMNS and isinstance(value, str | bytes) else value
        for index, value in enumerate(row)
    )


_JSON_COLUMNS = frozenset(
    index for index, item in enumerate(fields(Claim)) if item.name in ("trigger_data", "cause_chain")
)


@dataclass
class _Held:
    claim: Claim
    deadline: datetime
    on_overdue: Callable[[], None] | None


class Keeper:
    """One heartbeat per process: renews, in one UPDATE, the leases whose attempt deadline is still ahead."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._lock = threading.Lock()
        self._pid: int | None = None

    def hold(self, item: Claim, *, deadline: datetime, on_overdue: Callable[[], None] | None = None) -> None:
        """Renew `item` until `deadline`; `on_overdue` is called once when an attempt overstays it."""
        with self._lock:
            self._held[item.branch_id] = _Held(item, deadline, on_overdue)
        self._start_thread()

    def drop(self, item: Claim) -> None:
        """Stop renewing a claim."""
        with self._lock:
            held = self._held.get(item.branch_id)
            # A thread that lost the branch must not stop the renewals of the one that has it now.
            if held is not None and held.claim is item:
                del self._held[item.branch_id]

    def _start_thread(self) -> None:
        # A forked child inherits the attribute but not the thread: the pid tells.
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
        threading.Thread(target=self._beat, name="lease-keeper", daemon=True).start()

    def _beat(self) -> None:
        wait = threading.Event()
        while not wait.wait(min(settings.LEASE_SECONDS / 3, LONGEST_BEAT_SECONDS)):
            try:
                self._renew()
            except Exception:
                # This thread must live as long as its process: without it every lease would run out.
                log.exception("lease.renewal_failed")
            finally:
                # Beats are rare and only long steps need them: a connection a process is not kept for that.
                connection.close()

    def _renew(self) -> None:
        now = clock.now()
        with self._lock:
            held = list(self._held.values())
        overdue = [item for item in held if item.deadline <= now]
        alive = [item for item in held if item.deadline > now]
        if alive:
            with hot_cursor() as cursor:
                cursor.execute(
                    "UPDATE workflow_branches b"
                    " SET lease_until = clock_timestamp() + make_interval(secs => %s)"
                    " FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS held(id, fence, name),"
                    " workflow_executions e"
                    " WHERE b.id = held.id AND b.fence = held.fence AND b.claimed_by = held.name"
                    " AND e.id = b.execution_id RETURNING b.id, e.stop_requested",
                    [
                        settings.LEASE_SECONDS,
                        [item.claim.branch_id for item in alive],
                        [item.claim.fence for item in alive],
                        [item.claim.claimed_by for item in alive],
                    ],
                )
                requested = dict(cursor.fetchall())
            for item in alive:
                item.claim.stop_requested = requested.get(item.claim.branch_id, item.claim.stop_requested)
        for item in overdue:
            self.drop(item.claim)
            if item.on_overdue is not None:
                item.on_overdue()


keeper = Keeper()
