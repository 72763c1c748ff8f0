"""The bell of the files lane, and what its workers share."""

from typing import Any

from celery import shared_task
from celery.signals import celeryd_after_setup
from django.conf import settings

from files import enqueue, fork_server, services


@shared_task(name=enqueue.EXTRACT_DUE_FILES, ignore_result=True, acks_late=False)
def extract_due_files() -> None:
    """Drain due files for a few seconds and ring once more if some are left."""
    if services.extract_due_files():
        enqueue.extraction()


@celeryd_after_setup.connect(dispatch_uid="files.share_fork_server")
def share_fork_server(instance: Any, **kwargs: Any) -> None:
    """Start one warm server for all processes of a worker of this lane, before its pool is forked."""
    if settings.EXTRACT_WARM_SERVER and enqueue.QUEUE in instance.app.amqp.queues.consume_from:
        fork_server.share()
