"""What the engine needs of PostgreSQL beside the ORM: a leaner cursor, its clock, another try after a deadlock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import psycopg
from django.db import OperationalError, connection
from django.db.models import DateTimeField, Func

from core import logs

log = logs.get(__name__)

MOST_TRIES = 3
# deadlock_detected and serialization_failure: rolled back for another's sake, the same may succeed at once.
_VICTIM = frozenset({"40P01", "40001"})
P = ParamSpec("P")
R = TypeVar("R")


class DatabaseNow(Func):
    """PostgreSQL's clock at this instant, which a transaction does not hold still."""

    function = "clock_timestamp"
    output_field = DateTimeField()


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


def again_after_deadlock(transact: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function of one transaction: it is called again if PostgreSQL rolled it back for another's sake.

    Inside a transaction of the caller's nothing is repeated: that one is lost as a whole.
    """

    @wraps(transact)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        tries = 1 if connection.in_atomic_block else MOST_TRIES
        for number in range(1, tries):
            try:
                return transact(*args, **kwargs)
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", None) not in _VICTIM:
                    raise
                log.warning("transaction.repeated", name=transact.__name__, number=number, reason=str(error))
        return transact(*args, **kwargs)

    return run
