"""The extracted text: one row beside the file, with what the search reads."""

from typing import Any

from django.contrib.postgres.search import SearchVector
from django.db import DatabaseError, transaction
from django.db.models import TextField, Value
from django.db.models.functions import Left

from core import logs
from files.extractors.base import Extraction
from files.models import File, FileContent

_SEARCHED_CHARACTERS = 200_000
log = logs.get(__name__)


def exists(file: File) -> bool:
    """Tell whether the file has text."""
    return FileContent.objects.filter(file=file).exists()


def find(file: File) -> FileContent | None:
    """Return the text of a file, without what the search reads."""
    return FileContent.objects.filter(file=file).defer("search").first()


def write(file: File, extraction: Extraction) -> None:
    """Insert or replace the text of a file, within the caller's transaction."""
    content = FileContent(file=file, text=extraction.text, tables=extraction.tables)
    FileContent.objects.bulk_create(
        [content], update_conflicts=True, unique_fields=["file"], update_fields=["text", "tables"]
    )
    _index(file)


def metadata_of(file: File, extraction: Extraction) -> dict[str, Any]:
    """Return the contract's metadata: the format's keys, and those that every file has."""
    counts = {"character_count": len(extraction.text), "word_count": len(extraction.text.split())}
    metadata = {"mime_type": file.mime_type} | extraction.metadata | counts
    flags: dict[str, Any] = {"truncated": True} if extraction.truncated else {}
    if extraction.warnings:
        flags["warnings"] = extraction.warnings
    return metadata | flags


def _index(file: File) -> None:
    """Fill the search vector in a savepoint: a text that PostgreSQL cannot index is processed all the same."""
    searched = Left("text", Value(_SEARCHED_CHARACTERS), output_field=TextField())
    row = FileContent.objects.filter(file=file)
    try:
        with transaction.atomic():
            row.update(search=SearchVector(searched, config="simple"))
    except DatabaseError as error:
        row.update(search=None)
        log.warning("file.not_searchable", file_id=file.pk, error=str(error))
