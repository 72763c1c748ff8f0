"""Reads of how many files there are, for the admin's first page."""

from dataclasses import dataclass

from django.db.models import Count, Sum

from accounts.principal import Principal
from files.choices import FileStatus
from files.models import File


@dataclass(frozen=True)
class Stored:
    """Files by status without the deleted, and their bytes; equal bytes count for each file that has them."""

    by_status: dict[str, int]
    size_bytes: int

    @property
    def total(self) -> int:
        """All live files."""
        return sum(self.by_status.values())


def count_files(principal: Principal) -> Stored:
    """Count the caller's live files; every live status is there. One query."""
    live = File.objects.exclude(status=FileStatus.DELETED)
    files = live if principal.sees_all else live.filter(owner=principal.owner)
    rows = list(files.order_by().values_list("status").annotate(n=Count("pk"), size=Sum("file_size")))
    found = {status: number for status, number, _ in rows}
    shown = [status for status in FileStatus.values if status != FileStatus.DELETED]
    return Stored({status: found.get(status, 0) for status in shown}, sum(size or 0 for _, _, size in rows))
