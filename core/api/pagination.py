"""Lists: `limit` and `offset`, bare arrays with `X-Total-Count` (contract section 1)."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from core.errors import InvalidInput, Problem
from core.pages import rows_between

M = TypeVar("M", bound=Model)

LARGEST_LIMIT = 1000
LARGEST_OFFSET = 2**31 - 1
# Beyond this, lists say "at least so many": an exact count reads every row of the table.
LARGEST_COUNT = 100_000


@dataclass(frozen=True)
class Page(Generic[M]):
    """One page of a list; `total` counts all rows, up to LARGEST_COUNT."""

    items: list[M]
    total: int
    limit: int
    offset: int


class ContractListMixin:
    """For generic views: GET answers a bare array of the filtered queryset, `default_limit` rows of it."""

    default_limit = 100

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        queryset = self.filter_queryset(self.get_queryset())  # type: ignore[attr-defined]
        page = paginate(queryset, request, default_limit=self.default_limit)
        serializer: BaseSerializer[Any] = self.get_serializer(page.items, many=True)  # type: ignore[attr-defined]
        return bare_array(serializer.data, page)


def paginate(queryset: QuerySet[M], request: Request, *, default_limit: int = 100) -> Page[M]:
    """Read one page by the query's `limit` (1..1000, larger is clamped) and `offset`.

    The count is asked only where the page itself does not tell it, and reads at most LARGEST_COUNT rows.
    Raises: InvalidInput for what is not a whole number in range.
    """
    limit = min(read_integer(request, "limit", default=default_limit, minimum=1), LARGEST_LIMIT)
    offset = min(read_integer(request, "offset", default=0, minimum=0), LARGEST_OFFSET)
    items = list(rows_between(queryset, offset, offset + limit))
    if len(items) < limit and (items or offset == 0):
        total = offset + len(items)
    else:
        total = queryset.order_by().values("pk")[:LARGEST_COUNT].count()
    return Page(items, max(total, offset + len(items)) if items else total, limit, offset)


def bare_array(data: Any, page: Page[Any]) -> Response:
    """Answer a list as a bare array with its total in a header."""
    return Response(data, headers={"X-Total-Count": str(page.total)})


def read_integer(request: Request, name: str, *, default: int, minimum: int) -> int:
    """Return a whole number of the query string. Raises: InvalidInput."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    # Longer digits than any bound would cost time to parse and gain nothing.
    if not text.strip().removeprefix("-").isascii() or not text.strip().removeprefix("-").isdigit():
        raise _refused(name, f"{name} must be a whole number")
    value = int(text.strip()[:20])
    if value < minimum:
        raise _refused(name, f"{name} must be at least {minimum}")
    return value


def _refused(name: str, message: str) -> InvalidInput:
    return InvalidInput(message, problems=[Problem(("query", name), message, "value_error")])
