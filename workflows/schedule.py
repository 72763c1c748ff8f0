"""When something is due: one pure generator of slots for cron expressions, intervals and single moments.

Cron follows Vixie's rules (the `cronsim` package follows Debian's cron): day-of-month and day-of-week are joined
by OR when both are restricted, 7 is Sunday. Over changes of the clock: an expression with plain minutes and hours
that names a wall time which does not exist is due once, when the gap ends, and one that comes twice is due once;
with a wildcard or a step in minute or hour it is due at every real occurrence.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from core import clock

# No zone has ever moved its clocks by more than a day.
LARGEST_SHIFT = timedelta(hours=25)
SHORTEST_INTERVAL = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cron:
    """Five fields, read on the wall clocks of a zone (an IANA name)."""

    text: str
    zone: str = "UTC"

    def slots(self, after: datetime) -> Iterator[datetime]:
        """Yield the slots after a moment, in UTC, each later than the one before. Raises CronSimError."""
        zone = ZoneInfo(self.zone)
        if self.zone == "UTC":
            return (slot.replace(tzinfo=UTC) for slot in CronSim(self.text, after.astimezone(UTC).replace(tzinfo=None)))
        walls = CronSim(self.text, _first_wall_time(after, zone))
        minute, hour = self.text.split()[:2]
        is_fixed = not set("*/") & set(minute + hour)
        found = _once_each(walls, zone) if is_fixed else _every_occurrence(walls, zone)
        return _ascending(found, after)

    def __str__(self) -> str:
        return f"cron {self.text} {self.zone}"


@dataclass(frozen=True)
class Every:
    """Every so often, counted from a fixed moment: whoever asks gets the same slots."""

    step: timedelta
    anchor: datetime

    def slots(self, after: datetime) -> Iterator[datetime]:
        """Yield the slots after a moment; the anchor itself is the first that there is."""
        slot = self.anchor + max(0, (after - self.anchor) // self.step + 1) * self.step
        while True:
            yield slot
            slot += self.step

    def __str__(self) -> str:
        return f"every {self.step.total_seconds():g} s"


@dataclass(frozen=True)
class Once:
    """One moment."""

    at: datetime

    def slots(self, after: datetime) -> Iterator[datetime]:
        """Yield the moment if it is still to come."""
        if self.at > after:
            yield self.at

    def __str__(self) -> str:
        return f"at {self.at.isoformat()}"


Timing = Cron | Every | Once


@dataclass(frozen=True)
class Timetable:
    """A timing between two moments: not before `starts_at`, not from `ends_at` on."""

    timing: Timing
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def slots(self, after: datetime) -> Iterator[datetime]:
        """Yield the slots after a moment, in UTC, each later than the one before."""
        if self.starts_at is not None:
            after = max(after, self.starts_at - _TICK)
        found = self.timing.slots(after)
        ends_at = self.ends_at
        return found if ends_at is None else takewhile(lambda slot: slot < ends_at, found)

    def first(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment, or None if there is none (for cron: within 50 years)."""
        return next(self.slots(after), None)

    def __str__(self) -> str:
        limits = (("from", self.starts_at), ("until", self.ends_at))
        return " ".join([str(self.timing), *(f"{word} {at.isoformat()}" for word, at in limits if at)])


def next_slots(expression: str, *, count: int, after: datetime | None = None, zone: str = "UTC") -> list[datetime]:
    """Return the next `count` slots of a valid five-field expression, in UTC."""
    return list(islice(Cron(expression, zone).slots(after or clock.now()), count))


def is_cron(expression: str) -> bool:
    """Tell whether the text is a five-field cron expression."""
    try:
        CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001  (a wall time: any will do)
    except CronSimError:
        return False
    return len(expression.split()) == 5  # noqa: PLR2004


def in_words(expression: str) -> str:
    """Return a cron expression as an English phrase; the expression itself if it is none."""
    return CronSim(expression, datetime(2000, 1, 1)).explain() if is_cron(expression) else expression  # noqa: DTZ001


def _first_wall_time(after: datetime, zone: tzinfo) -> datetime:
    """Return the wall time to begin at: earlier if clocks changed lately, since a wall time may come again."""
    local, before = after.astimezone(zone), (after - LARGEST_SHIFT).astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    return wall if local.utcoffset() == before.utcoffset() else wall - LARGEST_SHIFT


def _once_each(walls: Iterator[datetime], zone: tzinfo) -> Iterator[datetime]:
    """Yield one moment per wall time: the first of two, or the end of the gap it lies in."""
    for wall in walls:
        yield next(iter(_moments_of(wall, zone)), None) or _end_of_gap(wall, zone)


def _every_occurrence(walls: Iterator[datetime], zone: tzinfo) -> Iterator[datetime]:
    """Yield every moment at which clocks show a wall time, in the order of time.

    The second occurrences of an hour that comes twice wait in a heap until its first occurrences are over.
    """
    later: list[datetime] = []
    for wall in walls:
        moments = _moments_of(wall, zone)
        while later and moments and later[0] <= moments[0]:
            yield heapq.heappop(later)
        yield from moments[:1]
        for moment in moments[1:]:
            heapq.heappush(later, moment)
    yield from sorted(later)


def _moments_of(wall: datetime, zone: tzinfo) -> list[datetime]:
    """Return when clocks of the zone show a wall time: never, once or twice; in UTC, in order."""
    found = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(at for at in found if at.astimezone(zone).replace(tzinfo=None, fold=0) == wall)


def _end_of_gap(wall: datetime, zone: tzinfo) -> datetime:
    """Return the first moment after a wall time that clocks leap over."""
    while not (moments := _moments_of(wall, zone)):
        wall = wall.replace(second=0) + _MINUTE
    return moments[0]


def _ascending(moments: Iterator[datetime], after: datetime) -> Iterator[datetime]:
    """Yield what comes after a moment, without repeats."""
    latest = after
    for moment in moments:
        if moment > latest:
            latest = moment
            yield moment
