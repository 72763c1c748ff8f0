"""The product's clock: waits, slots and limits read it; leases read PostgreSQL's instead.

Tests move it with `moved_to`; nothing else does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

_offset = timedelta(0)


def now() -> datetime:
    """Return the current time in UTC (aware)."""
    return datetime.now(UTC) + _offset


def real_now() -> datetime:
    """Return the machine's time in UTC (aware), which tests do not move: for what leases are compared with."""
    return datetime.now(UTC)


def offset() -> timedelta:
    """Return how far tests have moved the clock: what a statement adds to PostgreSQL's own time."""
    return _offset


@contextmanager
def moved_by(**delta: float) -> Iterator[None]:
    """Move the clock of this process forward (or back) for the length of a `with` block."""
    global _offset
    before = _offset
    _offset = before + timedelta(**delta)
    try:
        yield
    finally:
        _offset = before
