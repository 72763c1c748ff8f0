"""Inserting executions: the row, its root branch and its bell, for every kind of start."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson

from core import clock, ids, jsonsafe
from core.db import hot_cursor
from core.errors import InvalidInput
from core.expressions import ExpressionError, Scope, resolve
from workflows import enqueue
from workflows.choices import Lane, Priority, TriggerType
from workflows.engine import program, slots
from workflows.errors import CauseRefused, IdempotencyKeyInvalid, SlotsTaken
from workflows.models import Execution, Workflow

DEEPEST_CAUSE = 10
MOST_REPEATS = 3


@dataclass(frozen=True)
class Start:
    """What a caller or a trigger asks for. `trigger_data` is what `{{trigger.x}}` and `{{input.x}}` see.

    A start by another execution names it as `parent_id`; with `wakes_branch_id` that branch waits for the end.
    A re-run names what it repeats as `rerun_of`, and may begin at a node other than the first.
    """

    trigger_type: TriggerType
    trigger_data: dict[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    input_file_ids: list[int] = field(default_factory=list)
    correlation_id: str = ""
    idempotency_key: str | None = None
    cause_chain: tuple[int, ...] = ()
    parent_id: int | None = None
    wakes_branch_id: int | None = None
    rerun_of: int | None = None
    cursor: int | None = None

    def waking(self, branch_id: int | None) -> "Start":
        """Return the same start, for whose end a branch waits."""
        return replace(self, wakes_branch_id=branch_id)


_INSERT = """
WITH made AS (
  INSERT INTO workflow_executions (uuid, workflow_id, version_id, owner_id, trigger_type, trigger_data,
    execution_config, status, priority, stop_requested, error_code, retry_count, input_file_ids, output_file_ids,
    saga_id, correlation_id, tenant_id, idempotency_key, cause_chain, is_test, waited_ms, parent_id,
    wakes_branch_id, rerun_of_id, started_at, created_at, updated_at)
  VALUES (%(uuid)s, %(workflow)s, %(version)s, %(owner)s, %(trigger_type)s, %(trigger_data)s::jsonb,
    '{}', 'pending', %(priority)s, '', '', 0, %(files)s::jsonb, '[]',
    '', %(correlation)s, '', %(key)s, %(causes)s::jsonb, %(test)s, 0, %(parent)s,
    %(wakes)s, %(rerun_of)s, CASE WHEN %(begun)s THEN %(now)s::timestamptz END, %(now)s, %(now)s)
  ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
  RETURNING id
)
INSERT INTO workflow_branches (execution_id, path, kind, cursor, attempt, lane, waiting_on, waiting_reason, rank,
  owner_id, workflow_id, concurrency_key, fence, claimed_by, recoveries)
SELECT id, '', 'root', %(cursor)s, 1, %(lane)s, %(waiting_on)s, %(reason)s, %(priority)s, %(owner)s, %(workflow)s,
  %(slot_key)s, 0, '', 0 FROM made
RETURNING execution_id
"""


def insert_execution(
    workflow: Workflow, version_id: int, start: Start, *, is_test: bool = False
) -> tuple[int, UUID] | None:
    """Insert an execution with its root branch and ring its lane on commit; the caller holds the transaction.

    Returns None if the owner has an execution with the same idempotency key already. Raises CauseRefused,
    SlotsTaken; InvalidInput for data that JSON cannot hold, and for a concurrency key that cannot be made.
    """
    refuse_loops(workflow, start.cause_chain)
    compiled = program.of_version(version_id)
    begins_at = compiled.start if start.cursor is None else start.cursor
    lane = compiled.lane_at(begins_at) or Lane.FLOW
    execution_uuid = ids.uuid7()
    values = _values(workflow, start) | {"uuid": execution_uuid, "version": version_id, "test": is_test}
    slot_key = _slot_key(workflow, start)
    try:
        waiting_on = slots.enter(workflow, slot_key)
    except SlotsTaken:
        if find_first(workflow, start) is None:
            raise
        return None  # perhaps it is the first that has the slot
    reason = slots.reason(workflow) if waiting_on else ""
    values |= {"slot_key": slot_key, "waiting_on": waiting_on, "reason": reason}
    with hot_cursor() as cursor:
        cursor.execute(_INSERT, values | {"cursor": begins_at, "lane": lane})
        row = cursor.fetchone()
    if row is None:
        return None
    if waiting_on:
        slots.make_room(workflow, slot_key)
    enqueue.ring_lane_on_commit(lane)
    return row[0], execution_uuid


def find_first(workflow: Workflow, start: Start) -> tuple[int, UUID] | None:
    """Return the execution that an earlier start of the owner's with the same idempotency key has made."""
    if start.idempotency_key is None:
        return None
    found = Execution.objects.filter(owner=workflow.owner_id, idempotency_key=start.idempotency_key)
    return found.values_list("pk", "uuid").first()


def keyed(workflow: Workflow, start: Start) -> Start:
    """Return the start with the idempotency key that the workflow's trigger makes of it, if it has none of its own.

    `trigger_config.idempotency_key` is an expression over the trigger's data; an empty value means no key.
    Raises IdempotencyKeyInvalid.
    """
    expression = (workflow.trigger_config or {}).get("idempotency_key")
    if start.idempotency_key or start.rerun_of or not isinstance(expression, str) or not expression:
        return start
    scope = Scope({"trigger": start.trigger_data, "input": start.trigger_data, "workflow_id": workflow.pk})
    try:
        value = resolve(expression, scope).value
    except ExpressionError as error:
        raise IdempotencyKeyInvalid(str(error)) from error
    if value in (None, ""):
        return start
    # Values that differ make keys that differ, also where no column could hold them.
    digest = hashlib.sha256(str(value).encode(errors="surrogatepass")).hexdigest()
    return replace(start, idempotency_key=f"trigger:{workflow.pk}:{digest}")


def refuse_loops(workflow: Workflow, cause_chain: tuple[int, ...]) -> None:
    """Refuse a start whose causes form a chain over 10 long, or hold this workflow three times (ENGINE 7)."""
    if len(cause_chain) >= DEEPEST_CAUSE:
        raise CauseRefused(
            f"refused: the chain of causes is {len(cause_chain)} workflows deep (at most {DEEPEST_CAUSE})"
        )
    if cause_chain.count(workflow.pk) >= MOST_REPEATS:
        raise CauseRefused(f"refused: workflow {workflow.pk} stands {MOST_REPEATS} times in its own chain of causes")


def _slot_key(workflow: Workflow, start: Start) -> str:
    """Return the start's concurrency key; a call from inside the same workflow needs no slot of its ancestor's."""
    if start.parent_id is not None and workflow.pk in start.cause_chain:
        return ""
    return slots.key_of(workflow, start.trigger_data)


def clean_trigger_data(data: dict[str, Any]) -> dict[str, Any]:
    """Return trigger data as jsonb can hold it. Raises InvalidInput."""
    try:
        cleaned, _ = jsonsafe.clean(data)
    except jsonsafe.NotJson as error:
        raise InvalidInput(f"trigger_data cannot be stored: {error}") from error
    found: dict[str, Any] = cleaned
    return found


def _values(workflow: Workflow, start: Start) -> dict[str, Any]:
    return {
        "workflow": workflow.pk,
        "owner": workflow.owner_id,
        "trigger_type": start.trigger_type,
        "trigger_data": orjson.dumps(clean_trigger_data(start.trigger_data)).decode(),
        "priority": start.priority,
        "files": orjson.dumps(start.input_file_ids).decode(),
        "correlation": start.correlation_id[:128],
        "key": start.idempotency_key,
        "causes": orjson.dumps([*start.cause_chain, workflow.pk]).decode(),
        "parent": start.parent_id,
        "wakes": start.wakes_branch_id,
        "rerun_of": start.rerun_of,
        # With steps copied from another execution there is a history to read from the first slice on.
        "begun": start.cursor is not None,
        "now": clock.now(),
    }
