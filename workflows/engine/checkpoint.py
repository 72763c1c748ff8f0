"""Checkpoints: the transactions that make a branch's progress durable.

Each begins with the fence: a change of the branch row that only the present holder can make. No row changed
means that somebody else holds the branch by now; everything is rolled back and the runner stops quietly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypedDict

import orjson
from django.conf import settings
from django.db import transaction

from core import clock, faults
from core.db import again_after_deadlock, hot_cursor
from workflows import enqueue, metrics
from workflows.choices import ExecutionStatus, Lane, WaitingOn
from workflows.engine import slots, spill
from workflows.engine.lease import Claim
from workflows.engine.step_rows import Attempt, close_open_attempts, write_attempts
from workflows.signals import execution_events


class LeaseLost(Exception):
    """Another process holds the branch: what this one did not yet store does not count."""


class Ended(TypedDict):
    """What a child came to; `error` is None where it did what it should."""

    name: str
    error: str | None
    error_code: str | None


class Child(TypedDict):
    """A branch to begin; `lane` is that of its first step, `waiting_on` is `slot` while others go first."""

    path: str
    kind: str
    cursor: int
    lane: str
    first_item: int | None
    last_item: int | None
    waiting_on: str


@dataclass(frozen=True)
class Ending:
    """How an execution ends, once it has ended."""

    status: str
    error_code: str = ""
    error_message: str | None = None


class Closing(Protocol):
    """What an execution does around its end."""

    def goes_on(self, cursor: Any, attempts: list[Attempt], ending: Ending) -> bool:
        """Tell, under the branch's fence, whether something has to run before the execution may end as given."""

    def ended(self, ending: Ending) -> None:
        """Begin what follows from the end."""


@dataclass(frozen=True)
class Next:
    """Where a branch goes on: its cursor and attempt, and what releases or keeps the claim."""

    cursor: int
    attempt: int = 1
    release: bool = True
    lane: Lane | None = None
    wake_at: datetime | None = None
    waiting_on: WaitingOn | str = ""
    reason: str = ""
    # How long a timer is to take.
    waited_seconds: float = 0.0
    item: int | None = None
    failed_items: list[Ended] | None = None
    ended: list[Ended] | None = None
    children: list[Child] = field(default_factory=list)
    # A wait that the time limit leaves out: it stands still until a worker has the branch again.
    stops_limit: bool = False
    # The first word of a branch after such a wait.
    restores_deadline: bool = False
    # A wait that lets another execution have the slot.
    releases_slot: bool = False
    begin: Callable[[int], None] | None = None


_HELD = "id = %(branch)s AND fence = %(fence)s AND claimed_by = %(me)s"
_KEEP = (
    "UPDATE workflow_branches SET cursor = %(cursor)s, attempt = %(attempt)s,"  # noqa: S608  (constants)
    " rank = CASE WHEN rank < 0 THEN rank ELSE rank - 10 END,"
    " lease_until = clock_timestamp() + make_interval(secs => %(lease)s),"
    " first_item = COALESCE(%(item)s, first_item), ended = COALESCE(%(ended)s::jsonb, ended),"
    " failed_items = COALESCE(%(failed_items)s::jsonb, failed_items)"
    f" WHERE {_HELD} RETURNING last_item"
)
_RELEASE = (
    "UPDATE workflow_branches SET cursor = %(cursor)s, attempt = %(attempt)s,"  # noqa: S608  (constants)
    " rank = CASE WHEN rank < 0 THEN rank ELSE rank - 10 END,"
    " claimed_by = '', lease_until = NULL, lane = COALESCE(%(lane)s, lane), wake_at = %(wake_at)s,"
    " waiting_on = %(waiting_on)s, waiting_reason = %(reason)s,"
    " slot_released = %(releases_slot)s AND concurrency_key <> '',"
    " first_item = COALESCE(%(item)s, first_item), ended = COALESCE(%(ended)s::jsonb, ended),"
    " failed_items = COALESCE(%(failed_items)s::jsonb, failed_items)"
    f" WHERE {_HELD} RETURNING last_item, concurrency_key"
)
_END = f"DELETE FROM workflow_branches WHERE {_HELD} RETURNING concurrency_key, waiting_on"  # noqa: S608
_LOCK_PARENT = "SELECT ended FROM workflow_branches WHERE id = %(parent)s FOR UPDATE"
_TELL_PARENT = "UPDATE workflow_branches SET ended = ended || %(ended)s::jsonb WHERE id = %(parent)s"
_SIBLINGS = "SELECT path FROM workflow_branches WHERE parent_id = %(parent)s"
_STOP_ITEMS = "UPDATE workflow_branches SET last_item = first_item WHERE parent_id = %(parent)s"
_DROP_WAITING_SIBLINGS = "DELETE FROM workflow_branches WHERE parent_id = %(parent)s AND waiting_on = 'slot'"
_ADD_FILES = (
    "UPDATE workflow_executions SET output_file_ids = output_file_ids || %(files)s::jsonb WHERE id = %(execution)s"
)
# Whoever gave its slot away has to wait for one again; the sweep lets it in. A branch with children of its own waits
# for those: what it waited for before, and stopped waiting for, wakes it no more.
_WAKE = """
UPDATE workflow_branches SET waiting_on = CASE WHEN slot_released THEN 'slot' ELSE '' END,
  waiting_reason = CASE WHEN slot_released THEN 'what it waited for has come, and it waits for a slot' ELSE '' END,
  wake_at = NULL, slot_released = false
WHERE id = %(branch)s AND waiting_on = %(waiting_on)s AND claimed_by = ''
  AND NOT EXISTS (SELECT FROM workflow_branches child WHERE child.parent_id = %(branch)s) RETURNING lane
"""
_WAKE_PARENT = "UPDATE workflow_branches SET waiting_on = '', waiting_reason = '' WHERE id = %(parent)s RETURNING lane"
_WAKE_SIBLING = """
UPDATE workflow_branches SET waiting_on = '', waiting_reason = '' WHERE id = (
  SELECT id FROM workflow_branches WHERE parent_id = %(parent)s AND waiting_on = 'slot' ORDER BY id LIMIT 1
) RETURNING lane
"""
_INSERT_CHILDREN = """
INSERT INTO workflow_branches (execution_id, parent_id, path, kind, cursor, attempt, first_item, last_item, lane,
  waiting_on, waiting_reason, rank, owner_id, workflow_id, concurrency_key, fence, claimed_by, recoveries)
SELECT b.execution_id, b.id, r.path, r.kind, r.cursor, 0, r.first_item, r.last_item, r.lane,
  r.waiting_on, CASE r.waiting_on WHEN 'slot' THEN 'waits for other items of the loop to end' ELSE '' END,
  CASE WHEN b.rank < 0 THEN b.rank ELSE b.rank - 10 END, b.owner_id, b.workflow_id, '', 0, '', 0
FROM workflow_branches b, jsonb_to_recordset(%(children)s::jsonb)
  AS r(path text, kind text, cursor int, first_item int, last_item int, lane text, waiting_on text)
WHERE b.id = %(parent)s
"""
_PROGRESS = """
UPDATE workflow_executions
SET status = 'running', started_at = COALESCE(started_at, %(started_at)s), updated_at = %(now)s,
    deadline_at = CASE WHEN NOT %(stops_limit)s
      THEN COALESCE(deadline_at, CASE WHEN %(sets_limit)s THEN %(deadline_at)s::timestamptz END) END,
    waited_ms = waited_ms + %(waited)s * 1000, retry_count = retry_count + %(retries)s,
    output_file_ids = output_file_ids || %(files)s::jsonb
WHERE id = %(execution)s RETURNING stop_requested
"""
# Whoever begins to wait holds the execution's row, too: of two branches at once, one sees the other.
_LOCK_EXECUTION = "SELECT FROM workflow_executions WHERE id = %(execution)s FOR UPDATE"
_OTHERS_WAIT = """
SELECT EXISTS (
  SELECT FROM workflow_branches b
  WHERE execution_id = %(execution)s AND id <> %(branch)s AND claimed_by = '' AND waiting_on NOT IN ('', 'slot')
    AND NOT EXISTS (SELECT FROM workflow_branches child WHERE child.parent_id = b.id)
)
"""
_RESTORE_LIMIT = (
    "UPDATE workflow_executions SET deadline_at = COALESCE(deadline_at, %(deadline_at)s) WHERE id = %(execution)s"
)
# A branch among many must not queue for its execution's row at each checkpoint.
_STOP_REQUESTED = "SELECT stop_requested FROM workflow_executions WHERE id = %(execution)s"
_FINISH = """
WITH done AS (
  UPDATE workflow_executions
  SET status = CASE stop_requested WHEN 'cancel' THEN 'cancelled' WHEN 'timeout' THEN 'timeout' ELSE %(status)s END,
      error_code = CASE stop_requested WHEN '' THEN %(error_code)s WHEN 'timeout' THEN 'execution_timeout' ELSE '' END,
      error_message = CASE stop_requested WHEN '' THEN %(error_message)s
        WHEN 'timeout' THEN 'Execution timed out' ELSE 'Execution cancelled' END,
      started_at = COALESCE(started_at, %(started_at)s), completed_at = %(now)s, updated_at = %(now)s,
      execution_time_ms = EXTRACT(EPOCH FROM %(now)s - COALESCE(started_at, %(started_at)s)) * 1000,
      output_file_ids = output_file_ids || %(files)s::jsonb, ends_as = ''
  WHERE id = %(execution)s AND status IN ('pending', 'running')
  RETURNING workflow_id, status, error_message, execution_time_ms, is_test, wakes_branch_id
), counted AS (
  INSERT INTO workflow_counter_deltas (workflow_id, total, successful, failed, last_execution_at)
  SELECT workflow_id, 1, (status = 'completed')::int, (status IN ('failed', 'timeout'))::int, %(now)s
  FROM done WHERE NOT is_test
)
SELECT status, error_message, execution_time_ms, wakes_branch_id FROM done
"""


@again_after_deadlock
def save(
    claim: Claim,
    attempts: list[Attempt],
    following: Next,
    *,
    started_at: datetime,
    deadline_at: datetime,
    retries: int = 0,
    output_file_ids: list[int] | None = None,
) -> str:
    """Store attempts and the branch's place, and keep or release the claim. Return `stop_requested`.

    Raises LeaseLost when the fence has moved on.
    """
    now = clock.now()
    first = claim.status == ExecutionStatus.PENDING
    attempts = spill.put_aside(attempts)
    with transaction.atomic(), hot_cursor() as cursor:
        cursor.execute(
            _RELEASE if following.release else _KEEP,
            fence_of(claim)
            | {
                "cursor": following.cursor,
                "attempt": following.attempt,
                "lease": settings.LEASE_SECONDS,
                "lane": following.lane,
                "wake_at": following.wake_at,
                "waiting_on": following.waiting_on,
                "reason": following.reason[:512],
                "item": following.item,
                "releases_slot": following.releases_slot,
                "ended": _as_text(following.ended),
                "failed_items": _as_text(following.failed_items),
            },
        )
        held = cursor.fetchone()
        if held is None:
            raise LeaseLost
        claim.last_item = held[0]
        if following.releases_slot and held[1]:
            slots.pass_on(cursor, claim.workflow_id, held[1])
        faults.point("in_checkpoint")
        write_attempts(cursor, claim.execution_id, attempts)
        _insert_children(cursor, claim.branch_id, following.children)
        if following.begin is not None:
            following.begin(claim.branch_id)
        news = following.stops_limit or following.restores_deadline or retries or output_file_ids
        cursor.execute(
            _PROGRESS if claim.parent_id is None or news else _STOP_REQUESTED,
            {
                "execution": claim.execution_id,
                "now": now,
                "started_at": started_at,
                "deadline_at": deadline_at,
                "waited": following.waited_seconds if following.stops_limit else 0.0,
                "stops_limit": following.stops_limit,
                "sets_limit": _sets_limit(cursor, claim, following),
                "retries": retries,
                "files": orjson.dumps(output_file_ids or []).decode(),
            },
        )
        row = cursor.fetchone()
        if first:
            _announce(claim, "workflow.started", {"status": "running"})
    claim.status = ExecutionStatus.RUNNING
    metrics.count_progress(claim.trigger_type, retries=retries, attempts=attempts)
    return str(row[0]) if row else "cancel"


def _sets_limit(cursor: Any, claim: Claim, following: Next) -> bool:
    """Tell whether a checkpoint lets the time limit run on where it stood still, or sets it."""
    return claim.parent_id is None or (following.restores_deadline and _waits_alone(cursor, claim))


def _waits_alone(cursor: Any, claim: Claim) -> bool:
    """Tell whether no other branch waits: the last of them lets the time limit run on. Locks the execution."""
    place = {"execution": claim.execution_id, "branch": claim.branch_id}
    cursor.execute(_LOCK_EXECUTION, place)
    cursor.execute(_OTHERS_WAIT, place)
    return not cursor.fetchone()[0]


@again_after_deadlock
def finish(
    claim: Claim,
    attempts: list[Attempt],
    *,
    status: ExecutionStatus,
    started_at: datetime,
    error_code: str = "",
    error_message: str | None = None,
    output_file_ids: list[int] | None = None,
    closing: Closing | None = None,
    within: Callable[[], None] | None = None,
) -> str:
    """End the root branch and its execution; a requested stop decides the final status. Return it.

    With `closing` the branch may first have to undo steps, or to run those that always run: then it goes on so,
    and "running" is returned. `within` is called in the same transaction.
    """
    now = clock.now()
    attempts = spill.put_aside(attempts)
    with transaction.atomic(), hot_cursor() as cursor:
        if closing is not None and closing.goes_on(cursor, attempts, Ending(status, error_code, error_message)):
            if within is not None:
                within()
            return ExecutionStatus.RUNNING
        cursor.execute(_END, fence_of(claim))
        ended = cursor.fetchone()
        if ended is None:
            raise LeaseLost
        faults.point("in_finish")
        slot_key, waiting_on = ended
        if slot_key and waiting_on != WaitingOn.SLOT:
            slots.pass_on(cursor, claim.workflow_id, slot_key)
        write_attempts(cursor, claim.execution_id, attempts)
        cursor.execute(
            _FINISH,
            {
                "execution": claim.execution_id,
                "now": now,
                "started_at": started_at,
                "status": status,
                "error_code": error_code,
                "error_message": error_message,
                "files": orjson.dumps(output_file_ids or []).decode(),
            },
        )
        final, message, took_ms, wakes_branch_id = cursor.fetchone()
        if final != ExecutionStatus.COMPLETED:
            close_open_attempts(cursor, claim.execution_id, now)
        announce_end(claim, final, message, took_ms)
        if wakes_branch_id is not None:
            wake(cursor, wakes_branch_id, waiting_on=WaitingOn.CHILDREN)
        if within is not None:
            within()
        if closing is not None:
            closing.ended(Ending(final, error_code, message))
    metrics.count_end(claim.trigger_type, status=final, error_code=error_code, took_ms=took_ms, attempts=attempts)
    faults.point("after_finish")
    return str(final)


def wake(cursor: Any, branch_id: int, *, waiting_on: WaitingOn) -> bool:
    """Make a branch due that waits for what has come now, and ring on commit. False if it waits no more."""
    cursor.execute(_WAKE, {"branch": branch_id, "waiting_on": waiting_on})
    row = cursor.fetchone()
    if row is not None:
        enqueue.ring_lane_on_commit(row[0])
    return row is not None


@again_after_deadlock
def end_branch(
    claim: Claim,
    attempts: list[Attempt],
    *,
    ended: list[Ended],
    then: Callable[[list[Ended], set[str]], list[Child]],
    stop_siblings: bool = False,
    output_file_ids: list[int] | None = None,
    restored_deadline: datetime | None = None,
) -> tuple[str, set[str]]:
    """End a branch that has a parent; the last of its children wakes the parent.

    The parent's row is locked first: without that, two last children would each see the other and wake nobody.
    Under that lock `then(all that ended, paths of those that live)` says which further children begin.
    `stop_siblings`: the other chunks of a loop begin no further item. `restored_deadline`: the branch waited last,
    and until then the time limit runs on. Returns (stop_requested, lanes to ring).

    Raises LeaseLost when the fence has moved on.
    """
    assert claim.parent_id is not None  # noqa: S101  (the root ends by `finish`)
    attempts = spill.put_aside(attempts)
    with transaction.atomic(), hot_cursor() as cursor:
        cursor.execute(_LOCK_PARENT, {"parent": claim.parent_id})
        parent = cursor.fetchone()
        cursor.execute(_END, fence_of(claim))
        if cursor.fetchone() is None or parent is None:
            raise LeaseLost
        faults.point("in_finish")
        write_attempts(cursor, claim.execution_id, attempts)
        everything = [*_as_json(parent[0]), *ended]
        cursor.execute(_TELL_PARENT, {"parent": claim.parent_id, "ended": orjson.dumps(ended).decode()})
        if stop_siblings:
            cursor.execute(_STOP_ITEMS, {"parent": claim.parent_id})
            cursor.execute(_DROP_WAITING_SIBLINGS, {"parent": claim.parent_id})
        if output_file_ids:
            files = {"execution": claim.execution_id, "files": orjson.dumps(output_file_ids).decode()}
            cursor.execute(_ADD_FILES, files)
        cursor.execute(_SIBLINGS, {"parent": claim.parent_id})
        alive = {path for (path,) in cursor.fetchall()}
        following = then(everything, alive)
        _insert_children(cursor, claim.parent_id, following)
        lanes = {child["lane"] for child in following}
        cursor.execute(_WAKE_PARENT if not alive and not following else _WAKE_SIBLING, {"parent": claim.parent_id})
        lanes |= {lane for (lane,) in cursor.fetchall()}
        if restored_deadline is not None and _waits_alone(cursor, claim):
            cursor.execute(_RESTORE_LIMIT, {"execution": claim.execution_id, "deadline_at": restored_deadline})
        cursor.execute(_STOP_REQUESTED, {"execution": claim.execution_id})
        [stop_requested] = cursor.fetchone()
    metrics.count_progress(claim.trigger_type, retries=0, attempts=attempts)
    faults.point("after_finish")
    return str(stop_requested), lanes


def announce_end(claim: Claim, status: str, message: str | None, took_ms: int | None) -> None:
    """Send the news of an execution's end (contract 10's workflow events)."""
    completed = status == ExecutionStatus.COMPLETED
    data = {"status": status, "execution_time_ms": int(took_ms or 0), "error_message": message}
    _announce(claim, "workflow.completed" if completed else "workflow.failed", data)


def _announce(claim: Claim, event_type: str, data: dict[str, Any]) -> None:
    execution_events.send(
        sender=Claim,
        events=[
            {
                "event_type": event_type,
                "execution_id": claim.execution_id,
                "workflow_id": claim.workflow_id,
                "owner_id": claim.owner_id,
                "correlation_id": claim.correlation_id,
                "data": data,
            }
        ],
    )


def _insert_children(cursor: Any, parent_id: int, children: list[Child]) -> None:
    if children:
        cursor.execute(_INSERT_CHILDREN, {"parent": parent_id, "children": orjson.dumps(children).decode()})


def _as_text(value: list[Ended] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _as_json(value: Any) -> list[Ended]:
    found: list[Ended] = orjson.loads(value) if isinstance(value, str | bytes) else value
    return found


def fence_of(claim: Claim) -> dict[str, Any]:
    return {"branch": claim.branch_id, "fence": claim.fence, "me": claim.claimed_by}
