"""Writing the event store."""

from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction

from accounts.models import Owner
from automation import enqueue
from automation.choices import canonical_event_type
from automation.models import Publication
from core import clock, ids, jsonsafe
from core.db import hot_cursor
from core.errors import InvalidInput, Problem

LONGEST_STREAM_ID = 128
LONGEST_EVENT_TYPE = 128
# Streams whose only writer is this product: their versions are given under locks that no publisher holds.
OWN_STREAMS = ("workflow_execution-", "saga-")

_APPEND = """
INSERT INTO event_store (uuid, stream_id, version, event_type, owner_id, event_data, metadata, correlation_id,
  depth, created_at)
SELECT %(uuid)s, %(stream)s::varchar, COALESCE(MAX(version), 0) + 1, %(type)s::varchar, %(owner)s, %(data)s::jsonb,
  '{}', %(correlation)s::varchar, 0, clock_timestamp() + %(moved)s::interval
FROM event_store WHERE stream_id = %(stream)s::varchar
"""


def append_event(
    *,
    stream_id: str,
    event_type: str,
    owner_id: int,
    data: dict[str, Any],
    correlation_id: str = "",
    uuid: UUID | None = None,
) -> None:
    """Append one event to its stream, in the caller's transaction.

    The caller holds a lock that orders the stream's writers (a branch's fence, a row's update); the unique
    constraint on (stream, version) guards the rest.
    """
    with hot_cursor() as cursor:
        cursor.execute(
            _APPEND,
            {
                "uuid": uuid or ids.uuid7(),
                "stream": stream_id,
                "type": event_type,
                "owner": owner_id,
                "data": orjson.dumps(data).decode(),
                "correlation": correlation_id,
                # PostgreSQL's time, as of the waits: machines whose clocks differ agree on what came first.
                "moved": clock.offset(),
            },
        )


def publish_event(
    *,
    owner: Owner,
    event_type: str,
    aggregate_type: str,
    aggregate_id: str,
    data: dict[str, Any],
    correlation_id: str = "",
    idempotency_key: str | None = None,
) -> UUID:
    """Store an event of a caller's, and ring for the dispatcher on commit. Returns the event's UUID.

    Of several calls of one owner with the same `idempotency_key` the first stores its event; all get its UUID.
    Raises InvalidInput for a type that is neither known nor dotted, a stream of this product's own, and data that
    cannot be stored.
    """
    stored_type, stream_id = _checked_type(event_type), _checked_stream(aggregate_type, aggregate_id)
    cleaned = _cleaned(data)
    event_uuid = ids.uuid7()
    with transaction.atomic():
        if idempotency_key is not None:
            first, is_new = Publication.objects.get_or_create(
                owner_id=owner.pk, idempotency_key=idempotency_key, defaults={"event_uuid": event_uuid}
            )
            if not is_new:
                return first.event_uuid
        _lock_stream(stream_id)
        append_event(
            stream_id=stream_id,
            event_type=stored_type,
            owner_id=owner.pk,
            data=cleaned,
            correlation_id=correlation_id[:LONGEST_STREAM_ID],
            uuid=event_uuid,
        )
        enqueue.ring_dispatcher_on_commit()
    return event_uuid


def _lock_stream(stream_id: str) -> None:
    """Make publishers of one stream take turns, to the end of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [stream_id])


def _checked_type(event_type: str) -> str:
    known = canonical_event_type(event_type) if len(event_type) <= LONGEST_EVENT_TYPE else None
    if known is None:
        raise _refused("event_type", f"Unknown event type: {event_type[:LONGEST_EVENT_TYPE]}")
    return known


def _checked_stream(aggregate_type: str, aggregate_id: str) -> str:
    stream_id = f"{aggregate_type}-{aggregate_id}"
    if stream_id.startswith(OWN_STREAMS):
        raise _refused("aggregate_type", f"The aggregate type {aggregate_type!r} is kept for this server's own events")
    if len(stream_id) > LONGEST_STREAM_ID:
        message = f"aggregate_type and aggregate_id have more than {LONGEST_STREAM_ID - 1} characters together"
        raise _refused("aggregate_id", message)
    return stream_id


def _cleaned(data: dict[str, Any]) -> dict[str, Any]:
    try:
        cleaned: dict[str, Any] = jsonsafe.clean(data)[0]
    except jsonsafe.NotJson as error:
        raise _refused("data", f"data cannot be stored: {error}") from error
    return cleaned


def _refused(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, problems=[Problem(("body", field), message)])
