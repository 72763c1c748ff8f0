"""Celery tasks: a bell in, one service call. Acked early; the sweep rings again for what was lost."""

from celery import shared_task

from files import services as files
from workflows import services
from workflows.choices import Lane


@shared_task(name="workflows.drain", ignore_result=True, acks_late=False)
def drain(lane: str) -> None:
    """Hold processed files against triggers (flow lane), then run due branches of the lane."""
    try:
        if lane == Lane.FLOW:
            services.evaluate_due_files()
        elif lane == Lane.FILES:
            # Both kinds of work share the lane's bells; neither may starve the other.
            files.extract_due_files(budget_seconds=2.5)
    finally:
        services.drain_lane(Lane(lane))
