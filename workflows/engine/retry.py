"""When a failed step is tried again (contract 13.6, ENGINE 5)."""

import random
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from workflows.choices import Effect, StepStatus
from workflows.engine.context import Stored
from workflows.engine.steps.base import StepError

LONGEST_INTERVAL_SECONDS = 300.0
MOST_JITTER = 0.2
OUTCOME_UNKNOWN = "outcome_unknown"


@dataclass(frozen=True)
class RetryPolicy:
    """At most `max_attempts`, after `initial_interval * backoff ** n` seconds, never over `max_interval`."""

    max_attempts: int
    initial_interval: float
    backoff: float = 2.0
    max_interval: float = LONGEST_INTERVAL_SECONDS

    def pause_seconds(self, attempt: int, *, retry_after: float | None = None) -> float:
        """Return the pause after failed attempt number `attempt`; jitter is only ever added."""
        try:
            pause = min(self.initial_interval * self.backoff ** (attempt - 1), self.max_interval)
        except OverflowError:
            pause = self.max_interval
        pause += pause * random.uniform(0, MOST_JITTER)  # noqa: S311  (spreads load, guards nothing)
        return max(pause, retry_after or 0.0)


def policy_of(step: dict[str, Any], workflow_settings: dict[str, Any]) -> RetryPolicy:
    """Return a step's policy: its own `retry`, else its `max_retries`, else the workflow's."""
    retry = step.get("retry") or {}
    max_retries = step.get("max_retries")
    if max_retries is None:
        max_retries = workflow_settings.get("max_retries", settings.MAX_WORKFLOW_RETRIES)
    return RetryPolicy(
        max_attempts=int(retry.get("max_attempts", max_retries + 1)),
        initial_interval=float(retry.get("initial_interval", settings.RETRY_BASE_SECONDS)),
        backoff=float(retry.get("backoff", 2.0)),
        max_interval=min(float(retry.get("max_interval", LONGEST_INTERVAL_SECONDS)), LONGEST_INTERVAL_SECONDS),
    )


def judged(error: StepError, effect: Effect) -> StepError:
    """Return `error` as the effect class sees it: a `once` step whose effect may have happened is never repeated."""
    if effect != Effect.ONCE or error.effect_happened is False:
        return error
    return StepError(
        OUTCOME_UNKNOWN,
        f"it is not known whether the step took effect, so it is not repeated: {error.message}",
        retryable=False,
        output=error.output,
    )


def refuse_repetition(begun: Stored) -> None:
    """Raise StepError for a `once` step that has begun: its outcome is unknown, or its maker told it late."""
    if begun.status == StepStatus.RUNNING:
        raise StepError("worker_lost", "the worker died during the attempt", effect_happened=None)
    if begun.status == StepStatus.FAILED:
        message = begun.error_message or "the attempt failed"
        raise StepError(begun.error_code, message, retryable=False, effect_happened=False)
