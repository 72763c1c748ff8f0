"""What a reader is told of an execution: why it is where it is, and which status a step shows.

Plain functions over rows that selectors have read, for the API and the admin alike: no query happens here, but
for the program of a version that this process has not met yet.
"""

from collections.abc import Callable, Iterable
from typing import Any

from core import clock
from workflows.choices import FINAL_STATUSES, BranchKind, StepStatus, WaitingOn
from workflows.engine import program
from workflows.engine.program import END, FOREACH
from workflows.models import Branch, Execution, StepAttempt

MOST_NAMED = 3
# Tells of a lane whether a worker of it has been heard of lately; None where nobody can tell.
Served = Callable[[str], bool | None]


def why(execution: Execution, branches: Iterable[Branch], *, served: Served | None = None) -> dict[str, Any]:
    """Return what an execution waits for, and one sentence that says why it is where it is."""
    if execution.status in FINAL_STATUSES:
        return {"waiting_on": None, "why": execution.error_message}
    known = sorted(branches, key=lambda branch: branch.pk)
    root = next((branch for branch in known if branch.parent_id is None), None)
    if root is None:
        return {"waiting_on": None, "why": "has just ended; its last news are on their way"}
    sentence = _Teller(execution, known, served).sentence(root)
    kind = WaitingOn.TIMER if root.waiting_on == WaitingOn.RETRY else root.waiting_on
    return {"waiting_on": kind or None, "why": _prefixed(execution, root, sentence)}


def shown_status(attempt: StepAttempt, branches: Iterable[Branch]) -> str:
    """Return the contract's status: a step about to be tried again is `retrying`, one that waits `running`."""
    if attempt.status == StepStatus.WAITING:
        return "running"
    retrying = any(
        branch.waiting_on == WaitingOn.RETRY and branch.cursor == attempt.node and branch.attempt > attempt.attempt
        for branch in branches
    )
    return "retrying" if retrying and attempt.status == StepStatus.FAILED else attempt.status


def _prefixed(execution: Execution, root: Branch, sentence: str) -> str:
    """Say first what kind of end an execution is coming to, if it is."""
    if root.kind == BranchKind.COMPENSATION:
        return f"undoes what it did, since it ends {execution.ends_as} ({execution.error_message}): {sentence}"
    if root.kind == BranchKind.FINALLY:
        outcome = f"{execution.ends_as}" + (f" ({execution.error_message})" if execution.error_message else "")
        return f"runs its last steps before it ends {outcome}: {sentence}"
    if execution.stop_requested:
        return f"was asked to stop ({execution.stop_requested}), and ends as soon as it can: {sentence}"
    return sentence


class _Teller:
    """Says of each branch of one execution why it is where it is."""

    def __init__(self, execution: Execution, branches: list[Branch], served: Served | None) -> None:
        self._program = program.of_version(execution.version_id)
        self._branches = branches
        self._served = served

    def sentence(self, branch: Branch) -> str:
        if branch.waiting_on == WaitingOn.CHILDREN and self._children(branch):
            return self._of_children(branch)
        if branch.waiting_on and not self._is_overdue(branch):
            return branch.waiting_reason
        if branch.claimed_by:
            return self._of_worker(branch)
        return self._of_queue(branch)

    def _of_worker(self, branch: Branch) -> str:
        worker = "worker " + ":".join(branch.claimed_by.split(":")[:2])
        # Leases count by the database's clock, which virtual time never moves.
        if branch.lease_until is not None and branch.lease_until < clock.real_now():
            return f"{worker} has not been heard of since {branch.lease_until:%H:%M:%S} UTC; another takes over"
        return f"{worker} runs {self._step(branch)}"

    def _of_queue(self, branch: Branch) -> str:
        since = ""
        if branch.waiting_on and branch.wake_at is not None:
            since = f", due since {branch.wake_at:%H:%M:%S} UTC"
        elif branch.recoveries:
            since = f", after {branch.recoveries} recoveries from workers that died"
        if self._served is not None and self._served(branch.lane) is False:
            return f"waits for a worker of lane {branch.lane}, none of which runs, to take {self._step(branch)}{since}"
        return f"waits for a free worker of lane {branch.lane} to take {self._step(branch)}{since}"

    def _of_children(self, branch: Branch) -> str:
        children = self._children(branch)
        node = self._program.nodes[branch.cursor]
        if node.type == FOREACH:
            chunks = [child for child in children if child.kind == BranchKind.FOREACH_CHUNK]
            left = sum((child.last_item or 0) - (child.first_item or 0) + 1 for child in chunks)
            return f"loop '{node.name}' {branch.waiting_reason}: {left} are still to be done"
        told = [f"{self._child_name(child)} {self.sentence(child)}" for child in children[:MOST_NAMED]]
        more = f"; and {len(children) - MOST_NAMED} more" if len(children) > MOST_NAMED else ""
        what = f"{len(children)} steps" if len(children) > 1 else "1 step"
        return f"waits for {what} that run side by side: {'; '.join(told)}{more}"

    def _children(self, branch: Branch) -> list[Branch]:
        return [child for child in self._branches if child.parent_id == branch.pk]

    def _child_name(self, child: Branch) -> str:
        return f"'{child.path.rpartition('/')[2]}'"

    def _step(self, branch: Branch) -> str:
        if branch.cursor == END or branch.cursor >= len(self._program.nodes):
            return "its next step"
        node = self._program.nodes[branch.cursor]
        return f"step '{node.name}'" if node.name else "its next steps"

    def _is_overdue(self, branch: Branch) -> bool:
        timers = (WaitingOn.TIMER, WaitingOn.RETRY)
        return branch.waiting_on in timers and branch.wake_at is not None and branch.wake_at <= clock.now()
