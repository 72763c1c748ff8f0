"""The event store: one append-only table of everything that happened (design ENGINE 8).

Rules, which react to events, come with their own issue; the table is final from the start.
"""

from django.db import models

from core import clock, ids


class Event(models.Model):
    """One fact, written in the transaction of what it tells of."""

    uuid = models.UUIDField(default=ids.uuid7, editable=False)
    stream_id = models.CharField(max_length=128, help_text="<aggregate_type>-<aggregate_id>")
    version = models.IntegerField(help_text="From 1, per stream.")
    event_type = models.CharField(max_length=128)
    owner_id = models.BigIntegerField()
    event_data = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict)
    correlation_id = models.CharField(max_length=128, blank=True)
    causation_id = models.UUIDField(null=True)
    depth = models.SmallIntegerField(default=0)
    dispatched_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "event_store"
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("stream_id", "version"), name="event_store_stream_version"),)
        indexes = (
            # Reader: the dispatcher's sweep.
            models.Index(fields=("id",), name="event_store_undispatched", condition=models.Q(dispatched_at=None)),
            # Reader: retention.
            models.Index(fields=("created_at",), name="event_store_by_age"),
        )

    def __str__(self) -> str:
        return f"{self.event_type} {self.stream_id}@{self.version}"


class Publication(models.Model):
    """The `Idempotency-Key` of a published event: the second caller gets the first event."""

    owner_id = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=255)
    event_uuid = models.UUIDField()
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "event_publications"
        constraints = (models.UniqueConstraint(fields=("owner_id", "idempotency_key"), name="publications_once"),)
        # Reader: retention.
        indexes = (models.Index(fields=("created_at",), name="publications_by_age"),)

    def __str__(self) -> str:
        return f"{self.idempotency_key} -> {self.event_uuid}"
