"""Reads of files. Callers see their owner's files; the environment's service key sees all. Deleted is missing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.search import SearchRank
from django.db.models import BigIntegerField, Count, F, FloatField, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Left

from accounts.principal import Principal
from core import clock
from files import text_search
from files.choices import FileStatus
from files.errors import FileNotFound
from files.models import File

LIST_TEXT_CHARACTERS = 10_000
# A rank needs the words of each match at hand, so that more would cost more than a list may.
MOST_RANKED = 1000
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class FileFilter:
    """Which of the visible files are meant; what is not given does not narrow them.

    An unknown `status` is ignored (contract 4). `created_after` is inclusive, `created_before` is not.
    """

    status: str = ""
    error_code: str = ""
    extension: str = ""
    mime_type: str = ""
    search: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None
    ids: tuple[int, ...] | None = None
    after_id: int = 0

    def condition(self) -> Q:
        """Return the condition of these files."""
        wanted = Q()
        if self.status in FileStatus.values:
            wanted &= Q(status=self.status)
        if self.extension:
            wanted &= Q(filename__endswith=f".{self.extension.lower().lstrip('.')}")
        if self.ids is not None:
            wanted &= Q(pk__in=self.ids)
        if self.after_id:
            wanted &= Q(pk__gt=self.after_id)
        given = {
            "error_code": self.error_code,
            "mime_type__iexact": self.mime_type,
            "created_at__gte": self.created_after,
            "created_at__lt": self.created_before,
        }
        wanted &= Q(**{name: value for name, value in given.items() if value})
        return wanted & text_search.matches(self.search) if self.search else wanted


EVERY_FILE = FileFilter()


def visible_to(principal: Principal) -> QuerySet[File]:
    """Return the live files that the caller may see."""
    live = File.objects.exclude(status=FileStatus.DELETED)
    return live if principal.sees_all else live.filter(owner=principal.owner)


def find_files(principal: Principal, wanted: FileFilter) -> QuerySet[File]:
    """Return the visible files that a filter means, in no order."""
    return visible_to(principal).filter(wanted.condition()).order_by()


def list_files(principal: Principal, wanted: FileFilter = EVERY_FILE, *, by_rank: bool = False) -> QuerySet[File]:
    """Return visible files, newest first, with `preview`: the first LIST_TEXT_CHARACTERS + 1 of the text.

    A search adds `headline`, for `text_search.marked`. With `by_rank` the MOST_RANKED newest matches of a search
    come by how often the words stand in their texts.
    """
    files = find_files(principal, wanted).order_by("-pk")
    if wanted.search and by_rank:
        files = _ranked(files, wanted.search)
    if wanted.search:
        files = files.annotate(headline=text_search.headline(wanted.search))
    return files.annotate(preview=Left("content__text", LIST_TEXT_CHARACTERS + 1))


def get_file(principal: Principal, file_id: int, *, with_text: bool = False) -> File:
    """Return one visible file, `with_text` together with the text of its content. Raises: FileNotFound."""
    files = visible_to(principal)
    if with_text:
        # What the search reads, and the tables, may be as long as the text.
        files = files.select_related("content").defer("content__search", "content__tables")
    return _get(files, file_id)


def get_owned_file(file_id: int, *, owner_id: int) -> File:
    """Return one live file of an owner, for a workflow step. Raises: FileNotFound."""
    return _get(File.objects.filter(owner_id=owner_id).exclude(status=FileStatus.DELETED), file_id)


def find_text(file: File) -> str | None:
    """Return the extracted text, or None when there is none."""
    content = getattr(file, "content", None)
    return content.text if content else None


def list_output_ids(file: File) -> list[int]:
    """Return the ids of the live files that were made from a file, oldest first."""
    made = File.objects.filter(source_file=file).exclude(status=FileStatus.DELETED)
    return list(made.order_by("pk").values_list("pk", flat=True))


def summarise(principal: Principal) -> dict[str, Any]:
    """Return {total_files, status_breakdown, total_size_bytes, recent_uploads_24h}.

    Deleted files show in the breakdown only.
    """
    files = File.objects.all() if principal.sees_all else File.objects.filter(owner=principal.owner)
    live = ~Q(status=FileStatus.DELETED)
    by_status = {status: Count("pk", filter=Q(status=status)) for status in FileStatus.values}
    numbers = files.aggregate(
        total_files=Count("pk", filter=live),
        total_size_bytes=Coalesce(Sum("file_size", filter=live), Value(0), output_field=BigIntegerField()),
        recent_uploads_24h=Count("pk", filter=live & Q(created_at__gte=clock.now() - timedelta(hours=24))),
        **by_status,
    )
    breakdown = {status: numbers.pop(status) for status in by_status}
    return numbers | {"status_breakdown": breakdown}


def _ranked(files: QuerySet[File], search: str) -> QuerySet[File]:
    newest = files.values("pk")[:MOST_RANKED]
    rank = SearchRank(F("content__search"), text_search.query_of(search))
    ranked = File.objects.filter(pk__in=newest).annotate(rank=Coalesce(rank, 0.0, output_field=FloatField()))
    return ranked.order_by("-rank", "-pk")


def _get(files: QuerySet[File], file_id: int) -> File:
    file = files.filter(pk=file_id).first() if 0 < file_id <= _LARGEST_ID else None
    if file is None:
        raise FileNotFound
    return file
