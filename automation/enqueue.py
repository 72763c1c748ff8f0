"""The only door from automation to Celery: bells, by task name."""

from django.db import transaction

from core import bells

DISPATCH_TASK = "automation.dispatch"
QUEUE = "flow"


def ring_dispatcher() -> None:
    """Ring for the dispatcher at once; only for events that are committed already."""
    bells.ring(DISPATCH_TASK, queue=QUEUE)


def ring_dispatcher_on_commit() -> None:
    """Ring for the dispatcher when the present transaction has committed; never if it rolls back."""
    transaction.on_commit(ring_dispatcher)
