"""When something is due: one pure generator of slots for cron expressions, intervals and single moments.

Cron follows Vixie's rules (the `cronsim` package follows Debian's cron): day-of-month and day-of-week are joined
by OR when both are restricted, 7 is Sunday. Over changes of the clock: an expression with plain minutes and hours
that names a wall time which does not exist is due once, when the gap ends, and one that comes twice is due once;
with a wildcard or a step in minute or hour it is due at every real occurrence.

There are slots between EARLIEST and LATEST only: whatever moments and intervals a row holds, none leaves the calendar.
"""

import heapq
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from core import clock

# No zone has ever moved its clocks by more than a day.
LARGEST_SHIFT = timedelta(hours=25)
SHORTEST_INTERVAL = timedelta(seconds=1)
LONGEST_INTERVAL = timedelta(days=36_500)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
LONGEST_CRON = 100
BAD_CRON = "Invalid cron schedule format"
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_WEEKDAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
_MINUTE = timedelta(minutes=1)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Field:
    """What a field of a cron expression may hold, and the width of its column."""

    largest: int
    longest: int
    names: str = ""

    def pattern(self) -> str:
        """Return the pattern of a field: a list of values, ranges and stars; ranges and stars may have a step."""
        ranges, values = [r"\*", "[0-9]{1,2}-[0-9]{1,2}"], ["[0-9]{1,2}"]
        if self.names:
            ranges, values = [*ranges, f"(?:{self.names})-(?:{self.names})"], [*values, self.names]
        item = f"(?:(?:{'|'.join(ranges)})(?:/[0-9]{{1,2}})?|{'|'.join(values)})"
        return f"{item}(?:,{item})*"


_FIELDS = (_Field(59, 240), _Field(23, 96), _Field(31, 124), _Field(12, 64, _MONTHS), _Field(7, 64, _WEEKDAYS))


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
        number = max(0, (after - self.anchor) // self.step + 1)
        with suppress(OverflowError):  # the calendar ends with the year 9999
            slot = self.anchor + number * self.step
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
        after = max(after, EARLIEST)
        if self.starts_at is not None and self.starts_at > after:
            after = self.starts_at - _TICK
        if after >= LATEST:
            return iter(())
        ends_at = min(self.ends_at or LATEST, LATEST)
        return takewhile(lambda slot: slot < ends_at, self.timing.slots(after))

    def first(self, after: datetime) -> datetime | None:
        """Return the first slot after a moment, or None if there is none (for cron: within 50 years)."""
        return next(self.slots(after), None)

    def newest(self, after: datetime, until: datetime, *, count: int) -> list[datetime]:
        """Return the last `count` slots after one moment and up to another, in order; all if there are fewer.

        Looks back from the end in spans that double, so that a year of minutes costs what its last day does.
        """
        after, span = max(after, EARLIEST), count * SHORTEST_INTERVAL
        found: list[datetime] = []
        while len(found) < count and after < until:
            begin = max(after, until - span)
            found = [*takewhile(until.__ge__, self.slots(begin)), *found]
            until, span = begin, 2 * span
        return found[-count:]

    def __str__(self) -> str:
        limits = (("from", self.starts_at), ("until", self.ends_at))
        return " ".join([str(self.timing), *(f"{word} {at.isoformat()}" for word, at in limits if at)])


def next_slots(expression: str, *, count: int, after: datetime | None = None, zone: str = "UTC") -> list[datetime]:
    """Return the next `count` slots of a valid five-field expression, in UTC."""
    return list(islice(Cron(expression, zone).slots(after or clock.now()), count))


def is_cron(expression: str) -> bool:
    """Tell whether the text is a cron expression: the one rule for the API, the admin and beat.

    Five fields as crontab(5) writes them, 100 characters at most, that come at some time: no `L`, `W` or `#`, no
    step after a single value or beyond its field, and no field that django-celery-beat's columns cannot hold.
    """
    fields = re.split(r"[ \t]+", expression.strip()) if len(expression) <= LONGEST_CRON else []
    if len(fields) != len(_FIELDS) or not all(map(_is_field, fields, _FIELDS)):
        return False
    try:
        CronSim(expression, datetime(2000, 1, 1))  # noqa: DTZ001  (a wall time: any will do)
    except CronSimError:
        return False
    return True


def in_words(expression: str) -> str:
    """Return a cron expression as an English phrase; the expression itself if it is none."""
    return CronSim(expression, datetime(2000, 1, 1)).explain() if is_cron(expression) else expression  # noqa: DTZ001


def _is_field(text: str, field: _Field) -> bool:
    """Tell whether a field is written as it should be; CronSim looks at its values."""
    if len(text) > field.longest or not re.fullmatch(field.pattern(), text, re.IGNORECASE | re.ASCII):
        return False
    return all(int(step) <= field.largest for step in re.findall(r"/([0-9]+)", text))


def _first_wall_time(after: datetime, zone: tzinfo) -> datetime:
    """Return the earliest wall time that clocks show after a moment: they may be put back soon, and show it again."""
    soon = (after.astimezone(zone), (after + LARGEST_SHIFT).astimezone(zone))
    offset = min(local.utcoffset() or timedelta(0) for local in soon)
    return (after.astimezone(UTC) + offset).replace(tzinfo=None)


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
