"""Reads of files. Callers see their owner's files; the environment's service key sees all. Deleted is missing."""

from datetime import timedelta
from typing import Any

from django.db.models import BigIntegerField, Count, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Left

from accounts.principal import Principal
from core import clock
from files.choices import FileStatus
from files.errors import FileNotFound
from files.models import File

LIST_TEXT_CHARACTERS = 10_000
_LARGEST_ID = 2**63 - 1


def visible_to(principal: Principal) -> QuerySet[File]:
    """Return the live files that the caller may see."""
    live = File.objects.exclude(status=FileStatus.DELETED)
    return live if principal.sees_all else live.filter(owner=principal.owner)


def list_files(principal: Principal, *, status: str | None = None) -> QuerySet[File]:
    """Return visible files, newest first, with `preview`: the first LIST_TEXT_CHARACTERS + 1 of the text.

    An unknown `status` is ignored (contract 4).
    """
    files = visible_to(principal)
    if status in FileStatus.values:
        files = files.filter(status=status)
    return files.annotate(preview=Left("content__text", LIST_TEXT_CHARACTERS + 1)).order_by("-pk")


def get_file(principal: Principal, file_id: int, *, with_text: bool = False) -> File:
    """Return one visible file. Raises: FileNotFound."""
    return _get(visible_to(principal).select_related("content") if with_text else visible_to(principal), file_id)


def get_owned_file(file_id: int, *, owner_id: int) -> File:
    """Return one live file of an owner, for a workflow step. Raises: FileNotFound."""
    return _get(File.objects.filter(owner_id=owner_id).exclude(status=FileStatus.DELETED), file_id)


def find_text(file: File) -> str | None:
    """Return the extracted text, or None when there is none."""
    content = getattr(file, "content", None)
    return content.text if content else None


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


def _get(files: QuerySet[File], file_id: int) -> File:
    file = files.filter(pk=file_id).first() if 0 < file_id <= _LARGEST_ID else None
    if file is None:
        raise FileNotFound
    return file
