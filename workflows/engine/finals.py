"""Branches of kind `finally`: the steps that run whatever came of the others (ENGINE 5)."""

from typing import Any

from core.db import hot_cursor
from core.expressions import Scope
from workflows.choices import ExecutionStatus
from workflows.engine.checkpoint import Ending
from workflows.engine.compensation import AfterEnd

_LOAD = "SELECT ends_as, error_code, error_message FROM workflow_executions WHERE id = %s"


class Finals(AfterEnd):
    """One run of a branch that walks the finally-steps; they see how the execution ends as `outcome`."""

    ending = Ending("")

    def _load(self) -> None:
        with hot_cursor() as cursor:
            cursor.execute(_LOAD, [self.claim.execution_id])
            self.ending = Ending(*cursor.fetchone())
        super()._load()

    def _scope(self, now: Any) -> Scope:
        ending = self.ending
        outcome = {"status": ending.status, "error_code": ending.error_code, "error_message": ending.error_message}
        return super()._scope(now).extended(outcome=outcome)

    def _reach_end(self) -> None:
        self.open = False
        self._finish_as(self.ending)

    def _fail(self, *, code: str, message: str, whole: bool = False) -> None:
        """End: a failure here fails what had completed, and changes nothing of what had failed before."""
        self.open = False
        failed = Ending(ExecutionStatus.FAILED, code, f"finally: {message}")
        self._finish_as(failed if self.ending.status == ExecutionStatus.COMPLETED else self.ending)
