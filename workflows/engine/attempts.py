"""Rows of step attempts while they are made: begun, ended, and fit to be stored."""

from datetime import datetime, timedelta
from typing import Any

from core import clock, jsonsafe, masking
from workflows.choices import Effect, StepStatus
from workflows.engine import context, spill
from workflows.engine.context import Stored
from workflows.engine.program import Node
from workflows.engine.step_rows import Attempt
from workflows.engine.steps.base import Step, StepError

LONGEST_ERROR = 2000
MOST_LOG_CHARACTERS = 256 * 1024


def begin(
    node: Node,
    step: Step[Any],
    *,
    path: str,
    scope: str,
    number: int,
    effect: Effect,
    deadline_at: datetime,
    stored: Stored | None,
) -> Attempt:
    """Return a running attempt; its deadline is the execution's, or earlier by the step's own limit."""
    now = clock.now()
    own_limit = node.step.get("timeout_seconds")
    again = stored if stored and stored.attempt == number else None
    return Attempt(
        path=path,
        scope=scope,
        attempt=number,
        node=node.index,
        step_order=node.order,
        step_name=node.name,
        step_type=step.type,
        effect=effect,
        status=StepStatus.RUNNING,
        deadline_at=min(deadline_at, now + timedelta(seconds=own_limit)) if own_limit else deadline_at,
        # A recovered attempt stays its maker's: who caused the effect may still tell what came of it.
        made_by=again.made_by if again else "",
        input_data=again.input_data if again else None,
        started_at=(again.started_at if again else None) or now,
    )


def end(row: Attempt, status: StepStatus) -> None:
    """Give an attempt its final status and time."""
    row.status = status
    row.completed_at = clock.now()
    if row.log or row.warnings or row.error_message:
        make_storable(row)
    row.execution_time_ms = int((row.completed_at - (row.started_at or row.completed_at)).total_seconds() * 1000)


def make_storable(row: Attempt) -> None:
    """Clean and mask what a step said beside its output, and bound it; what cannot be stored is left out."""
    for name, nothing in (("log", []), ("warnings", []), ("error_message", None), ("output_data", None)):
        try:
            value, _ = jsonsafe.clean(getattr(row, name))
        except jsonsafe.NotJson:
            value = nothing
        setattr(row, name, masking.mask(value, context.secret_needles()))
    # Cut only what is masked: a half of a secret would not be found.
    if row.error_message is not None:
        row.error_message = row.error_message[:LONGEST_ERROR]
    row.log = _bounded(row.log)
    _drop_large_output(row)


def _bounded(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    left = MOST_LOG_CHARACTERS
    for index, line in enumerate(lines):
        left -= len(line["message"])
        if left < 0:
            cut = {**line, "message": f"{line['message'][:left]} … (the log is longer than is kept)"}
            return [*lines[:index], cut]
    return lines


def _drop_large_output(row: Attempt) -> None:
    """Leave out what a failed step brought along, where a completed one's would be refused."""
    try:
        spill.refuse_too_large(row.output_data)
    except StepError as error:
        row.output_data = None
        row.warnings = [*row.warnings, f"left out: {error.message}"]
