"""The sweep: finds work that nobody heard of, and rings for it (ENGINE 1)."""

import time

from django.conf import settings
from django.db import DatabaseError, connection

from core import clock, logs
from workflows import enqueue
from workflows.choices import Lane
from workflows.engine import lease
from workflows.engine.slots import sweep_slots
from workflows.engine.stop import end_unclaimed

log = logs.get(__name__)

STOPS_PER_SWEEP = 200
_swept_at = 0.0


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
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE workflow_executions SET stop_requested = 'timeout', updated_at = %s"
            " WHERE status IN ('pending', 'running') AND deadline_at <= %s AND stop_requested = ''",
            [clock.now(), clock.now()],
        )
        cursor.execute(
            "SELECT b.execution_id FROM workflow_branches b JOIN workflow_executions e ON e.id = b.execution_id"
            " WHERE e.stop_requested <> '' AND e.status IN ('pending', 'running') AND b.claimed_by = ''"
            " AND e.ends_as = '' LIMIT %s",
            [STOPS_PER_SWEEP],
        )
        idle = [row[0] for row in cursor.fetchall()]
    for execution_id in idle:
        try:
            end_unclaimed(execution_id)
        except DatabaseError:
            log.exception("stop.failed", execution_id=execution_id)
    stop_orphans()
    return len(idle)


def stop_orphans() -> int:
    """Ask executions to stop whose parent waited for them and ended, should its worker have died before it could."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE workflow_executions c SET stop_requested = 'cancel', updated_at = %s"
            " FROM workflow_executions p WHERE p.id = c.parent_id AND c.wakes_branch_id IS NOT NULL"
            " AND c.status IN ('pending', 'running') AND c.stop_requested = '' AND c.ends_as = ''"
            " AND p.status IN ('failed', 'cancelled', 'timeout')",
            [clock.now()],
        )
        return int(cursor.rowcount)


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
