"""Pages over tables of any size."""

from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

from core.pages import rows_between

MOST_COUNTED = 10_000


class CappedPaginator(Paginator[Any]):
    """Counts 10,000 rows at most: a COUNT(*) over a million rows would cost more than the page itself.

    Older rows are found by filters and by search. Source: healthchecks `hc/api/admin.py::PingsAdmin`.
    """

    template_name = "admin/core/pagination.html"

    def page(self, number: int | str) -> Page[Any]:
        """Return a page, reading whole rows of that page only."""
        number = self.validate_number(number)
        rows, start = self.object_list, (number - 1) * self.per_page
        stop = self.count if start + self.per_page + self.orphans >= self.count else start + self.per_page
        found = rows_between(rows, start, stop) if isinstance(rows, QuerySet) else rows[start:stop]
        return Page(found, number, self)

    @cached_property
    def counted(self) -> int:
        """Count the rows, up to one more than is shown."""
        rows = self.object_list
        if isinstance(rows, QuerySet):
            return rows.order_by().values("pk")[: MOST_COUNTED + 1].count()
        return len(rows)

    @property
    def is_capped(self) -> bool:
        """True if there are more rows than pages lead to."""
        return self.counted > MOST_COUNTED

    @cached_property
    def count(self) -> int:
        """Return how many rows the pages lead to."""
        return min(self.counted, MOST_COUNTED)
