"""Celery tasks: a bell in, one service call. Acked early; the sweep rings again for what was lost."""

from celery import shared_task

from automation import services


@shared_task(name="automation.dispatch", ignore_result=True, acks_late=False)
def dispatch() -> None:
    """Take committed events to whatever waits for them."""
    services.dispatch_events()
