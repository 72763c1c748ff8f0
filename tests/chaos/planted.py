"""Bugs for the suite to find, planted in its own processes by `tests.chaos.hooks`; CHAOS_MUTANT names one.

No product file knows of them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Longer than a worker needs to hear a bell and look.
OPEN_TRANSACTION_SECONDS = 0.1
# Longer than a web process under load needs to begin with a handful of requests.
COUNTING_SECONDS = 0.6


def drop_fence() -> None:
    """Checkpoints and ends do not ask who holds the branch."""
    from workflows.engine import checkpoint

    held = " AND fence = %(fence)s AND claimed_by = %(me)s"
    for name in ("_KEEP", "_RELEASE", "_END"):
        _replace(checkpoint, name, held, "")


def ring_before_commit() -> None:
    """A start's bell is rung inside its transaction; the beat, which makes up for such bells, is silent."""
    from workflows import beat, enqueue
    from workflows.choices import Lane
    from workflows.engine import sweep

    def ring_at_once(lane: Lane | str) -> None:
        enqueue.ring_lane(lane)
        time.sleep(OPEN_TRANSACTION_SECONDS)

    def ring_for_nothing(lane: Lane) -> int:
        return 0

    _set(enqueue, "ring_lane_on_commit", ring_at_once)
    _set(sweep, "_ring_for_due", ring_for_nothing)
    _set(beat.Scheduler, "_call_roll", lambda self: None)


def claim_what_is_claimed() -> None:
    """A claim takes branches that somebody holds."""
    from workflows.engine import lease

    _replace(lease, "_CLAIM", " AND claimed_by = ''", "")


def drop_advisory_lock() -> None:
    """Who counts the holders of slots does not lock the key; counting takes long enough for others to count too."""
    from workflows.engine import slots

    pause = f"pg_sleep({COUNTING_SECONDS})"
    _replace(slots, "_LOCK", "pg_advisory_xact_lock(hashtextextended(%(key)s, %(workflow)s))", pause)


def drop_parent_lock() -> None:
    """A branch that ends counts its siblings before it locks their parent."""
    from workflows.engine import checkpoint

    hot_cursor = checkpoint.hot_cursor

    @contextmanager
    def telling_last() -> Iterator[Any]:
        with hot_cursor() as cursor:
            yield _TellsParentLast(cursor, tell=checkpoint._TELL_PARENT, last=checkpoint._STOP_REQUESTED)

    _replace(checkpoint, "_LOCK_PARENT", " FOR UPDATE", "")
    _set(checkpoint, "hot_cursor", telling_last)


class _TellsParentLast:
    """A cursor that puts off the statement which would lock the parent, and takes its time before."""

    def __init__(self, cursor: Any, *, tell: str, last: str) -> None:
        self._cursor = cursor
        self._tell, self._last = tell, last
        self._told: Any = None

    def execute(self, statement: str, values: Any = None) -> None:
        if statement == self._tell:
            self._told = values
            return
        if statement == self._last and self._told is not None:
            time.sleep(OPEN_TRANSACTION_SECONDS)
            self._cursor.execute(self._tell, self._told)
        self._cursor.execute(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


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
    from workflows.engine import branching, context

    load = context.load_history

    def load_ended(*args: Any) -> context.History:
        history = load(*args)
        history.stored = {path: row for path, row in history.stored.items() if row.status != StepStatus.RUNNING}
        return history

    _set(branching, "load_history", load_ended)


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
    "claim without status": claim_what_is_claimed,
    "advisory lock removed": drop_advisory_lock,
    "parent lock removed": drop_parent_lock,
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
