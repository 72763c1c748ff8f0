"""Enumerations of files."""

from django.db.models import TextChoices


class FileStatus(TextChoices):
    """The life of an upload (contract 4): uploaded -> processing -> processed | failed; deleted is soft."""

    UPLOADED = "uploaded"
    PROCESSING = "processing"
    PROCESSED = "processed"
    FAILED = "failed"
    DELETED = "deleted"
