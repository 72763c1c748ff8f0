"""Branches of kind `compensation`: what completed steps did is undone in reverse order (ENGINE 6).

The plan is a row, `workflow_instances`, made by `engine.closing`. Every entry is attempted, each with its own
retries, and its result is stored with the checkpoint that goes on to the next. What stays open is an operator's.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings

from core import clock
from core.db import hot_cursor
from workflows.choices import BranchKind, CompensationStatus, Lane, SagaStatus
from workflows.engine import branching
from workflows.engine.checkpoint import Ending, Next
from workflows.engine.closing import Entry
from workflows.engine.context import Stored
from workflows.engine.lease import Claim
from workflows.engine.program import COMPENSATE, END, Node
from workflows.engine.runner import Slice

_LOAD = """
SELECT i.steps_data, e.ends_as, e.error_code, e.error_message
FROM workflow_instances i JOIN workflow_executions e ON e.uuid = i.uuid WHERE e.id = %s
"""
_STORE = """
UPDATE workflow_instances SET steps_data = %(steps)s::jsonb, current_step = %(done)s, status = %(status)s,
  updated_at = %(now)s, completed_at = CASE WHEN %(ended)s THEN %(now)s::timestamptz END
WHERE execution_id = %(execution)s
"""
_MARK_STEP = """
UPDATE workflow_execution_steps SET status = 'compensated'
WHERE execution_id = %(execution)s AND path = ANY(%(paths)s) AND status = 'completed'
"""


class AfterEnd(Slice):
    """A slice of what an execution does before it ends as it must: no stop reaches it, its time is its own."""

    def __init__(self, claim: Claim, *, lane: Lane, hand_back: Callable[[], None]) -> None:
        super().__init__(claim, lane=lane, hand_back=hand_back)
        self.deadline_at = self.began_at + timedelta(seconds=settings.COMPENSATION_TIMEOUT_SECONDS)

    def _may_start(self) -> bool:
        self.claim.stop_requested = ""
        return super()._may_start()

    def _advance(self) -> None:
        self.claim.stop_requested = ""
        super()._advance()

    def _go_on_with_limit(self, waited: Stored) -> None:
        """Let it be: each turn has the whole time."""

    def _save(self, *args: Any, **kwargs: Any) -> str:
        rows, following = args
        super()._save(rows, replace(following, stops_limit=True), **kwargs)
        return ""


class Compensation(AfterEnd):
    """One run of a branch that undoes what an execution did."""

    def __init__(self, claim: Claim, *, lane: Lane, hand_back: Callable[[], None]) -> None:
        super().__init__(claim, lane=lane, hand_back=hand_back)
        self.entries: list[Entry] = []
        self.ending = Ending("")

    def _load(self) -> None:
        with hot_cursor() as cursor:
            cursor.execute(_LOAD, [self.claim.execution_id])
            steps, *ending = cursor.fetchone()
        self.entries = orjson.loads(steps) if isinstance(steps, str | bytes) else steps
        self.ending = Ending(*ending)
        self._enter_next(goes_on=self.claim.attempt)

    def _reach_end(self) -> None:
        self._note(CompensationStatus.COMPENSATED)

    def _go_on_after(self, node: Node, code: str, error: str) -> None:
        self._note(CompensationStatus.FAILED, error=error)

    def _fail(self, *, code: str, message: str, whole: bool = False) -> None:
        """Nothing more can be done by a worker: all that is open is left to an operator."""
        if not self.entries:
            self._load()
        for entry in self.entries:
            if entry["status"] == CompensationStatus.OPEN:
                entry["status"], entry["error"] = CompensationStatus.FAILED, message
        self._end()

    def _note(self, status: CompensationStatus, *, error: str | None = None) -> None:
        """Store what came of the present entry, and go on with the next."""
        entry = self._present()
        if entry is not None:
            entry["status"], entry["error"] = status, error
        self._enter_next()
        if self.open:
            self._save(self._take_unsaved(), Next(self.cursor, self.attempt, release=False, begin=self._store))

    def _present(self) -> Entry | None:
        return next((entry for entry in self.entries if entry["status"] == CompensationStatus.OPEN), None)

    def _enter_next(self, *, goes_on: int = 0) -> None:
        """Stand at the next open entry, in the scope of the step that it undoes; end if there is none."""
        entry = self._present()
        if entry is None:
            self._end()
            return
        step = self.program.nodes[entry["node"]]
        around = replace(self.claim, cursor=step.index, path=entry["scope"], kind=BranchKind.PARALLEL)
        around.parent_id = self.claim.branch_id if entry["scope"] else None
        self.place = branching.Place(self.program, around)
        self.history = self.place.load()
        self.cursor = step.targets[COMPENSATE]
        path = self.place.path_of(self.program.nodes[self.cursor])
        is_same = goes_on and self.claim.cursor == self.cursor
        self.attempt = goes_on if is_same else self.history.attempts_of(path) + 1

    def _end(self) -> None:
        self.open = False
        self.cursor = END
        self._finish_as(self.ending, within=lambda: self._store(self.claim.branch_id, ended=True))

    def _store(self, branch_id: int, *, ended: bool = False) -> None:
        """Write the plan, and the steps that are undone, in the checkpoint's transaction."""
        undone = [entry["path"] for entry in self.entries if entry["status"] == CompensationStatus.COMPENSATED]
        status = SagaStatus.COMPENSATING
        if ended:
            status = SagaStatus.FAILED if _is_open(self.entries) else SagaStatus.COMPENSATED
        with hot_cursor() as cursor:
            cursor.execute(_MARK_STEP, {"execution": self.claim.execution_id, "paths": undone})
            cursor.execute(
                _STORE,
                {
                    "execution": self.claim.execution_id,
                    "steps": orjson.dumps(self.entries).decode(),
                    "done": sum(entry["status"] != CompensationStatus.OPEN for entry in self.entries),
                    "status": status,
                    "now": clock.now(),
                    "ended": ended,
                },
            )


def _is_open(entries: list[Entry]) -> bool:
    return any(entry["status"] in (CompensationStatus.OPEN, CompensationStatus.FAILED) for entry in entries)
