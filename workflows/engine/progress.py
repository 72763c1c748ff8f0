"""The progress of a slice as rows: what it stores, what it waits for, its children and its end.

The runner decides where a branch goes; everything it writes is written here, through `engine.checkpoint`.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from core import clock, logs, masking
from files.errors import StorageUnavailable
from workflows import enqueue
from workflows.choices import BranchKind, ExecutionStatus, Lane, StepStatus, WaitingOn
from workflows.engine import attempts, branching, checkpoint, closing, context, program, stop
from workflows.engine.attempts import LONGEST_ERROR
from workflows.engine.checkpoint import Ended, Ending, Next
from workflows.engine.context import Stored
from workflows.engine.lease import Claim
from workflows.engine.program import END, FOREACH, GRAPH, Node
from workflows.engine.step_rows import Attempt, fill_late_outcome
from workflows.engine.steps import registry
from workflows.engine.steps.base import Spawn, Step, StepError, Wait

log = logs.get(__name__)

UNKNOWN_TYPE_PAUSE_SECONDS = 30
STORAGE_PAUSE_SECONDS = 10
ACCELERATED_WAIT_SECONDS = 60
# Never shorter than a drain: a loop with many items lets others have the worker then.
LONGEST_TURN_SECONDS = 10.0
MOST_UNSAVED = 200


class Progress:
    """One run of one claimed branch: where it stands, and what of that is not stored yet."""

    def __init__(self, claim: Claim, *, lane: Lane, hand_back: Callable[[], None]) -> None:
        self.claim = claim
        self.lane = lane
        self.hand_back = hand_back
        self.program = program.of_version(claim.version_id)
        self.history = context.History()
        self.unsaved: dict[tuple[str, int], Attempt] = {}
        self.cursor = claim.cursor
        self.attempt = claim.attempt
        self.began_at = clock.now()
        self.turn_ends_at = time.monotonic() + LONGEST_TURN_SECONDS
        self.output_file_ids: list[int] = []
        limit = self.program.settings.get("timeout_seconds", 300)
        self.started_at = claim.started_at or self.began_at
        self.deadline_at = claim.deadline_at or self.began_at + timedelta(seconds=limit)
        self.running: Attempt | None = None
        self.open = True
        self.limit_returns = False
        self.place = branching.Place(self.program, claim)
        self.vault = context.vault_of(claim)
        self.ended: list[Ended] = []
        # Should the step that began a child be repeated, what was completed in it is not run again.
        self.redoes = claim.parent_id is not None
        self.stopped = False

    # --- Waiting ------------------------------------------------------------------------------

    def _wait(self, row: Attempt, outcome: Wait) -> None:
        """Store the wait. Raises StepError if it cannot begin: then nothing is stored, and the attempt goes on."""
        seconds = max((outcome.until - clock.now()).total_seconds(), 0.0) if outcome.until else None
        following = Next(
            self.cursor,
            self.attempt,
            wake_at=outcome.until,
            waiting_on=outcome.on,
            reason=masking.hide(outcome.reason),
            waited_seconds=(seconds or 0.0) if outcome.on == WaitingOn.TIMER else 0.0,
            stops_limit=self._stops_limit,
            releases_slot=self._releases_slot,
            begin=outcome.begin,
        )
        row.status = StepStatus.WAITING
        attempts.make_storable(row)
        self._keep_limit(row)
        unsaved = dict(self.unsaved)
        try:
            self._save([*self._take_unsaved(), row], following)
        except StepError:
            self.unsaved = unsaved
            raise
        self.open = False
        if seconds is not None:
            self._accelerate(seconds)

    def _keep_limit(self, row: Attempt) -> None:
        """Note in an attempt what is left of the execution's time limit, from the attempt's start on."""
        now = clock.now()
        row.deadline_at = (row.started_at or now) + (self.deadline_at - now)

    def _go_on_with_limit(self, waited: Stored) -> None:
        """Let the time limit run on after a wait, from where `_keep_limit` noted that it stood."""
        if self.claim.deadline_at is None and waited.deadline_at and waited.started_at:
            self.limit_returns = True
            self.deadline_at = self.began_at + (waited.deadline_at - waited.started_at)

    @property
    def _releases_slot(self) -> bool:
        return self.claim.parent_id is None and bool(self.program.settings.get("release_slot_while_waiting"))

    @property
    def _stops_limit(self) -> bool:
        """Tell whether the time limit stands still while the execution waits: not where the author set it."""
        return not self.program.settings.get("timeout_is_explicit")

    def _retry_later(self, node: Node, row: Attempt, pause_seconds: float) -> None:
        wake_at = clock.now() + timedelta(seconds=pause_seconds)
        reason = (
            f"retries step '{node.name}' at {wake_at:%H:%M:%S} UTC after attempt {row.attempt}: {row.error_message}"
        )
        self._keep_limit(row)
        following = Next(
            self.cursor,
            row.attempt + 1,
            wake_at=wake_at,
            waiting_on=WaitingOn.RETRY,
            reason=reason,
            lane=self.lane,
            waited_seconds=pause_seconds,
            stops_limit=self._stops_limit,
            releases_slot=self._releases_slot,
        )
        self._save(self._take_unsaved(), following, retries=1)
        self.open = False
        self._accelerate(pause_seconds)

    def _change_lane(self, lane: Lane) -> None:
        self._save(self._take_unsaved(), Next(self.cursor, self.attempt, lane=lane))
        self.open = False
        enqueue.ring_lane(lane)

    def _wait_for_newer_worker(self, node: Node) -> None:
        """A step type that only newer code knows: leave it to a worker that has it (a deploy in the middle)."""
        reason = f"step '{node.name}' has the type '{node.type}', which no worker that looked at it knows"
        self._look_again(UNKNOWN_TYPE_PAUSE_SECONDS, reason)

    def _wait_for_storage(self, error: StorageUnavailable) -> None:
        """What has to be read is out of reach for now: no attempt is lost by that, nor the execution."""
        log.warning("storage.waited_for", execution_id=self.claim.execution_id, reason=error.reason)
        self._look_again(STORAGE_PAUSE_SECONDS, f"waits for large outputs: {error.detail}", stops_limit=True)

    def _look_again(self, seconds: float, reason: str, *, stops_limit: bool = False) -> None:
        following = Next(
            self.cursor,
            self.attempt,
            wake_at=clock.now() + timedelta(seconds=seconds),
            waiting_on=WaitingOn.TIMER,
            reason=reason,
            waited_seconds=seconds,
            stops_limit=stops_limit and self._stops_limit,
        )
        self._save(self._take_unsaved(), following)
        self.open = False

    def _accelerate(self, seconds: float) -> None:
        if seconds <= ACCELERATED_WAIT_SECONDS:
            enqueue.ring_lane(self.lane, countdown_seconds=seconds)

    # --- Children, items and ends ---------------------------------------------------------------

    def _spawn(self, node: Node, row: Attempt, spawn: Spawn) -> None:
        """Begin the children of a step; the branch waits until the last of them has ended."""
        row.status = StepStatus.WAITING
        self._keep_limit(row)
        children = branching.children_of(
            node, spawn, program=self.program, claim=self.claim, path=row.path, repeated=row.attempt > 1
        )
        self._wait_for_children([row], children, spawn.reason, ended=[])

    def _wait_for_children(
        self, rows: list[Attempt], children: list[checkpoint.Child], reason: str, *, ended: list[Ended]
    ) -> None:
        following = Next(
            self.cursor,
            self.attempt,
            waiting_on=WaitingOn.CHILDREN if children else "",
            reason=reason if children else "",
            ended=ended,
            children=children,
        )
        self._save([*self._take_unsaved(), *rows], following)
        self.open = False
        for lane in {child["lane"] for child in children} or {str(self.lane)}:
            enqueue.ring_lane(lane)

    def _reach_end(self) -> None:
        if self.claim.kind == BranchKind.FOREACH_CHUNK:
            self._end_item()
        else:
            self._finish(ExecutionStatus.COMPLETED)

    def _end_item(self) -> None:
        """Go on with the chunk's next item that is not done; give others a turn once this one was long enough."""
        claim, place = self.claim, self.place
        item = place.next_item(claim.last_item)
        if item is None:
            self._finish(ExecutionStatus.COMPLETED)
            return
        place.enter(item)
        self.history = place.load()
        self.cursor = place.first_node
        self.attempt = self.history.attempts_of(place.path_of(self.program.nodes[self.cursor])) + 1
        is_long = time.monotonic() > self.turn_ends_at
        if is_long or len(self.unsaved) > MOST_UNSAVED:
            self._save(self._take_unsaved(), Next(self.cursor, self.attempt, release=is_long))
        if is_long:
            self.open = False  # the drain, whose time is over too, rings for what is left

    def _fail(self, *, code: str, message: str, whole: bool = False) -> None:
        """End the branch as failed; a loop that goes on after errors notes the item's and takes the next.

        `whole`: nothing more can be done in this branch.
        """
        if self.claim.kind == BranchKind.FOREACH_CHUNK:
            self.ended.append(Ended(name=str(self.place.item), error=message[:LONGEST_ERROR], error_code=code))
            if not whole and self.place.goes_on_after_errors:
                self._end_item()
                return
            self._finish(ExecutionStatus.FAILED)
            return
        if self.claim.parent_id is not None:
            self.ended.append(Ended(name=self.place.child_name, error=message[:LONGEST_ERROR], error_code=code))
        self._finish(ExecutionStatus.FAILED, code=code, message=message)

    # --- Storing ------------------------------------------------------------------------------

    def _skip(self, node: Node, row: Attempt) -> None:
        self._end_attempt(row, StepStatus.SKIPPED)
        self._go_to(self.program.after(node))

    def _go_to(self, cursor: int) -> None:
        """Move to a node. After a step retry the nodes ahead have attempts already: theirs go on counting."""
        self.cursor, self.attempt = cursor, 1
        if cursor != END and self.program.nodes[cursor].kind == "step":
            self.attempt = self.history.attempts_of(self.place.path_of(self.program.nodes[cursor])) + 1

    def _new_attempt(self, node: Node, step: Step[Any], *, number: int | None = None) -> Attempt:
        path = self.place.path_of(node)
        return attempts.begin(
            node,
            step,
            path=path,
            scope=self.place.scope,
            number=number or self.attempt,
            effect=self.program.effect_at(node.index),
            deadline_at=self.deadline_at,
            stored=self.history.stored.get(path),
        )

    def _open_row(self, chooser: Node) -> Attempt:
        """Return the still running attempt of a conditional: from this slice, or as an earlier one stored it."""
        path = self.place.path_of(chooser)
        for row in self.unsaved.values():
            if row.path == path and row.status == StepStatus.RUNNING:
                return row
        step = registry.find(chooser.type)
        assert step is not None  # noqa: S101  (this process ran or loaded the conditional)
        stored = self.history.stored.get(path)
        row = self._new_attempt(chooser, step, number=stored.attempt if stored else 1)
        if stored:
            row.output_data, row.input_data = stored.output_data, stored.input_data
        return row

    def _end_attempt(self, row: Attempt, status: StepStatus) -> None:
        attempts.end(row, status)
        self.unsaved[row.path, row.attempt] = row

    def _take_unsaved(self) -> list[Attempt]:
        rows, self.unsaved = list(self.unsaved.values()), {}
        for row in rows:
            if row.status == StepStatus.RUNNING:
                self.unsaved[row.path, row.attempt] = row  # an open conditional is written again by its join
        return rows

    def _save(self, rows: list[Attempt], following: Next, *, retries: int = 0) -> str:
        if self.limit_returns:
            following = replace(following, restores_deadline=True)
        stop_requested = checkpoint.save(
            self.claim,
            rows,
            self.place.stored_with(following, self.ended),
            started_at=self.started_at,
            deadline_at=self.deadline_at,
            retries=retries,
            output_file_ids=self.output_file_ids,
        )
        self.output_file_ids, self.limit_returns = [], False
        return stop_requested

    def _stop(self) -> None:
        """Obey a requested stop: the branch ends, and with the last of them the execution."""
        if self.claim.parent_id is not None:
            self.ended.append(Ended(name=self.place.child_name, error="stopped", error_code="stopped"))
        self._finish(ExecutionStatus.CANCELLED, message="Execution cancelled")

    def _finish(self, status: ExecutionStatus, *, code: str = "", message: str | None = None) -> None:
        self.open = False
        if self.claim.parent_id is not None:
            self._end_branch(failed=status != ExecutionStatus.COMPLETED)
            return
        self._finish_as(Ending(status, code, message))

    def _finish_as(self, ending: Ending, *, within: Callable[[], None] | None = None) -> None:
        final = checkpoint.finish(
            self.claim,
            list(self.unsaved.values()),
            status=ExecutionStatus(ending.status),
            started_at=self.started_at,
            error_code=ending.error_code,
            error_message=ending.error_message,
            output_file_ids=self.output_file_ids,
            closing=closing.Close(self.claim, self.program) if closing.is_needed(self.program) else None,
            within=within,
        )
        if final != ExecutionStatus.COMPLETED:
            stop.stop_children(self.claim.execution_id)
        event = "execution.closing" if final == ExecutionStatus.RUNNING else "execution.finished"
        log.info(event, execution_id=self.claim.execution_id, status=final, error=ending.error_message)

    def _end_branch(self, *, failed: bool) -> None:
        place = self.place
        if not failed and place.spawner.type != FOREACH:
            code = branching.STOPPED if self.stopped else None
            self.ended.append(Ended(name=place.child_name, error=None, error_code=code))
        stop_requested, lanes = checkpoint.end_branch(
            self.claim,
            list(self.unsaved.values()),
            ended=self.ended,
            then=place.following if place.spawner.type == GRAPH else lambda ended, alive: [],
            stop_siblings=failed and place.spawner.type == FOREACH,
            output_file_ids=self.output_file_ids,
            restored_deadline=self.deadline_at if self.limit_returns else None,
        )
        for lane in lanes:
            enqueue.ring_lane(lane)
        if stop_requested:
            stop.end_unclaimed(self.claim.execution_id)

    def _fill_late(self) -> None:
        row = self.running
        if row is not None and row.completed_at is not None and fill_late_outcome(self.claim, row):
            log.warning("attempt.filled_late", execution_id=self.claim.execution_id, step=row.path)
