"""Branches of kind `finally`: the steps that run whatever came of the others (ENGINE 5)."""

from typing import Any

from core.db import hot_cursor
from core.expressions import Scope
from workflows.choices import ExecutionStatus
from workflows.engine.checkpoint import Ending
from workflows.engine.compensation import AfterEnd

_LOAD = """
SELECT ends_as, error_code, error_message, EXISTS (SELECT FROM workflow_instances i WHERE i.execution_id = e.id)
FROM workflow_executions e WHERE id = %s
"""


class LastSteps(AfterEnd):
    """One run of a branch of a finally-step; its steps see how the execution ends as `outcome`."""

    ending = Ending("")
    has_undone = False

    def _may_start(self) -> bool:
        with hot_cursor() as cursor:
            cursor.execute(_LOAD, [self.claim.execution_id])
            *ending, self.has_undone = cursor.fetchone()
        self.ending = Ending(*ending)
        return super()._may_start()

    def _scope(self, now: Any) -> Scope:
        ending = self.ending
        outcome = {"status": ending.status, "error_code": ending.error_code, "error_message": ending.error_message}
        return super()._scope(now).extended(outcome=outcome)


class Finals(LastSteps):
    """One run of the branch that walks the finally-steps."""

    def _load(self) -> None:
        super()._load()
        # After a retry they run once more, since more has been done; undoing once more changes nothing of the outcome.
        self.redoes = self.has_undone

    def _reach_end(self) -> None:
        self.open = False
        self._finish_as(self.ending)

    def _fail(self, *, code: str, message: str, whole: bool = False) -> None:
        """End: a failure here fails what had completed, and changes nothing of what had failed before."""
        self.open = False
        failed = Ending(ExecutionStatus.FAILED, code, f"finally: {message}")
        self._finish_as(failed if self.ending.status == ExecutionStatus.COMPLETED else self.ending)
