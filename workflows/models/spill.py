"""Outputs that are too large for their row."""

from django.db import models

from core import clock


class Spill(models.Model):
    """An output in the storage; step attempts name it by `spill_id`.

    The row is committed before the bytes are written, and `check_at` says when to look whether an attempt names it:
    what a crash or retention left without one is found by that, without listing the storage.
    """

    path = models.CharField(max_length=128, help_text="Name in the storage.")
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=clock.now)
    check_at = models.DateTimeField(null=True, help_text="Null: an attempt names it.")

    class Meta:
        db_table = "workflow_spills"
        indexes = (
            # Reader: the sweep of what no attempt names.
            models.Index(fields=("check_at",), name="spills_to_check", condition=models.Q(check_at__isnull=False)),
        )

    def __str__(self) -> str:
        return f"{self.path} ({self.size_bytes} bytes)"
