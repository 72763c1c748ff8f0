"""What the suite adds to its own processes when they start: a clock that it can move, and one more fault point.

No product file knows of it. CHAOS_CLOCK names a file with the seconds by which the clock is ahead; CHAOS_MUTANT
a bug of `tests.chaos.planted`.
"""

import mmap
import os
import struct
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.apps import AppConfig

OFFSET = struct.Struct("<d")


class Hooks(AppConfig):
    name = "tests.chaos"
    label = "chaos"

    def ready(self) -> None:
        from tests.chaos.planted import MUTANTS

        if file := os.environ.get("CHAOS_CLOCK"):
            follow_clock(Path(file))
        die_before_bells()
        if mutant := os.environ.get("CHAOS_MUTANT"):
            MUTANTS[mutant]()


def follow_clock(file: Path) -> None:
    """Let `core.clock` be as far ahead as the file says at each moment, in every process at once."""
    from core import clock

    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), OFFSET.size, prot=mmap.PROT_READ)

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=OFFSET.unpack_from(offset)[0])

    clock.now = now


def set_clock(file: Path, seconds: float) -> None:
    """Move the clock of every process that follows `file`."""
    with file.open("r+b" if file.exists() else "w+b") as opened:
        opened.write(OFFSET.pack(seconds))


def die_before_bells() -> None:
    """Add the fault point `before_bell`: what it tells of is committed, and nobody has heard of it."""
    from core import faults
    from workflows import enqueue

    ring = enqueue.ring_lane

    def ring_or_die(lane: str, *, countdown_seconds: float = 0.0) -> None:
        # The beat rings for what is known already.
        if "beat" not in sys.argv:
            faults.point("before_bell")
        ring(lane, countdown_seconds=countdown_seconds)

    enqueue.ring_lane = ring_or_die
