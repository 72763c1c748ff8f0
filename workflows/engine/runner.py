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
from pydantic import ValidationError

from core import clock, faults, jsonsafe, logs, masking
from core.expressions import ExpressionError, evaluate_condition, resolve
from workflows import enqueue
from workflows.choices import Effect, ExecutionStatus, Lane, StepStatus, WaitingOn
from workflows.engine import checkpoint, context, program, retry
from workflows.engine.checkpoint import Attempt, LeaseLost, Next
from workflows.engine.lease import Claim, keeper
from workflows.engine.limits import StepTimeout, time_limit
from workflows.engine.program import END, Node
from workflows.engine.steps import registry
from workflows.engine.steps.base import Choose, Outcome, Step, StepConfig, StepContext, StepError, Wait

log = logs.get(__name__)

MOST_RECOVERIES = 100
UNKNOWN_TYPE_PAUSE_SECONDS = 30
OVERDUE_GRACE_SECONDS = 5
ACCELERATED_WAIT_SECONDS = 60
LONGEST_ERROR = 2000


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
        self.output_file_ids: list[int] = []
        limit = self.program.settings.get("timeout_seconds", 300)
        self.started_at = claim.started_at or self.began_at
        self.deadline_at = claim.deadline_at or self.began_at + timedelta(seconds=limit)
        self.running: Attempt | None = None
        self.open = True

    def run(self) -> None:
        """Run until the branch ends, waits, or is lost to another process."""
        try:
            if self._may_start():
                self.history = context.load_history(self.claim, self.program)
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

    def _give_up(self, error: Exception) -> None:
        """End an execution whose progress cannot be stored: repeating it would only fail the same way."""
        message = f"The engine could not go on: {type(error).__name__}: {error}"
        message = jsonsafe.clean_text(message, set())[:LONGEST_ERROR]
        with suppress(LeaseLost):
            checkpoint.finish(
                self.claim,
                [],
                status=ExecutionStatus.FAILED,
                started_at=self.started_at,
                error_code="checkpoint_refused",
                error_message=message,
            )

    def _may_start(self) -> bool:
        if self.claim.stop_requested:
            self._finish(ExecutionStatus.CANCELLED, message="Execution cancelled")
        elif self.claim.recoveries > MOST_RECOVERIES:
            message = f"Execution was recovered {MOST_RECOVERIES} times after crashes and is given up"
            self._finish(ExecutionStatus.FAILED, code="recovery_exhausted", message=message)
        return self.open

    def _advance(self) -> None:
        if self.cursor == END:
            self._finish(ExecutionStatus.COMPLETED)
            return
        node = self.program.nodes[self.cursor]
        if node.kind == "join":
            self._join(node)
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
        stored = self.history.stored.get(node.path)
        stored = stored if stored and stored.attempt == self.attempt else None
        if stored and stored.status == StepStatus.COMPLETED:
            self._go_to(node.next)  # its outcome came late and was filled in; history holds it
            return
        effect = self.program.effect_at(node.index)
        if effect == Effect.ONCE and node.name in self.history.outputs and self.history.is_done(node.path):
            self._go_to(node.next)  # a step retry before it runs it not again: once is once
            return
        row = self._new_attempt(node, step, effect)
        try:
            if not self._wanted(node):
                self._skip(node, row)
                return
            if stored and stored.status == StepStatus.RUNNING and effect == Effect.ONCE:
                raise StepError("worker_lost", "the worker died during the attempt", effect_happened=None)
            outcome = self._attempt_step(node, step, row, resumed=bool(stored and stored.status == StepStatus.WAITING))
        except StepError as error:
            self._failed(node, row, retry.judged(error, effect))
        except StepTimeout:
            self._timed_out(node, row, effect)
        else:
            if outcome is not None:
                self._accept(node, row, outcome)

    def _attempt_step(self, node: Node, step: Step[Any], row: Attempt, *, resumed: bool) -> Outcome | None:
        """Render, checkpoint where the effect class asks for it, and run. None if the branch ended instead."""
        config, row.input_data, step_context = self._render(node, step, row)
        if row.effect != Effect.PURE:
            # Resumed or not: from here on the effect may happen, and the stored row has to say so.
            if not self._store_before_effect(row):
                return None
            faults.point("before_effect")
        try:
            outcome = self._call(partial(step.resume if resumed else step.run, config, step_context), row)
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
            raise StepError("step_crashed", f"{type(error).__name__}: {error}"[:LONGEST_ERROR]) from error

    def _render(self, node: Node, step: Step[Any], row: Attempt) -> tuple[StepConfig, Any, StepContext]:
        """Resolve the config's expressions and check it against the step type's model."""
        raw = node.step.get("config") or {}
        scope = context.scope_of(self.claim, self.program, self.history, now=self._now_of(node, row))
        try:
            resolved = resolve({k: v for k, v in raw.items() if k not in step.raw_keys}, scope, strict=self._strict)
            values = resolved.value | {key: raw[key] for key in step.raw_keys if key in raw}
            cleaned, _ = jsonsafe.clean(values)
            config = step.config_model.model_validate(cleaned)
        except ExpressionError as error:
            raise StepError(error.code, str(error), retryable=False, effect_happened=False) from error
        except ValidationError as error:
            raise StepError("config_invalid", describe(error), retryable=False, effect_happened=False) from error
        except jsonsafe.NotJson as error:
            raise StepError("config_invalid", str(error), retryable=False, effect_happened=False) from error
        row.warnings = list(resolved.warnings)
        return config, masking.mask(cleaned, context.secret_needles()), self._step_context(node, row, scope)

    def _now_of(self, node: Node, row: Attempt) -> datetime | None:
        """Return what `now` means in a step: when its first attempt began, equal in all its attempts (ENGINE 4)."""
        stored = self.history.stored.get(node.path)
        return (stored.first_started_at if stored else None) or row.started_at

    @property
    def _strict(self) -> bool:
        return bool(self.program.settings.get("strict_expressions"))

    def _step_context(self, node: Node, row: Attempt, scope: Any) -> StepContext:
        claim = self.claim
        return StepContext(
            execution_id=claim.execution_id,
            execution_uuid=claim.execution_uuid,
            workflow_id=claim.workflow_id,
            owner_id=claim.owner_id,
            path=node.path,
            attempt=row.attempt,
            idempotency_key=f"{claim.execution_uuid}:{node.path}",
            effect=Effect(row.effect),
            deadline=row.deadline_at or self.deadline_at,
            scope=scope,
            trigger=claim.trigger_data or {},
            previous_output=self.history.previous,
            strict=self._strict,
            correlation_id=claim.correlation_id,
            cancel_requested=lambda: bool(claim.stop_requested),
        )

    def _store_before_effect(self, row: Attempt) -> bool:
        """Commit the attempt's row before its effect. False if a stop was requested meanwhile."""
        self.hand_back()
        row.made_by = self.claim.claimed_by
        stopped = self._save([*self._take_unsaved(), row], Next(self.cursor, self.attempt, release=False))
        if stopped:
            row.status, row.completed_at = StepStatus.CANCELLED, clock.now()
            self.unsaved[row.path, row.attempt] = row
            self._finish(ExecutionStatus.CANCELLED)
            return False
        self.running = row
        overdue_at = (row.deadline_at or self.deadline_at) + timedelta(seconds=OVERDUE_GRACE_SECONDS)
        keeper.hold(self.claim, deadline=overdue_at, on_overdue=partial(self._end_overdue, row))
        return True

    def _wanted(self, node: Node) -> bool:
        if "when" not in node.step:
            return True
        scope = context.scope_of(self.claim, self.program, self.history, now=self.began_at)
        try:
            return evaluate_condition(node.step["when"], scope, strict=self._strict)
        except ExpressionError as error:
            raise StepError(error.code, str(error), retryable=False, effect_happened=False) from error

    # --- What came of it ----------------------------------------------------------------------

    def _accept(self, node: Node, row: Attempt, outcome: Outcome) -> None:
        if isinstance(outcome, Wait):
            self._wait(row, outcome)
            return
        try:
            data, warnings = jsonsafe.clean(outcome.data)
        except jsonsafe.NotJson as error:
            failure = StepError("output_not_json", f"the step's output cannot be stored: {error}", retryable=False)
            self._failed(node, row, failure)
            return
        row.output_data = masking.mask(data, context.secret_needles())
        row.warnings += warnings
        if isinstance(outcome, Choose):
            self._choose(node, row, outcome.branch)
        else:
            self._complete(node, row)
            self._go_to(node.next)

    def _complete(self, node: Node, row: Attempt) -> None:
        self._end_attempt(row, StepStatus.COMPLETED)
        self.history.add(node, row.output_data or {})

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
                self._end_attempt(
                    self._new_attempt(
                        skipped,
                        found,
                        self.program.effect_at(index),
                        number=self.history.attempts_of(skipped.path) + 1,
                    ),
                    StepStatus.SKIPPED,
                )
        join = node.targets.get("join")
        self._go_to(target if target is not None else self.program.nodes[join].next if join else node.next)

    def _join(self, node: Node) -> None:
        """Complete a conditional after its action has run; its output takes the action's as `result`."""
        chooser = self.program.nodes[node.targets["of"]]
        row = self._open_row(chooser)
        row.output_data = {**(row.output_data or {}), "result": self.history.previous}
        self._complete(chooser, row)
        self._go_to(node.next)

    def _wait(self, row: Attempt, outcome: Wait) -> None:
        row.status = StepStatus.WAITING
        self._make_storable(row)
        seconds = max((outcome.until - clock.now()).total_seconds(), 0.0)
        self._save(
            [*self._take_unsaved(), row],
            Next(
                self.cursor,
                self.attempt,
                wake_at=outcome.until,
                waiting_on=WaitingOn.TIMER,
                reason=outcome.reason,
                extends_deadline_seconds=self._unlimited(seconds),
            ),
        )
        self.open = False
        self._accelerate(seconds)

    def _unlimited(self, seconds: float) -> float:
        """Return how much of a wait the time limit leaves out: nothing of it where the author set the limit."""
        return 0.0 if self.program.settings.get("timeout_is_explicit") else seconds

    def _failed(self, node: Node, row: Attempt, error: StepError) -> None:
        self._end_attempt(row, StepStatus.FAILED)
        row.error_code, row.error_message = error.code, error.message[:LONGEST_ERROR]
        row.output_data = error.output
        self._make_storable(row)
        if self.claim.stop_requested:
            self._finish(ExecutionStatus.CANCELLED)
            return
        policy = retry.policy_of(node.step, self.program.settings)
        if error.retryable and row.attempt < policy.max_attempts:
            self._retry_later(node, row, policy.pause_seconds(row.attempt, retry_after=error.retry_after_seconds))
        else:
            self._go_on_after(node, row)

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
        )
        self._save(self._take_unsaved(), following, retries=1)
        self.open = False
        self._accelerate(pause_seconds)

    def _go_on_after(self, node: Node, row: Attempt) -> None:
        """Go on as the failed step's author said, or as that of a conditional around it did; else fail."""
        failed, error = node, row.error_message
        while not program.handles_error(failed.step):
            if failed.parent is None:
                message = f"Step '{node.name}' failed: {error}"
                self._finish(ExecutionStatus.FAILED, code=row.error_code, message=message)
                return
            failed = self.program.nodes[failed.parent]
            outer = self._open_row(failed)
            outer.error_code, outer.error_message = row.error_code, f"its action failed: {error}"[:LONGEST_ERROR]
            self._end_attempt(outer, StepStatus.FAILED)
            row = outer
        self.history.add(failed, {"error": row.error_message, "error_code": row.error_code})
        self._go_to(self.program.after_error(failed))

    def _timed_out(self, node: Node, row: Attempt, effect: Effect) -> None:
        limit = node.step.get("timeout_seconds")
        if limit is None or clock.now() >= self.deadline_at:
            self._end_attempt(row, StepStatus.FAILED)
            row.error_code, row.error_message = "execution_timeout", "Execution timed out"
            self._finish(ExecutionStatus.TIMEOUT, code="execution_timeout", message="Execution timed out")
            return
        self._failed(node, row, retry.judged(StepError("step_timeout", f"no result within {limit:g} s"), effect))

    def _end_overdue(self, row: Attempt) -> None:
        """Called by the keeper when a step ignores its deadline: record that, then end this process.

        Only a prefork child may die for one step; a thread's lease just runs out.
        """
        if self.lane == Lane.IO:
            return
        node = self.program.nodes[row.node]
        log.error("step.overdue", execution_id=self.claim.execution_id, step=row.path, effect="this process is killed")
        try:
            self._timed_out(node, row, Effect(row.effect))
        except LeaseLost:
            log.info("branch.lost", execution_id=self.claim.execution_id, branch_id=self.claim.branch_id)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    # --- Storing ------------------------------------------------------------------------------

    def _skip(self, node: Node, row: Attempt) -> None:
        self._end_attempt(row, StepStatus.SKIPPED)
        join = node.targets.get("join")
        self._go_to(self.program.nodes[join].next if join else node.next)

    def _go_to(self, cursor: int) -> None:
        """Move to a node. After a step retry the nodes ahead have attempts already: theirs go on counting."""
        self.cursor, self.attempt = cursor, 1
        if cursor != END and self.program.nodes[cursor].kind == "step":
            self.attempt = self.history.attempts_of(self.program.nodes[cursor].path) + 1

    def _new_attempt(self, node: Node, step: Step[Any], effect: Effect, *, number: int | None = None) -> Attempt:
        now = clock.now()
        stored = self.history.stored.get(node.path)
        own_limit = node.step.get("timeout_seconds")
        deadline = min(self.deadline_at, now + timedelta(seconds=own_limit)) if own_limit else self.deadline_at
        number = number or self.attempt
        again = stored if stored and stored.attempt == number else None
        return Attempt(
            path=node.path,
            attempt=number,
            node=node.index,
            step_order=node.order,
            step_name=node.name,
            step_type=step.type,
            effect=effect,
            status=StepStatus.RUNNING,
            deadline_at=deadline,
            # A recovered attempt stays its maker's: who caused the effect may still tell what came of it.
            made_by=again.made_by if again else "",
            input_data=again.input_data if again else None,
            started_at=(again.started_at if again else None) or now,
        )

    def _open_row(self, chooser: Node) -> Attempt:
        """Return the still running attempt of a conditional: from this slice, or as an earlier one stored it."""
        for row in self.unsaved.values():
            if row.path == chooser.path and row.status == StepStatus.RUNNING:
                return row
        step = registry.find(chooser.type)
        assert step is not None  # noqa: S101  (this process ran or loaded the conditional)
        stored = self.history.stored.get(chooser.path)
        number = stored.attempt if stored else 1
        row = self._new_attempt(chooser, step, self.program.effect_at(chooser.index), number=number)
        if stored:
            row.output_data, row.input_data = stored.output_data, stored.input_data
        return row

    def _end_attempt(self, row: Attempt, status: StepStatus) -> None:
        row.status = status
        row.completed_at = clock.now()
        if row.log or row.warnings or row.error_message:
            self._make_storable(row)
        row.execution_time_ms = int((row.completed_at - (row.started_at or row.completed_at)).total_seconds() * 1000)
        self.unsaved[row.path, row.attempt] = row

    def _make_storable(self, row: Attempt) -> None:
        """Clean and mask what a step said beside its output; what cannot be stored is left out."""
        for name, nothing in (("log", []), ("warnings", []), ("error_message", None), ("output_data", None)):
            try:
                value, _ = jsonsafe.clean(getattr(row, name))
            except jsonsafe.NotJson:
                value = nothing
            setattr(row, name, masking.mask(value, context.secret_needles()))

    def _take_unsaved(self) -> list[Attempt]:
        rows, self.unsaved = list(self.unsaved.values()), {}
        for row in rows:
            if row.status == StepStatus.RUNNING:
                self.unsaved[row.path, row.attempt] = row  # an open conditional is written again by its join
        return rows

    def _save(self, rows: list[Attempt], following: Next, *, retries: int = 0) -> str:
        files, self.output_file_ids = self.output_file_ids, []
        return checkpoint.save(
            self.claim,
            rows,
            following,
            started_at=self.started_at,
            deadline_at=self.deadline_at,
            retries=retries,
            output_file_ids=files,
        )

    def _finish(self, status: ExecutionStatus, *, code: str = "", message: str | None = None) -> None:
        self.open = False
        final = checkpoint.finish(
            self.claim,
            list(self.unsaved.values()),
            status=status,
            started_at=self.started_at,
            error_code=code,
            error_message=message,
            output_file_ids=self.output_file_ids,
        )
        log.info("execution.finished", execution_id=self.claim.execution_id, status=final, error=message)

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


def describe(error: ValidationError) -> str:
    """Say in one line what is wrong with a step's config."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())[:LONGEST_ERROR]
