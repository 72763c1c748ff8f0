"""The door to Celery: bells only; the rows are the queue."""

from django.db import transaction

from core import bells

EXTRACT_DUE_FILES = "files.extract_due_files"
QUEUE = "files"


def extraction() -> None:
    """Ring for due files once the present transaction is committed."""
    transaction.on_commit(lambda: bells.ring(EXTRACT_DUE_FILES, queue=QUEUE))
