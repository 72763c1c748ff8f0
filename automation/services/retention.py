"""Retention of the event store: EVENT_STORE_RETENTION_DAYS, in short batches, never what is not dispatched yet."""

import time
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Min
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric

from automation.models import Event
from core import clock

BATCH = 2000
PAUSE_SECONDS = 60.0
_rests_until = 0.0

pruned_total = Counter("automation_events_pruned_total", "Events removed by retention.")

_DELETE = """
DELETE FROM event_store WHERE dispatched_at IS NOT NULL AND id = ANY(ARRAY(
  SELECT id FROM event_store WHERE created_at < %s AND dispatched_at IS NOT NULL
  ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED))
"""


def prune_events(*, budget_seconds: float = 0.2) -> int:
    """Remove old events, a batch a transaction; rests for a minute once none is left. Returns how many went."""
    global _rests_until
    ends_at = time.monotonic() + budget_seconds
    removed = 0
    while _rests_until <= time.monotonic() < ends_at:
        done = _delete_batch()
        removed += done
        if done < BATCH:
            _rests_until = time.monotonic() + PAUSE_SECONDS
    pruned_total.inc(removed)
    return removed


def gauges() -> list[Metric]:
    """Return the age of the oldest event (0 without any)."""
    oldest = Event.objects.order_by().aggregate(oldest=Min("created_at"))["oldest"]
    age = (clock.now() - oldest).total_seconds() if oldest else 0.0
    return [GaugeMetricFamily("automation_oldest_event_age_seconds", "Age of the oldest stored event.", value=age)]


def _delete_batch() -> int:
    before = clock.now() - timedelta(days=settings.EVENT_STORE_RETENTION_DAYS)
    with connection.cursor() as cursor:
        cursor.execute(_DELETE, [before, BATCH])
        return int(cursor.rowcount)
