"""Retention of files: FILE_RETENTION_DAYS after their upload they are deleted as by a user, in short batches.

Only files whose processing has ended, and never those that live work needs (`signals.files_expiring`). Their rows stay
as those of any deleted file do: what was made from them, and what they have started, still names them.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from prometheus_client import Counter

from core import clock
from files import signals, transitions
from files.errors import FileNotFound
from files.models import File
from files.services.deletion import LEFT_BYTES, delete_file

ACTOR = "retention"
WINDOW = 100
# How long after having seen everything that is old the next round begins.
PAUSE_SECONDS = 300.0
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

removed_total = Counter("automation_files_removed_by_retention_total", "Files that retention has deleted.")

# From the oldest on by an index, whose condition the statement repeats.
_OLD = """
SELECT id, created_at FROM files
WHERE NOT (status = 'deleted') AND status = ANY(%(ended)s)
  AND created_at < %(before)s AND (created_at, id) > (%(after)s, %(after_id)s)
ORDER BY created_at, id LIMIT %(window)s
"""


@dataclass
class Round:
    """How far this process has come: what is in use is passed over once a round."""

    after: datetime = _BEGINNING
    after_id: int = 0
    rests_until: float = 0.0


_round = Round()


def remove_old_files(*, budget_seconds: float = 0.2) -> int:
    """Delete files that were kept long enough, for about `budget_seconds`; call it again and again.

    Any number of processes may do so at once. Returns how many were deleted.
    """
    ends_at = time.monotonic() + budget_seconds
    removed = 0
    while settings.FILE_RETENTION_DAYS and _round.rests_until <= time.monotonic() < ends_at:
        _round.rests_until = 0.0
        window = _look_at_old()
        in_use = _in_use([key for key, _ in window])
        for key, created_at in window:
            if time.monotonic() >= ends_at:
                return removed
            removed += key not in in_use and _remove(key)
            if _round.rests_until:
                return removed
            _round.after, _round.after_id = created_at, key
        if len(window) < WINDOW:
            begin_again(pause_seconds=PAUSE_SECONDS)
    return removed


def begin_again(*, pause_seconds: float = 0.0) -> None:
    """Let the next round begin from the oldest file, after a pause."""
    global _round
    _round = Round(rests_until=time.monotonic() + pause_seconds if pause_seconds else 0.0)


def _look_at_old() -> list[tuple[int, datetime]]:
    with connection.cursor() as cursor:
        cursor.execute(
            _OLD,
            {
                "ended": list(transitions.ENDED),
                "before": clock.now() - timedelta(days=settings.FILE_RETENTION_DAYS),
                "after": _round.after,
                "after_id": _round.after_id,
                "window": WINDOW,
            },
        )
        return list(cursor.fetchall())


def _in_use(keys: list[int]) -> set[int]:
    """Ask every app above which of these files its live work needs."""
    if not keys:
        return set()
    answers: list[tuple[Any, Any]] = signals.files_expiring.send(sender=File, file_ids=keys)
    return set[int]().union(*(answer for _, answer in answers))


def _remove(key: int) -> bool:
    file = File.objects.select_related("owner").filter(pk=key, status__in=transitions.ENDED).first()
    if file is None:
        return False
    try:
        delete_file(file, actor=ACTOR)
    except FileNotFound:
        # Deleted by somebody else in this very moment.
        return False
    if File.objects.filter(pk=key, error_code=LEFT_BYTES).exclude(error_message="").exists():
        # The storage is away: more bytes without a row would only give the sweep more to do.
        begin_again(pause_seconds=PAUSE_SECONDS)
    removed_total.inc()
    return True
