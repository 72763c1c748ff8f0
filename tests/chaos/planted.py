"""Bugs for the suite to find, planted in the suite's own processes when they start; CHAOS_MUTANT names one.

No product file knows of them.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from django.apps import AppConfig

# Longer than a worker needs to hear a bell and look.
OPEN_TRANSACTION_SECONDS = 0.1


class PlantedBug(AppConfig):
    name = "tests.chaos"
    label = "planted_bug"

    def ready(self) -> None:
        if mutant := os.environ.get("CHAOS_MUTANT"):
            MUTANTS[mutant]()


def drop_fence() -> None:
    """Checkpoints and ends do not ask who holds the branch."""
    from workflows.engine import checkpoint

    held = " AND fence = %(fence)s AND claimed_by = %(me)s"
    for name in ("_KEEP", "_RELEASE", "_END"):
        _replace(checkpoint, name, held, "")


def ring_before_commit() -> None:
    """A start's bell is rung inside its transaction; the sweep, which makes up for such bells, is silent."""
    from workflows import enqueue
    from workflows.choices import Lane
    from workflows.engine import sweep

    def ring_at_once(lane: Lane | str) -> None:
        enqueue.ring_lane(lane)
        time.sleep(OPEN_TRANSACTION_SECONDS)

    def ring_for_nothing(lane: Lane) -> int:
        return 0

    _set(enqueue, "ring_lane_on_commit", ring_at_once)
    _set(sweep, "_ring_for_due", ring_for_nothing)


def claim_what_is_claimed() -> None:
    """A claim takes branches that somebody holds."""
    from workflows.engine import lease

    _replace(lease, "_CLAIM", " AND claimed_by = ''", "")


def write_attempt_after_effect() -> None:
    """The attempt of a once step is stored with its result only."""
    from workflows.choices import Effect
    from workflows.engine.runner import Slice

    store_before = Slice._store_before_effect

    def store_after(self: Slice, row: Any) -> bool:
        return True if row.effect == Effect.ONCE else store_before(self, row)

    _set(Slice, "_store_before_effect", store_after)


def forget_begun_attempts() -> None:
    """Recovery takes an attempt that had begun for one that had not."""
    from workflows.choices import StepStatus
    from workflows.engine import context

    load = context.load_history

    def load_ended(*args: Any) -> context.History:
        history = load(*args)
        history.stored = {path: row for path, row in history.stored.items() if row.status != StepStatus.RUNNING}
        return history

    _set(context, "load_history", load_ended)


def keep_leases_forever() -> None:
    """The sweep never takes a branch from a dead worker."""
    from workflows.engine import sweep

    _set(sweep, "free_expired_leases", lambda: 0)


def switch_sweep_off() -> None:
    """Nobody rings again for bells that were lost."""
    from workflows import beat

    _set(beat.Scheduler, "_sweep", lambda self: None)


MUTANTS: dict[str, Callable[[], None]] = {
    "fence dropped": drop_fence,
    "bell before commit": ring_before_commit,
    "claim without its condition": claim_what_is_claimed,
    "attempt row after the effect": write_attempt_after_effect,
    "begun attempt forgotten": forget_begun_attempts,
    "lease never expires": keep_leases_forever,
    "sweep off": switch_sweep_off,
}


def _set(owner: Any, name: str, value: Any) -> None:
    """Replace what is there; a name that is gone must not leave a mutant without its bug."""
    getattr(owner, name)
    setattr(owner, name, value)


def _replace(owner: Any, name: str, text: str, by: str) -> None:
    before = getattr(owner, name)
    if text not in before:
        raise LookupError(f"{name} no longer holds {text!r}: plant this bug anew")
    setattr(owner, name, before.replace(text, by))
