"""`wait_for_event`: wait for an event of the same owner, or for a deadline (ENGINE 5)."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from pydantic import Field, field_validator

from core import clock, masking
from core.db import DatabaseNow
from core.expressions import check_condition, condition_references
from workflows import transitions
from workflows.choices import Effect, EventWaitStatus, WaitingOn
from workflows.engine import event_filter
from workflows.engine.context import secret_needles
from workflows.engine.event_filter import Condition
from workflows.engine.steps.base import Output, Step, StepContext, StepError, Wait
from workflows.engine.steps.deadline import DeadlineConfig, until_text
from workflows.engine.steps.registry import register
from workflows.models import EventWait
from workflows.signals import event_wait_began, event_wait_ending

LONGEST_LOOK_BACK_SECONDS = 7 * 86_400


class WaitForEventConfig(DeadlineConfig):
    """`filter` is a condition over `event` (`event.data.x`, or `x` for short) and the execution's own names."""

    event_type: str = Field(min_length=1, max_length=128)
    filter: Condition | None = None
    look_back_seconds: float = Field(default=0, ge=0, le=LONGEST_LOOK_BACK_SECONDS, allow_inf_nan=False)
    on_timeout: Literal["fail", "continue"] = "fail"

    @field_validator("filter")
    @classmethod
    def _readable(cls, value: Condition | None) -> Condition | None:
        problems = [] if value is None else check_condition(value)
        if problems:
            raise ValueError(f"bad condition at column {problems[0].column}: {problems[0].message}")
        if value is not None and any(reference.root == "secrets" for reference in condition_references(value)):
            raise ValueError("a filter cannot use secrets: it is decided outside of the execution")
        return value


@register
class WaitForEventStep(Step[WaitForEventConfig]):
    """Of the events that match, the first to come is taken; events from before the wait count within the look-back.

    Source: Temporal's signals and n8n's Wait node; as there, a wait takes one event, an event may end many waits.
    """

    type = "wait_for_event"
    title = "Wait for an event"
    config_model = WaitForEventConfig
    output_keys = ("event", "timed_out")
    effect = Effect.PURE
    lane = None
    # Decided over the event, by whoever has it.
    raw_keys = frozenset({"filter"})

    def run(self, config: WaitForEventConfig, context: StepContext) -> Wait:
        if masking.mask(config.event_type, secret_needles()) != config.event_type:
            message = "event_type cannot hold a secret: it is stored, and shown to whoever may see the execution"
            raise StepError("config_invalid", message, retryable=False)
        until = config.until()
        try:
            names = {} if config.filter is None else event_filter.names_of(config.filter, context.scope)
        except ValueError as error:
            raise StepError("filter_too_large", str(error), retryable=False) from error
        which = "" if config.filter is None else " that passes the filter"
        reason = f"waits for event '{config.event_type}'{which}{until_text(until)}"
        return Wait(until, reason, on=WaitingOn.EVENT, begin=partial(_begin, config, context, until, names))

    def resume(self, config: WaitForEventConfig, context: StepContext) -> Output:
        wait = _look_a_last_time(context)
        if wait.status == EventWaitStatus.MATCHED:
            return Output({"event": wait.event, "timed_out": False})
        if wait.status == EventWaitStatus.CANCELLED:
            raise StepError("wait_cancelled", "the wait was cancelled", retryable=False)
        if config.on_timeout == "continue":
            return Output({"event": None, "timed_out": True})
        problem = f"; the filter could not be decided: {wait.problem}" if wait.problem else ""
        raise StepError("event_timeout", f"no event '{config.event_type}' came in time{problem}", retryable=False)


def _begin(
    config: WaitForEventConfig, context: StepContext, until: datetime | None, names: dict[str, Any], branch_id: int
) -> None:
    look_back = timedelta(seconds=config.look_back_seconds)
    wait = EventWait.objects.create(
        execution_id=context.execution_id,
        branch_id=branch_id,
        path=context.path,
        attempt=context.attempt,
        owner_id=context.owner_id,
        event_type=config.event_type,
        event_key=event_filter.key_of(config.event_type),
        filter=config.filter,
        names=names,
        # PostgreSQL's time, as of the events: machines whose clocks differ agree on what came first.
        since=DatabaseNow() + (clock.offset() - look_back),
        deadline_at=until,
    )
    event_wait_began.send(sender=EventWait, wait_id=wait.pk)


def _look_a_last_time(context: StepContext) -> EventWait:
    """Return the ended wait. At the deadline, an event that was stored before but not yet dispatched still counts."""
    wait = EventWait.objects.get(execution_id=context.execution_id, path=context.path, attempt=context.attempt)
    if wait.status == EventWaitStatus.OPEN:
        event_wait_ending.send(sender=EventWait, wait_id=wait.pk)
        transitions.expire_event_wait(wait.pk)
        wait.refresh_from_db()
    return wait
