"""Slots of cron expressions, by Vixie's rules (the `cronsim` package follows Debian's cron)."""

from datetime import datetime
from itertools import islice

from cronsim import CronSim

from core import clock


def next_slots(expression: str, *, count: int, after: datetime | None = None) -> list[datetime]:
    """Return the next `count` slots of a valid five-field expression, in UTC."""
    return list(islice(CronSim(expression, after or clock.now()), count))
