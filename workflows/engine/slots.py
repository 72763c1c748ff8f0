"""Concurrency limits: how many executions of a workflow, or of one value of its key, run at a time (ENGINE 5).

A root branch with a concurrency key holds a slot unless it waits for one. Whoever counts takes the key's
advisory lock first: counting alone lets too many in under READ COMMITTED. Lock order: the own branch's row,
then the advisory lock, then rows of executions and of branches that wait.
"""

from typing import Any

from django.db import connection, transaction

from core import clock, jsonsafe
from core.db import hot_cursor
from core.expressions import ExpressionError, Scope, resolve
from workflows import enqueue
from workflows.choices import ConcurrencyPolicy, StopReason, WaitingOn
from workflows.errors import ConcurrencyKeyInvalid, SlotsTaken
from workflows.models import Execution, Workflow

LONGEST_KEY = 200
KEYS_PER_SWEEP = 200
RANG_REASON = "has waited long enough, and waits for a slot to go on"
# Where the next sweep goes on.
_keys_after = (0, "")

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, %(workflow)s))"
_HOLDERS = """
SELECT execution_id FROM workflow_branches
WHERE workflow_id = %(workflow)s AND concurrency_key = %(key)s AND waiting_on <> 'slot' AND NOT slot_released
ORDER BY id
"""
_IN_LINE = """
SELECT execution_id FROM workflow_branches
WHERE workflow_id = %(workflow)s AND concurrency_key = %(key)s AND NOT slot_released
ORDER BY id
"""
# Through an array: as a plain IN the choice is a join, which a plan may choose anew for each row it looks at, and
# each time it skips those that were let in already (LIMIT 1 then lets all in).
_ADMIT = """
UPDATE workflow_branches SET waiting_on = '', waiting_reason = '' WHERE id = ANY(ARRAY(
  SELECT id FROM workflow_branches
  WHERE workflow_id = %(workflow)s AND concurrency_key = %(key)s AND waiting_on = 'slot'
  ORDER BY rank, id LIMIT %(free)s FOR UPDATE SKIP LOCKED
)) RETURNING lane
"""
_RANG = """
UPDATE workflow_branches SET waiting_on = 'slot', waiting_reason = %(reason)s, wake_at = NULL, slot_released = false
WHERE id = ANY(ARRAY(
  SELECT id FROM workflow_branches WHERE slot_released AND wake_at <= %(now)s AND claimed_by = ''
  ORDER BY wake_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
)) RETURNING workflow_id, concurrency_key
"""
# The waiters' index by key, one step for each key however many wait for it.
_WAITING_KEYS = """
WITH RECURSIVE keys AS (
  (SELECT workflow_id, concurrency_key FROM workflow_branches
   WHERE waiting_on = 'slot' AND concurrency_key <> '' AND (workflow_id, concurrency_key) > (%(workflow)s, %(key)s)
   ORDER BY workflow_id, concurrency_key LIMIT 1)
  UNION ALL
  SELECT following.* FROM keys CROSS JOIN LATERAL (
    SELECT workflow_id, concurrency_key FROM workflow_branches
    WHERE waiting_on = 'slot' AND concurrency_key <> ''
      AND (workflow_id, concurrency_key) > (keys.workflow_id, keys.concurrency_key)
    ORDER BY workflow_id, concurrency_key LIMIT 1
  ) following
) SELECT workflow_id, concurrency_key FROM keys LIMIT %(most)s
"""


def key_of(workflow: Workflow, trigger_data: dict[str, Any]) -> str:
    """Return the concurrency key of a start: "" without a limit, else one for each value of the key expression.

    It is text as a column can hold it, whatever the value. Raises ConcurrencyKeyInvalid.
    """
    if workflow.concurrency_limit is None:
        return ""
    scope = Scope({"trigger": trigger_data, "input": trigger_data, "workflow_id": workflow.pk})
    try:
        value = resolve(workflow.concurrency_key, scope).value
    except ExpressionError as error:
        raise ConcurrencyKeyInvalid(str(error)) from error
    return jsonsafe.clean_text(f"={value}", set())[:LONGEST_KEY]


def enter(workflow: Workflow, key: str) -> str:
    """Return what a new root branch of `key` waits for: "" if a slot is free, else `slot`.

    The caller's transaction inserts the branch, and calls `make_room` then. Raises SlotsTaken where the policy is to
    skip.
    """
    if not key or workflow.concurrency_limit is None:
        return ""
    with hot_cursor() as cursor:
        holders = _holders(cursor, workflow.pk, key)
    limit = workflow.concurrency_limit
    if len(holders) < limit:
        return ""
    if workflow.concurrency_policy == ConcurrencyPolicy.SKIP:
        raise SlotsTaken(limit)
    return WaitingOn.SLOT


def make_room(workflow: Workflow, key: str) -> None:
    """Ask the oldest to stop for a branch that waits, where that is the policy: those that run, and those in line.

    Only once the branch is there: a start that turns out to be a repetition stops nobody.
    """
    limit = workflow.concurrency_limit
    if workflow.concurrency_policy != ConcurrencyPolicy.CANCEL_RUNNING or limit is None:
        return
    with hot_cursor() as cursor:
        lock(cursor, workflow.pk, key)
        cursor.execute(_IN_LINE, {"key": key, "workflow": workflow.pk})
        in_line = [execution_id for (execution_id,) in cursor.fetchall()]
    oldest = in_line[: max(len(in_line) - limit, 0)]
    running = Execution.objects.filter(pk__in=oldest, stop_requested="", ends_as="")
    locked = list(running.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
    Execution.objects.filter(pk__in=locked).update(stop_requested=StopReason.CANCEL)


def reason(workflow: Workflow) -> str:
    """Return the sentence of a branch that waits for a slot."""
    limit = workflow.concurrency_limit
    each = f" with the same {workflow.concurrency_key}" if workflow.concurrency_key else ""
    return f"waits for one of {limit} slots: {limit} executions of workflow '{workflow.name}'{each} run"[:512]


def pass_on(cursor: Any, workflow_id: int, key: str) -> None:
    """Let the next in, inside the transaction in which a holder of the key ends."""
    held = len(_holders(cursor, workflow_id, key))
    limit = Workflow.objects.values_list("concurrency_limit", flat=True).get(pk=workflow_id)
    # Without a limit any longer nobody has to wait.
    free = limit - held if limit is not None else KEYS_PER_SWEEP
    if free > 0:
        cursor.execute(_ADMIT, {"workflow": workflow_id, "key": key, "free": free})
        for lane in {lane for (lane,) in cursor.fetchall()}:
            enqueue.ring_lane_on_commit(lane)


def sweep_slots() -> int:
    """Let in who waits although a slot is free: after limits were raised, or a timer rang without a slot."""
    with connection.cursor() as cursor:
        cursor.execute(_RANG, {"now": clock.now(), "reason": RANG_REASON, "most": KEYS_PER_SWEEP})
        keys = dict.fromkeys(cursor.fetchall())
    keys |= dict.fromkeys(_waiting_keys())
    for workflow_id, key in keys:
        with transaction.atomic(), hot_cursor() as cursor:
            pass_on(cursor, workflow_id, key)
    return len(keys)


def _waiting_keys() -> list[tuple[int, str]]:
    """Return keys that somebody waits for, each sweep further on: those without a free slot hide nobody."""
    global _keys_after
    workflow_id, key = _keys_after
    with connection.cursor() as cursor:
        cursor.execute(_WAITING_KEYS, {"workflow": workflow_id, "key": key, "most": KEYS_PER_SWEEP})
        keys: list[tuple[int, str]] = cursor.fetchall()
    _keys_after = keys[-1] if len(keys) == KEYS_PER_SWEEP else (0, "")
    return keys


def lock(cursor: Any, workflow_id: int, key: str) -> None:
    """Take a key's lock until the transaction ends: nobody else counts or changes who holds its slots."""
    cursor.execute(_LOCK, {"key": key, "workflow": workflow_id})


def _holders(cursor: Any, workflow_id: int, key: str) -> list[int]:
    lock(cursor, workflow_id, key)
    cursor.execute(_HOLDERS, {"key": key, "workflow": workflow_id})
    return [execution_id for (execution_id,) in cursor.fetchall()]
