"""The runner: takes one claimed branch forward until it ends or must wait (a slice, ENGINE 5).

Results of pure steps ride in memory and are stored with the next checkpoint. Before a step with an outside
effect its attempt row is committed, together with all results before it.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError

from core import clock, faults, jsonsafe, logs, masking
from core.expressions import Scope
from workflows import enqueue
from workflows.choices import BranchKind, Effect, ExecutionStatus, Lane, StepStatus, StopReason, WaitingOn
from workflows.engine import attempts, branching, checkpoint, closing, context, program, rendering, retry, spill, stop
from workflows.engine.attempts import LONGEST_ERROR
from workflows.engine.checkpoint import Attempt, Ended, Ending, LeaseLost, Next
from workflows.engine.context import Stored
from workflows.engine.lease import Claim, keeper
from workflows.engine.limits import StepTimeout, time_limit
from workflows.engine.program import END, FOREACH, GRAPH, Node
from workflows.engine.steps import registry
from workflows.engine.steps.base import Choose, Outcome, Spawn, Step, StepError, Stop, Wait

log = logs.get(__name__)

MOST_RECOVERIES = 100
UNKNOWN_TYPE_PAUSE_SECONDS = 30
OVERDUE_GRACE_SECONDS = 5
ACCELERATED_WAIT_SECONDS = 60
# Never shorter than a drain: a loop with many items lets others have the worker then.
LONGEST_TURN_SECONDS = 10.0
MOST_UNSAVED = 200


class Slice:
    """One run of one claimed branch by one worker."""

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
        # A child that begins: should the step that began it be repeated, what was completed is not run again.
        self.redoes = False

    def run(self) -> None:
        """Run until the branch ends, waits, or is lost to another process."""
        with masking.knowing(self.vault):
            self._run()

    def _run(self) -> None:
        try:
            if self._may_start():
                self._load()
                while self.open:
                    self._advance()
        except LeaseLost:
            self._fill_late()
            log.info("branch.lost", execution_id=self.claim.execution_id, branch_id=self.claim.branch_id)
        except (OperationalError, InterfaceError):
            raise  # the database is away: the lease runs out, and somebody else goes on
        except Exception as error:
            log.exception("slice.failed", execution_id=self.claim.execution_id, branch_id=self.claim.branch_id)
            self._give_up(error)
        finally:
            keeper.drop(self.claim)

    def _load(self) -> None:
        self.history = self.place.load()
        self.ended = self.place.failed_items()
        if not self.attempt:
            self.redoes = True
            self._go_to(self.cursor)
        if self.place.is_item_done():
            self._end_item()

    def _give_up(self, error: Exception) -> None:
        """End an execution whose progress cannot be stored: repeating it would only fail the same way."""
        message = f"The engine could not go on: {type(error).__name__}: {error}"
        message = str(masking.hide(jsonsafe.clean_text(message, set())))[:LONGEST_ERROR]
        self.unsaved = {}
        with suppress(LeaseLost):
            self._fail(code="checkpoint_refused", message=message, whole=True)

    def _may_start(self) -> bool:
        if self.claim.stop_requested:
            self._stop()
        elif self.claim.recoveries > MOST_RECOVERIES:
            message = f"Execution was recovered {MOST_RECOVERIES} times after crashes and is given up"
            self._fail(code="recovery_exhausted", message=message, whole=True)
        return self.open

    def _advance(self) -> None:
        if self.cursor == END:
            self._reach_end()
            return
        node = self.program.nodes[self.cursor]
        if node.kind == "join":
            self._join(node)
            return
        if node.kind == "graph":
            self._begin_graph(node)
            return
        step = registry.find(node.type)
        if step is None:
            self._wait_for_newer_worker(node)
        elif step.lane is not None and step.lane != self.lane:
            self._change_lane(step.lane)
        else:
            self._run_node(node, step)

    # --- One step ---------------------------------------------------------------------------

    def _run_node(self, node: Node, step: Step[Any]) -> None:
        stored = self.history.stored.get(self.place.path_of(node))
        again = stored if stored and stored.attempt == self.attempt else None
        if again and again.status == StepStatus.COMPLETED:
            self._go_to(node.next)  # its outcome came late and was filled in; history holds it
            return
        effect = self.program.effect_at(node.index)
        if (effect == Effect.ONCE or self.redoes) and stored and stored.status == StepStatus.COMPLETED:
            self._go_to(self.program.after(node))  # a retry before it runs it not again: once is once
            return
        if again and again.status == StepStatus.WAITING:
            self._go_on_with_limit(again)
        row = self._new_attempt(node, step)
        try:
            if not self._wanted(node):
                self._skip(node, row)
                return
            if again and effect == Effect.ONCE:
                self._refuse_repetition(again)
            outcome = self._attempt_step(node, step, row, resumed=bool(again and again.status == StepStatus.WAITING))
        except StepError as error:
            self._failed(node, row, retry.judged(error, effect))
        except StepTimeout:
            self._timed_out(node, row, effect)
        else:
            if outcome is not None:
                self._accept(node, row, outcome)

    def _refuse_repetition(self, begun: Stored) -> None:
        """Raise StepError for a `once` step that has begun: its outcome is unknown, or its maker told it late."""
        if begun.status == StepStatus.RUNNING:
            raise StepError("worker_lost", "the worker died during the attempt", effect_happened=None)
        if begun.status == StepStatus.FAILED:
            message = begun.error_message or "the attempt failed"
            raise StepError(begun.error_code, message, retryable=False, effect_happened=False)

    def _attempt_step(self, node: Node, step: Step[Any], row: Attempt, *, resumed: bool) -> Outcome | None:
        """Render, checkpoint where the effect class asks for it, and run. None if the branch ended instead."""
        scope = self._scope(self._now_of(row))
        rendered = rendering.render(node, step, scope, strict=self._strict)
        row.input_data, row.warnings = rendered.shown, rendered.warnings
        step_context = rendering.step_context(
            row,
            self.claim,
            self.program,
            scope=scope,
            deadline=row.deadline_at or self.deadline_at,
            previous_output=self.history.previous,
            children=branching.Children(self.claim, self.program, node, row.path),
            cancel_requested=lambda: bool(self.claim.stop_requested),
        )
        if row.effect != Effect.PURE:
            # Resumed or not: from here on the effect may happen, and the stored row has to say so.
            if not self._store_before_effect(row):
                return None
            faults.point("before_effect")
        try:
            outcome = self._call(partial(step.resume if resumed else step.run, rendered.config, step_context), row)
        finally:
            # What the step wrote and made counts, however it ended.
            row.log = step_context.lines
            row.warnings += step_context.warnings
            self.output_file_ids += step_context.output_file_ids
        if row.effect != Effect.PURE:
            faults.point("after_effect")
        return outcome

    def _call(self, run: Callable[[], Outcome], row: Attempt) -> Outcome:
        deadline = row.deadline_at or self.deadline_at
        if row.effect == Effect.PURE:
            # Also a pure step may take long; whatever an effect before it left with the keeper is replaced.
            grace = timedelta(seconds=OVERDUE_GRACE_SECONDS)
            keeper.hold(self.claim, deadline=deadline + grace, on_overdue=partial(self._end_overdue, row))
        try:
            with time_limit((deadline - clock.now()).total_seconds()):
                return run()
        except StepError:
            raise
        except Exception as error:
            log.exception("step.crashed", execution_id=self.claim.execution_id, step=row.path)
            raise StepError("step_crashed", f"{type(error).__name__}: {error}") from error

    def _now_of(self, row: Attempt) -> datetime | None:
        """Return what `now` means in a step: when its first attempt began, equal in all its attempts (ENGINE 4)."""
        stored = self.history.stored.get(row.path)
        return (stored.first_started_at if stored else None) or row.started_at

    @property
    def _strict(self) -> bool:
        return rendering.is_strict(self.program)

    def _scope(self, now: datetime | None) -> Scope:
        return context.scope_of(self.claim, self.program, self.history, now=now, loop=self.place.loop(self.history))

    def _store_before_effect(self, row: Attempt) -> bool:
        """Commit the attempt's row before its effect. False if a stop was requested meanwhile."""
        self.hand_back()
        row.made_by = self.claim.claimed_by
        stopped = self._save([*self._take_unsaved(), row], Next(self.cursor, self.attempt, release=False))
        if stopped:
            row.status, row.completed_at = StepStatus.CANCELLED, clock.now()
            self.unsaved[row.path, row.attempt] = row
            self._stop()
            return False
        self.running = row
        overdue_at = (row.deadline_at or self.deadline_at) + timedelta(seconds=OVERDUE_GRACE_SECONDS)
        keeper.hold(self.claim, deadline=overdue_at, on_overdue=partial(self._end_overdue, row))
        return True

    def _wanted(self, node: Node) -> bool:
        if "when" not in node.step:
            return True
        return rendering.is_wanted(node, self._scope(self.began_at), strict=self._strict)

    # --- What came of it ----------------------------------------------------------------------

    def _accept(self, node: Node, row: Attempt, outcome: Outcome) -> None:
        if isinstance(outcome, Wait):
            self._wait(row, outcome)
            return
        if isinstance(outcome, Spawn):
            self._spawn(node, row, outcome)
            return
        try:
            data, warnings = jsonsafe.clean(outcome.data)
            spill.refuse_too_large(data)
        except jsonsafe.NotJson as error:
            failure = StepError("output_not_json", f"the step's output cannot be stored: {error}", retryable=False)
            self._failed(node, row, failure)
            return
        except StepError as error:
            self._failed(node, row, error)
            return
        row.output_data = masking.mask(data, context.secret_needles())
        row.warnings += warnings
        if isinstance(outcome, Choose):
            self._choose(node, row, outcome.branch)
        elif isinstance(outcome, Stop):
            self._end_here(node, row, outcome)
        else:
            self._complete(node, row)
            self._go_to(node.next)

    def _complete(self, node: Node, row: Attempt) -> None:
        self._end_attempt(row, StepStatus.COMPLETED)
        self.history.add(node, {} if row.output_data is None else row.output_data)

    def _choose(self, node: Node, row: Attempt, branch: str) -> None:
        target = node.targets.get(branch)
        if target is not None and branch not in node.skips:
            self.unsaved[row.path, row.attempt] = row  # still running; its join completes it
            self._go_to(target)
            return
        self._complete(node, row)
        for index in node.skips.get(branch, ()):
            skipped = self.program.nodes[index]
            found = registry.find(skipped.type)
            if found is not None:
                number = self.history.attempts_of(self.place.path_of(skipped)) + 1
                self._end_attempt(self._new_attempt(skipped, found, number=number), StepStatus.SKIPPED)
        join = node.targets.get("join")
        self._go_to(target if target is not None else self.program.nodes[join].next if join else node.next)

    def _join(self, node: Node) -> None:
        """Complete a conditional after its action has run; its output takes the action's as `result`."""
        chooser = self.program.nodes[node.targets["of"]]
        if chooser.kind == "graph":
            self._end_graph(chooser, node)
            return
        self._close(chooser)
        self._go_to(node.next)

    def _close(self, chooser: Node) -> None:
        row = self._open_row(chooser)
        row.output_data = {**(row.output_data or {}), "result": self.history.previous}
        self._complete(chooser, row)

    def _end_here(self, node: Node, row: Attempt, outcome: Stop) -> None:
        """End the branch with the step; of an execution's own branch that is its end."""
        if outcome.failed:
            self._failed(node, row, StepError("stopped", outcome.message or "stopped", retryable=False))
            return
        self._complete(node, row)
        while node.parent is not None:
            node = self.program.nodes[node.parent]
            self._close(node)
        self._go_to(END)

    def _wait(self, row: Attempt, outcome: Wait) -> None:
        row.status = StepStatus.WAITING
        attempts.make_storable(row)
        is_timer = outcome.on == WaitingOn.TIMER
        seconds = max((outcome.until - clock.now()).total_seconds(), 0.0) if outcome.until else None
        if not is_timer:
            # What was left of the time limit when the wait began; `_go_on_with_limit` gives it back.
            row.started_at, row.deadline_at = clock.now(), self.deadline_at
        self._save(
            [*self._take_unsaved(), row],
            Next(
                self.cursor,
                self.attempt,
                wake_at=outcome.until,
                waiting_on=outcome.on,
                reason=masking.hide(outcome.reason),
                extends_deadline_seconds=self._unlimited(seconds or 0.0) if is_timer else 0.0,
                is_open_ended=not is_timer and bool(self._unlimited(1.0)),
                releases_slot=self._releases_slot,
                begin=outcome.begin,
            ),
        )
        self.open = False
        if seconds is not None:
            self._accelerate(seconds)

    def _go_on_with_limit(self, waited: Stored) -> None:
        """Let the time limit run on after a wait without a known end, from where it stood when the wait began."""
        if self.claim.deadline_at is None and waited.deadline_at and waited.started_at:
            self.limit_returns = True
            self.deadline_at = self.began_at + (waited.deadline_at - waited.started_at)

    @property
    def _releases_slot(self) -> bool:
        return self.claim.parent_id is None and bool(self.program.settings.get("release_slot_while_waiting"))

    def _unlimited(self, seconds: float) -> float:
        """Return how much of a wait the time limit leaves out: nothing of it where the author set the limit."""
        return 0.0 if self.program.settings.get("timeout_is_explicit") else seconds

    def _failed(self, node: Node, row: Attempt, error: StepError) -> None:
        self._end_attempt(row, StepStatus.FAILED)
        row.error_code, row.error_message = error.code, error.message
        row.output_data = error.output
        attempts.make_storable(row)
        if self.claim.stop_requested:
            self._stop()
            return
        policy = retry.policy_of(node.step, self.program.settings)
        if error.retryable and row.attempt < policy.max_attempts:
            self._retry_later(node, row, policy.pause_seconds(row.attempt, retry_after=error.retry_after_seconds))
        else:
            self._go_on_after(node, row.error_code, row.error_message or "")

    def _retry_later(self, node: Node, row: Attempt, pause_seconds: float) -> None:
        wake_at = clock.now() + timedelta(seconds=pause_seconds)
        reason = (
            f"retries step '{node.name}' at {wake_at:%H:%M:%S} UTC after attempt {row.attempt}: {row.error_message}"
        )
        following = Next(
            self.cursor,
            row.attempt + 1,
            wake_at=wake_at,
            waiting_on=WaitingOn.RETRY,
            reason=reason,
            lane=self.lane,
            extends_deadline_seconds=self._unlimited(pause_seconds),
            releases_slot=self._releases_slot,
        )
        self._save(self._take_unsaved(), following, retries=1)
        self.open = False
        self._accelerate(pause_seconds)

    def _go_on_after(self, node: Node, code: str, error: str) -> None:
        """Go on as the failed step's author said, or as that of a conditional around it did; else fail."""
        failed, outer_error = node, error
        while not program.handles_error(failed.step):
            if failed.parent is None:
                self._fail(code=code, message=f"Step '{node.name}' failed: {error}" if node.name else error)
                return
            failed = self.program.nodes[failed.parent]
            outer = self._open_row(failed)
            outer_error = f"its action failed: {error}"[:LONGEST_ERROR]
            outer.error_code, outer.error_message = code, outer_error
            self._end_attempt(outer, StepStatus.FAILED)
        self.history.add(failed, {"error": outer_error, "error_code": code})
        self._go_to(self.program.after_error(failed))

    def _timed_out(self, node: Node, row: Attempt, effect: Effect) -> None:
        limit = node.step.get("timeout_seconds")
        if limit is None or clock.now() >= self.deadline_at:
            self._end_attempt(row, StepStatus.FAILED)
            row.error_code, row.error_message = "execution_timeout", "Execution timed out"
            if not self.claim.stop_requested:
                stop.request_stop(self.claim.execution_id, StopReason.TIMEOUT)
            self._stop()
            return
        self._failed(node, row, retry.judged(StepError("step_timeout", f"no result within {limit:g} s"), effect))

    def _end_overdue(self, row: Attempt) -> None:
        """Called by the keeper when a step ignores its deadline: record that, then end this process.

        Only a prefork child may die for one step; a thread's lease just runs out.
        """
        if self.lane == Lane.IO:
            return
        node = self.program.nodes[row.node]
        with masking.knowing(self.vault):  # this thread is the keeper's
            self._kill_overdue(node, row)

    def _kill_overdue(self, node: Node, row: Attempt) -> None:
        log.error("step.overdue", execution_id=self.claim.execution_id, step=row.path, effect="this process is killed")
        try:
            self._timed_out(node, row, Effect(row.effect))
        except LeaseLost:
            log.info("branch.lost", execution_id=self.claim.execution_id, branch_id=self.claim.branch_id)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    # --- Branches of branches -----------------------------------------------------------------

    def _spawn(self, node: Node, row: Attempt, spawn: Spawn) -> None:
        """Begin the children of a step; the branch waits until the last of them has ended."""
        row.status = StepStatus.WAITING
        children = branching.children_of(
            node, spawn, program=self.program, claim=self.claim, path=row.path, repeated=row.attempt > 1
        )
        self._wait_for_children([row], children, spawn.reason, ended=[])

    def _begin_graph(self, node: Node) -> None:
        """Begin what can begin of a graph, and go on at its join."""
        ended = branching.ended_in_graph(node, self.program, self.place.scope, self.history)
        children = branching.graph_children(
            node, program=self.program, scope=self.place.scope, ended=ended, alive=set()
        )
        self.cursor, self.attempt = node.targets["join"], 1
        self._wait_for_children([], children, "waits for the steps that run side by side", ended=ended)

    def _end_graph(self, graph: Node, join: Node) -> None:
        failure = next((item for item in self.place.ended() if item["error"] is not None), None)
        if failure is None:
            self._go_to(join.next)
        else:
            self._go_on_after(graph, failure["error_code"] or "", failure["error"] or "")

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
        files, self.output_file_ids = self.output_file_ids, []
        if self.limit_returns:
            following, self.limit_returns = replace(following, restores_deadline=True), False
        return checkpoint.save(
            self.claim,
            rows,
            self.place.stored_with(following, self.ended),
            started_at=self.started_at,
            deadline_at=self.deadline_at,
            retries=retries,
            output_file_ids=files,
        )

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
            self.ended.append(Ended(name=place.child_name, error=None, error_code=None))
        stop_requested, lanes = checkpoint.end_branch(
            self.claim,
            list(self.unsaved.values()),
            ended=self.ended,
            then=place.following if place.spawner.type == GRAPH else lambda ended, alive: [],
            stop_siblings=failed and place.spawner.type == FOREACH,
            output_file_ids=self.output_file_ids,
        )
        for lane in lanes:
            enqueue.ring_lane(lane)
        if stop_requested:
            stop.end_unclaimed(self.claim.execution_id)

    def _fill_late(self) -> None:
        row = self.running
        if row is not None and row.completed_at is not None and checkpoint.fill_late_outcome(self.claim, row):
            log.warning("attempt.filled_late", execution_id=self.claim.execution_id, step=row.path)

    # --- Moving on ----------------------------------------------------------------------------

    def _change_lane(self, lane: Lane) -> None:
        self._save(self._take_unsaved(), Next(self.cursor, self.attempt, lane=lane))
        self.open = False
        enqueue.ring_lane(lane)

    def _wait_for_newer_worker(self, node: Node) -> None:
        """A step type that only newer code knows: leave it to a worker that has it (a deploy in the middle)."""
        reason = f"step '{node.name}' has the type '{node.type}', which no worker that looked at it knows"
        wake_at = clock.now() + timedelta(seconds=UNKNOWN_TYPE_PAUSE_SECONDS)
        self._save(
            self._take_unsaved(),
            Next(self.cursor, self.attempt, wake_at=wake_at, waiting_on=WaitingOn.TIMER, reason=reason),
        )
        self.open = False

    def _accelerate(self, seconds: float) -> None:
        if seconds <= ACCELERATED_WAIT_SECONDS:
            enqueue.ring_lane(self.lane, countdown_seconds=seconds)
