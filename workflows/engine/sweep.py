"""The sweep: finds work that nobody heard of, and rings for it (ENGINE 1)."""

import time

from django.conf import settings
from django.db import connection

from core import clock, logs
from workflows import enqueue
from workflows.choices import Lane
from workflows.engine import lease
from workflows.engine.slots import sweep_slots
from workflows.engine.stop import end_unclaimed

log = logs.get(__name__)

STOPS_PER_SWEEP = 200
# So many are asked to stop by one statement; the next sweep asks the rest.
ASKED_PER_SWEEP = 5_000
_swept_at = 0.0
# Where the next sweep goes on: what cannot be ended now must not stand before what can.
_stops_after = 0

# Rows are locked in the order of their keys by all who ask several executions at once: no two wait for each other.
_ASK_OVERDUE = """
UPDATE workflow_executions SET stop_requested = 'timeout', updated_at = %(now)s WHERE id = ANY(ARRAY(
  SELECT id FROM workflow_executions
  WHERE status IN ('pending', 'running') AND deadline_at <= %(now)s AND stop_requested = '' AND ends_as = ''
  ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
))
"""
_ASK_ORPHANS = """
UPDATE workflow_executions SET stop_requested = 'cancel', updated_at = %(now)s WHERE id = ANY(ARRAY(
  SELECT c.id FROM workflow_executions c JOIN workflow_executions p ON p.id = c.parent_id
  WHERE c.wakes_branch_id IS NOT NULL AND c.status IN ('pending', 'running') AND c.stop_requested = ''
    AND c.ends_as = '' AND p.status IN ('failed', 'cancelled', 'timeout')
  ORDER BY c.id LIMIT %(most)s FOR UPDATE OF c SKIP LOCKED
))
"""
_IDLE = """
SELECT e.id FROM workflow_executions e
WHERE e.stop_requested <> '' AND e.status IN ('pending', 'running') AND e.ends_as = '' AND e.id > %(after)s
  AND EXISTS (SELECT 1 FROM workflow_branches b WHERE b.execution_id = e.id)
  AND NOT EXISTS (SELECT 1 FROM workflow_branches b WHERE b.execution_id = e.id AND b.claimed_by <> '')
ORDER BY e.id LIMIT %(most)s
"""


def sweep() -> int:
    """Free expired leases, end what overstayed its time, and ring once per process that has work.

    Returns the number of due branches seen (capped by what the lanes can take at once).
    """
    free_expired_leases()
    stop_overdue_executions()
    sweep_slots()
    return sum(_ring_for_due(lane) for lane in Lane)


def sweep_if_stale() -> None:
    """Sweep unless this process did so within the sweep's interval: at the end of drains, should beat be down."""
    global _swept_at
    now = time.monotonic()
    if now - _swept_at >= settings.SWEEP_INTERVAL_SECONDS:
        _swept_at = now
        sweep()


def free_expired_leases() -> int:
    """Make branches claimable again whose holder stopped renewing; counts a recovery on each."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE workflow_branches SET claimed_by = '', lease_until = NULL, recoveries = recoveries + 1"
            " WHERE lease_until < clock_timestamp()"
        )
        freed = int(cursor.rowcount)
    if freed:
        log.warning("lease.expired", branches=freed)
    return freed


def stop_overdue_executions() -> int:
    """Ask executions past their deadline to stop, and end those that nobody works on."""
    _ask(_ASK_OVERDUE)
    idle = _idle_executions()
    for execution_id in idle:
        try:
            end_unclaimed(execution_id)
        except Exception:  # whatever is wrong with one, the others are to end
            log.exception("stop.failed", execution_id=execution_id)
    stop_orphans()
    return len(idle)


def stop_orphans() -> int:
    """Ask executions to stop whose parent waited for them and ended, should its worker have died before it could."""
    return _ask(_ASK_ORPHANS)


def _ask(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"now": clock.now(), "most": ASKED_PER_SWEEP})
        return int(cursor.rowcount)


def _idle_executions() -> list[int]:
    """Return executions that were asked to stop and that no worker holds, each sweep further on."""
    global _stops_after
    with connection.cursor() as cursor:
        cursor.execute(_IDLE, {"after": _stops_after, "most": STOPS_PER_SWEEP})
        idle = [execution_id for (execution_id,) in cursor.fetchall()]
    _stops_after = idle[-1] if len(idle) == STOPS_PER_SWEEP else 0
    return idle


def _ring_for_due(lane: Lane) -> int:
    processes = settings.LANE_CONCURRENCY[lane]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM workflow_branches"
            "  WHERE lane = %(lane)s AND claimed_by = '' AND waiting_on = '' LIMIT %(most)s) ready)"
            " + (SELECT count(*) FROM (SELECT 1 FROM workflow_branches"
            "  WHERE lane = %(lane)s AND claimed_by = '' AND wake_at <= %(now)s LIMIT %(most)s) timers)",
            {"lane": lane, "now": clock.now(), "most": processes * lease.BATCH},
        )
        due = int(cursor.fetchone()[0])
    bells = min(-(-due // lease.BATCH) if lane == Lane.FLOW else due, processes)
    for _ in range(bells):
        enqueue.ring_lane(lane)
    return due
