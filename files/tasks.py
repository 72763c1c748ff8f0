"""The bell of the files lane."""

from celery import shared_task

from files import enqueue, services


@shared_task(name=enqueue.EXTRACT_DUE_FILES, ignore_result=True, acks_late=False)
def extract_due_files() -> None:
    """Drain due files for a few seconds and ring once more if some are left."""
    if services.extract_due_files():
        enqueue.extraction()
