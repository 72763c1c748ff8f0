"""A leaner cursor for the statements that run many times a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection


@contextmanager
def hot_cursor() -> Iterator[Any]:
    """Yield a cursor of the present connection and transaction that prepares its statements on the server.

    Django's own cursor binds parameters on the client and never prepares; on the engine's path that costs a
    third of the time (`make bench`). Where queries are being logged or counted, Django's cursor is used.
    Parameters need casts where PostgreSQL cannot infer their types.
    """
    if not connection.in_atomic_block:
        connection.close_if_health_check_failed()
    connection.ensure_connection()
    if connection.queries_logged:
        with connection.cursor() as cursor:
            yield cursor
        return
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as raw:
        yield raw
