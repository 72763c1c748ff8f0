"""What an execution still does once its steps are over: undo what they did, then the steps that always run.

Both are walked by the execution's root branch, which becomes one of kind `compensation`, then `finally`. How the
execution will end is kept in its row meanwhile (`ends_as`): a stop that brought it here is over, and none comes.
"""

from typing import Any, TypedDict

import orjson
from django.db import InterfaceError, OperationalError, transaction

from core import clock, logs
from core.errors import DomainError
from workflows import enqueue
from workflows.choices import BranchKind, CompensationStatus, ExecutionStatus, Lane, TriggerType, WaitingOn
from workflows.engine import checkpoint, launch, slots
from workflows.engine.checkpoint import Ending, LeaseLost
from workflows.engine.launch import Start
from workflows.engine.lease import Claim
from workflows.engine.program import END, Program
from workflows.engine.step_rows import Attempt, close_open_attempts, write_attempts
from workflows.models import Workflow

log = logs.get(__name__)


class Entry(TypedDict):
    """One step to undo, with what became of that; `note` is the reason of an operator who did it by hand."""

    path: str
    scope: str
    node: int
    status: str
    error: str | None
    note: str | None


SLOT_REASON = "has ended its steps, and waits for a slot to undo them or to run the last ones"

_LOCK = """
SELECT concurrency_key FROM workflow_branches
WHERE id = %(branch)s AND fence = %(fence)s AND claimed_by = %(me)s FOR UPDATE
"""
_STOP = "SELECT stop_requested FROM workflow_executions WHERE id = %(execution)s FOR UPDATE"
_DONE = """
SELECT path, scope, node FROM workflow_execution_steps
WHERE execution_id = %(execution)s AND status = 'completed' AND node = ANY(%(nodes)s)
ORDER BY completed_at DESC, id DESC
"""
# Whoever was stopped without a slot, in the queue or having lent it, needs one to go on.
_GO_ON = """
UPDATE workflow_branches SET kind = %(kind)s, cursor = %(cursor)s, attempt = 0, recoveries = 0, claimed_by = '',
  lease_until = NULL, wake_at = NULL, lane = %(lane)s, rank = CASE WHEN rank < 0 THEN rank ELSE rank - 10 END,
  waiting_on = CASE WHEN slot_released OR waiting_on = 'slot' THEN 'slot' ELSE '' END,
  waiting_reason = CASE WHEN slot_released OR waiting_on = 'slot' THEN %(reason)s ELSE '' END, slot_released = false
WHERE id = %(branch)s RETURNING waiting_on
"""
_KEEP_ENDING = """
UPDATE workflow_executions SET status = 'running', stop_requested = '', deadline_at = NULL, updated_at = %(now)s,
  started_at = COALESCE(started_at, %(now)s), error_code = %(code)s, error_message = %(message)s,
  ends_as = %(status)s
WHERE id = %(execution)s
"""
_PLAN = """
INSERT INTO workflow_instances (uuid, owner_id, execution_id, saga_type, status, current_step, total_steps, input_data,
  output_data, steps_data, metadata, error_message, correlation_id, tenant_id, started_at, created_at, updated_at)
SELECT uuid, owner_id, id, 'workflow_execution', 'compensating', 0, %(count)s, COALESCE(trigger_data, '{}'), '{}',
  %(entries)s::jsonb, '{}', COALESCE(%(message)s, ''), correlation_id, tenant_id, %(now)s, %(now)s, %(now)s
FROM workflow_executions WHERE id = %(execution)s
ON CONFLICT (uuid) DO NOTHING
"""
_STOPPED = {
    "cancel": Ending(ExecutionStatus.CANCELLED, "", "Execution cancelled"),
    "timeout": Ending(ExecutionStatus.TIMEOUT, "execution_timeout", "Execution timed out"),
}


class Close:
    """Decides, in the transaction that would end an execution, what comes before and after (`checkpoint.Closing`)."""

    def __init__(self, claim: Claim, program: Program) -> None:
        self._claim = claim
        self._program = program
        self._slot_key = ""

    def goes_on(self, cursor: Any, attempts: list[Attempt], ending: Ending) -> bool:
        """Turn the root branch to what has to run before the end. False if nothing has to. Raises LeaseLost."""
        self._lock(cursor)
        stopped = self._stopped(cursor)
        if stopped and self._claim.started_at is None and not attempts:
            return False  # it never began: there is nothing to undo nor to clean up
        ending = stopped or ending
        write_attempts(cursor, self._claim.execution_id, attempts)
        if ending.status != ExecutionStatus.COMPLETED:
            close_open_attempts(cursor, self._claim.execution_id, clock.now())
            if self._claim.kind == BranchKind.ROOT and self._plan(cursor, ending):
                self._go_on(cursor, BranchKind.COMPENSATION, END, ending)
                return True
        if self._claim.kind != BranchKind.FINALLY and self._program.last != END:
            self._go_on(cursor, BranchKind.FINALLY, self._program.last, ending)
            return True
        return False

    def ended(self, ending: Ending) -> None:
        """Start the error workflow of an execution that has failed or timed out, in the same transaction."""
        wanted = self._program.settings.get("error_workflow_id")
        if not wanted or ending.status not in (ExecutionStatus.FAILED, ExecutionStatus.TIMEOUT):
            return
        claim = self._claim
        found = Workflow.objects.filter(pk=wanted, owner=claim.owner_id, deleted_at=None).first()
        if found is None or not found.is_executable or found.published_version_id is None:
            log.warning("error_workflow.not_executable", execution_id=claim.execution_id, workflow_id=wanted)
            return
        start = Start(
            trigger_type=TriggerType.WORKFLOW,
            trigger_data={
                "execution_id": claim.execution_id,
                "workflow_id": claim.workflow_id,
                "status": ending.status,
                "error_code": ending.error_code,
                "error_message": ending.error_message,
                "trigger": claim.trigger_data or {},
            },
            correlation_id=claim.correlation_id,
            # A retried execution that fails again ends another branch, and is told of again.
            idempotency_key=f"error:{claim.execution_uuid}:{claim.branch_id}",
            cause_chain=tuple(claim.cause_chain),
        )
        try:
            with transaction.atomic():
                launch.insert_execution(found, found.published_version_id, start)
        except DomainError as error:
            log.warning("error_workflow.refused", execution_id=claim.execution_id, reason=error.detail)
        except (OperationalError, InterfaceError):
            raise  # a passing fault of the database, and the end comes again
        except Exception:
            # Whatever is wrong with the error workflow, the execution itself has to end.
            log.exception("error_workflow.failed", execution_id=claim.execution_id, workflow_id=wanted)

    def _lock(self, cursor: Any) -> None:
        """Take the branch, then its slots, before the execution's row, as a start that cancels does."""
        cursor.execute(_LOCK, checkpoint.fence_of(self._claim))
        row = cursor.fetchone()
        if row is None:
            raise LeaseLost
        [self._slot_key] = row
        if self._slot_key:
            slots.lock(cursor, self._claim.workflow_id, self._slot_key)

    def _stopped(self, cursor: Any) -> Ending | None:
        cursor.execute(_STOP, {"execution": self._claim.execution_id})
        return _STOPPED.get(cursor.fetchone()[0]) if self._claim.kind == BranchKind.ROOT else None

    def _plan(self, cursor: Any, ending: Ending) -> bool:
        """Write down what is to be undone, newest first. False if nothing is."""
        nodes = self._program.compensable
        if not nodes:
            return False
        cursor.execute(_DONE, {"execution": self._claim.execution_id, "nodes": nodes})
        entries = [
            Entry(path=path, scope=scope, node=node, status=CompensationStatus.OPEN, error=None, note=None)
            for path, scope, node in cursor.fetchall()
        ]
        if entries:
            values = {"entries": orjson.dumps(entries).decode(), "count": len(entries), "now": clock.now()}
            cursor.execute(_PLAN, values | {"execution": self._claim.execution_id, "message": ending.error_message})
        return bool(entries)

    def _go_on(self, cursor: Any, kind: BranchKind, index: int, ending: Ending) -> None:
        lane = self._program.lane_at(index) or Lane.FLOW
        place = {"branch": self._claim.branch_id, "kind": kind, "cursor": index, "lane": lane, "reason": SLOT_REASON}
        cursor.execute(_GO_ON, place)
        if cursor.fetchone() == (WaitingOn.SLOT,):
            slots.pass_on(cursor, self._claim.workflow_id, self._slot_key)
        cursor.execute(
            _KEEP_ENDING,
            {
                "execution": self._claim.execution_id,
                "status": ending.status,
                "code": ending.error_code,
                "message": ending.error_message,
                "now": clock.now(),
            },
        )
        enqueue.ring_lane_on_commit(lane)


def is_needed(program: Program) -> bool:
    """Tell whether executions of a program have anything to do before they end."""
    return bool(program.compensable) or program.last != END or bool(program.settings.get("error_workflow_id"))
