"""What a reader is told of an execution: why it is where it is, and which status a step shows.

Plain functions over rows that selectors have read, for the API and the admin alike: no query happens here.
"""

from collections.abc import Iterable
from typing import Any

from workflows.choices import FINAL_STATUSES, StepStatus, WaitingOn
from workflows.models import Branch, Execution, StepAttempt


def why(execution: Execution, branches: Iterable[Branch]) -> dict[str, Any]:
    """Return what an execution waits for, and one sentence that says why it is where it is."""
    if execution.status in FINAL_STATUSES:
        return {"waiting_on": None, "why": execution.error_message}
    for branch in branches:
        if branch.waiting_on:
            kind = WaitingOn.TIMER if branch.waiting_on == WaitingOn.RETRY else branch.waiting_on
            return {"waiting_on": kind, "why": branch.waiting_reason}
        if branch.claimed_by:
            return {"waiting_on": None, "why": "a worker is running it"}
    return {"waiting_on": None, "why": "waits for a free worker"}


def shown_status(attempt: StepAttempt, branches: Iterable[Branch]) -> str:
    """Return the contract's status: a step about to be tried again is `retrying`, one that waits `running`."""
    if attempt.status == StepStatus.WAITING:
        return "running"
    retrying = any(
        branch.waiting_on == WaitingOn.RETRY and branch.cursor == attempt.node and branch.attempt > attempt.attempt
        for branch in branches
    )
    return "retrying" if retrying and attempt.status == StepStatus.FAILED else attempt.status
