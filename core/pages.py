"""Pages far into a list."""

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def rows_between(queryset: "QuerySet[M, Any]", start: int, stop: int) -> "QuerySet[M, Any]":
    """Return the rows from `start` to before `stop` of an ordered queryset.

    Past the first page only the keys are counted off, which an index holds alone; whole rows, joins and
    annotations are read for the page itself. With OFFSET PostgreSQL would compute all of them for every row it skips.
    """
    if start == 0 or queryset.query.is_sliced:
        return queryset[start:stop]
    keys = queryset.values("pk")[start:stop]
    return queryset.filter(pk__in=keys)
