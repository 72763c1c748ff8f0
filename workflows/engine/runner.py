"""The runner: takes one claimed branch forward until it ends or must wait (a slice, ENGINE 5).

Results of pure steps ride in memory and are stored with the next checkpoint. Before a step with an outside
effect its attempt row is committed, together with all results before it.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError

from core import clock, faults, jsonsafe, logs, masking
from core.expressions import Scope
from files.errors import StorageUnavailable
from workflows.choices import Effect, Lane, StepStatus, StopReason, WaitingOn
from workflows.engine import attempts, branching, context, program, rendering, retry, spill, stop
from workflows.engine.attempts import LONGEST_ERROR
from workflows.engine.checkpoint import LeaseLost, Next
from workflows.engine.lease import keeper
from workflows.engine.limits import StepTimeout, time_limit
from workflows.engine.program import END, Node
from workflows.engine.progress import Progress
from workflows.engine.step_rows import Attempt
from workflows.engine.steps import registry
from workflows.engine.steps.base import Choose, Outcome, Spawn, Step, StepError, Stop, Wait

log = logs.get(__name__)

MOST_RECOVERIES = 100
GIVEN_UP = f"Execution was recovered {MOST_RECOVERIES} times after crashes and is given up"
OVERDUE_GRACE_SECONDS = 5


def reason_of(error: Exception) -> str:
    """Return why an execution cannot go on, as it may be stored and shown."""
    message = f"The engine could not go on: {type(error).__name__}: {error}"
    return str(masking.hide(jsonsafe.clean_text(message, set())))[:LONGEST_ERROR]


class Slice(Progress):
    """One run of one claimed branch by one worker."""

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
        except StorageUnavailable as error:
            with suppress(LeaseLost):
                self._wait_for_storage(error)
        except Exception as error:
            log.exception("slice.failed", execution_id=self.claim.execution_id, branch_id=self.claim.branch_id)
            self._give_up(error)
        finally:
            keeper.drop(self.claim)

    def _load(self) -> None:
        self.history = self.place.load()
        self.ended = self.place.failed_items()
        if self.claim.was_waiting_on == WaitingOn.RETRY:
            self._go_on_after_pause()
        if not self.attempt:
            self._go_to(self.cursor)
        if self.place.is_item_done():
            self._end_item()

    def _go_on_after_pause(self) -> None:
        failed = self.history.stored.get(self.place.path_of(self.program.nodes[self.cursor]))
        if failed is not None:
            self._go_on_with_limit(failed)

    def _give_up(self, error: Exception) -> None:
        """End an execution whose progress cannot be stored: repeating it would only fail the same way."""
        self.unsaved = {}
        with suppress(LeaseLost):
            self._fail(code="checkpoint_refused", message=reason_of(error), whole=True)

    def _may_start(self) -> bool:
        if self.claim.stop_requested:
            self._stop()
        elif self.claim.recoveries > MOST_RECOVERIES:
            self._fail(code="recovery_exhausted", message=GIVEN_UP, whole=True)
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
            # A retry of what stands before it runs it not again: once is once.
            self._go_to(branching.after_done(node, stored, self.program))
            return
        if again and again.status == StepStatus.WAITING:
            self._go_on_with_limit(again)
        begun = bool(again and again.status in (StepStatus.RUNNING, StepStatus.WAITING))
        row = self._new_attempt(node, step)
        try:
            # Whoever has begun was wanted: while it waited, `now` and secrets have changed.
            if not begun and not self._wanted(node, row):
                self._skip(node, row)
                return
            if again and effect == Effect.ONCE:
                retry.refuse_repetition(again)
            outcome = self._attempt_step(node, step, row, resumed=bool(again and again.status == StepStatus.WAITING))
        except StepError as error:
            self._failed(node, row, retry.judged(error, effect))
        except StepTimeout:
            self._timed_out(node, row, effect)
        else:
            if outcome is not None:
                self._accept(node, row, outcome)

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
            if row.effect == Effect.PURE and isinstance(error, StorageUnavailable):
                raise  # nothing has happened outside: the same attempt begins once more when the storage is back
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

    def _wanted(self, node: Node, row: Attempt) -> bool:
        if "when" not in node.step:
            return True
        return rendering.is_wanted(node, self._scope(self._now_of(row)), strict=self._strict)

    # --- What came of it ----------------------------------------------------------------------

    def _accept(self, node: Node, row: Attempt, outcome: Outcome) -> None:
        if isinstance(outcome, Wait):
            try:
                self._wait(row, outcome)
            except StepError as error:
                self._failed(node, row, error)
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
        self._end_list(node)

    def _end_list(self, node: Node) -> None:
        """Go to the end of the list around `node`, that around a graph included, and complete its conditionals."""
        while node.parent is not None:
            node = self.program.nodes[node.parent]
            self._close(node)
        self.stopped = True
        self._go_to(END)

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

    # --- Graphs -------------------------------------------------------------------------------

    def _begin_graph(self, node: Node) -> None:
        """Begin what can begin of a graph, and go on at its join."""
        ended = branching.ended_in_graph(node, self.program, self.place.scope, self.history)
        children = branching.graph_children(
            node, program=self.program, scope=self.place.scope, ended=ended, alive=set()
        )
        self.cursor, self.attempt = node.targets["join"], 1
        self._wait_for_children([], children, "waits for the steps that run side by side", ended=ended)

    def _end_graph(self, graph: Node, join: Node) -> None:
        ended = self.place.ended()
        failure = next((item for item in ended if item["error"] is not None), None)
        if failure is not None:
            self._go_on_after(graph, failure["error_code"] or "", failure["error"] or "")
        elif any(item["error_code"] == branching.STOPPED for item in ended):
            self._end_list(graph)
        else:
            self._go_to(join.next)
