"""Celery tasks: a bell in, one service call. Acked early; the sweep rings again for what was lost."""

from typing import Any

from celery import shared_task

from files import services as files
from workflows import services
from workflows.choices import Lane


@shared_task(name="workflows.drain", ignore_result=True, acks_late=False)
def drain(lane: str) -> None:
    """Hold processed files against triggers and look for slots (flow lane), then run due branches of the lane."""
    try:
        if lane == Lane.FLOW:
            services.evaluate_due_files()
            services.run_overdue_slots()
        elif lane == Lane.FILES:
            # Both kinds of work share the lane's bells; neither may starve the other.
            files.extract_due_files(budget_seconds=2.5)
    finally:
        services.drain_lane(Lane(lane))


@shared_task(name="workflows.run_schedule", ignore_result=True, acks_late=False)
def run_schedule(*args: Any, **kwargs: Any) -> None:
    """Look for due slots. The name marks the periodic tasks of workflows, which beat's own tick starts.

    Sent by hand it does no harm, whatever arguments it carries: only what is due runs, once.
    """
    services.run_due_slots()
