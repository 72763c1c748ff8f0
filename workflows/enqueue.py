"""The only door from workflows to Celery: bells, by task name."""

from django.db import transaction

from core import bells
from workflows.choices import Lane

DRAIN_TASK = "workflows.drain"


def ring_lane(lane: Lane | str, *, countdown_seconds: float = 0.0) -> None:
    """Ring a lane's workers at once; only for work that is committed already."""
    bells.ring(DRAIN_TASK, queue=str(lane), countdown_seconds=countdown_seconds, kwargs={"lane": str(lane)})


def ring_lane_on_commit(lane: Lane | str) -> None:
    """Ring a lane's workers when the present transaction has committed; never if it rolls back."""
    transaction.on_commit(lambda: ring_lane(lane))
