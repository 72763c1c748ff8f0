"""What a bell makes a worker do: claim due branches and run them, for at most a few seconds."""

import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError

from core import logs
from workflows import enqueue
from workflows.choices import BranchKind, Lane
from workflows.engine import lease, program, stop
from workflows.engine.compensation import Compensation
from workflows.engine.finals import Finals, LastSteps
from workflows.engine.lease import Claim
from workflows.engine.runner import GIVEN_UP, MOST_RECOVERIES, Slice, reason_of

log = logs.get(__name__)

DRAIN_SECONDS = 5.0
# Steps of these lanes hold a worker, so each worker takes one branch at a time and calls the next worker.
SLICES: dict[str, type[Slice]] = {BranchKind.COMPENSATION: Compensation, BranchKind.FINALLY: Finals}
BATCH_BY_LANE = {Lane.FLOW: lease.BATCH, Lane.IO: 1, Lane.FILES: 1}


def drain(lane: Lane) -> int:
    """Run due branches of `lane` until none is left or the time is up; ring once if work is left.

    Returns how many slices were run. Each slice commits alone.
    """
    ends_at = time.monotonic() + DRAIN_SECONDS
    done = 0
    while time.monotonic() < ends_at:
        claims = lease.claim(lane, limit=BATCH_BY_LANE[lane])
        if not claims:
            return done
        if lane != Lane.FLOW and claims[0].more_due:
            enqueue.ring_lane(lane)
        done += _run_all(claims, lane, ends_at)
    enqueue.ring_lane(lane)
    return done


def _run_all(claims: list[Claim], lane: Lane, ends_at: float) -> int:
    waiting = list(claims)
    done = 0

    def hand_back() -> None:
        """Give the unstarted claims to others before a step that may take long."""
        if waiting:
            lease.hand_back(waiting)
            waiting.clear()
            enqueue.ring_lane(lane)

    try:
        while waiting and time.monotonic() < ends_at:
            claim = waiting.pop(0)
            with logs.bound(execution_id=claim.execution_id, correlation_id=claim.correlation_id):
                _run(claim, lane, hand_back)
            done += 1
    finally:
        hand_back()
    return done


def _kind_of(claim: Claim) -> type[Slice]:
    """Return what runs a branch; those that finally-steps begin are of no kind of their own."""
    is_last = claim.parent_id is not None and program.of_version(claim.version_id).is_last(claim.cursor)
    return LastSteps if is_last else SLICES.get(claim.kind, Slice)


def _run(claim: Claim, lane: Lane, hand_back: Callable[[], None]) -> None:
    """Run one slice. An execution that cannot be run at all ends here: it would come again for ever."""
    if claim.recoveries > MOST_RECOVERIES + 1:  # the slice that was to end it did not either
        stop.give_up(claim, code="recovery_exhausted", message=GIVEN_UP)
        return
    try:
        made = _kind_of(claim)(claim, lane=lane, hand_back=hand_back)
    except (OperationalError, InterfaceError):
        raise  # the database is away: the lease runs out, and somebody else goes on
    except Exception as error:
        log.exception("slice.not_made", execution_id=claim.execution_id, branch_id=claim.branch_id)
        stop.give_up(claim, code="checkpoint_refused", message=reason_of(error))
        return
    made.run()
