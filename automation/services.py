"""Writing the event store."""

from typing import Any

import orjson

from core import clock, ids
from core.db import hot_cursor

_APPEND = """
INSERT INTO event_store (uuid, stream_id, version, event_type, owner_id, event_data, metadata, correlation_id,
  depth, created_at)
SELECT %(uuid)s, %(stream)s::varchar, COALESCE(MAX(version), 0) + 1, %(type)s::varchar, %(owner)s, %(data)s::jsonb,
  '{}', %(correlation)s::varchar, 0, %(now)s::timestamptz
FROM event_store WHERE stream_id = %(stream)s::varchar
"""


def append_event(
    *, stream_id: str, event_type: str, owner_id: int, data: dict[str, Any], correlation_id: str = ""
) -> None:
    """Append one event to its stream, in the caller's transaction.

    The caller holds a lock that orders the stream's writers (a branch's fence, a row's update); the unique
    constraint on (stream, version) guards the rest.
    """
    with hot_cursor() as cursor:
        cursor.execute(
            _APPEND,
            {
                "uuid": ids.uuid7(),
                "stream": stream_id,
                "type": event_type,
                "owner": owner_id,
                "data": orjson.dumps(data).decode(),
                "correlation": correlation_id,
                "now": clock.now(),
            },
        )
