"""Rows and bytes of files that were made out of others, with their lineage. One act makes its files once."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from django.db import IntegrityError, transaction

from core import faults
from files import enqueue, filetypes, stored_bytes
from files.made_answers import MadePart, PartStream
from files.models import File
from files.services import deletion, quota
from files.services.upload import safe_name

_LONGEST_NAME = 255
# With more than a hundred keys PostgreSQL no longer sees that the partial index of keys serves the question.
MOST_FILES = 100


@dataclass(frozen=True)
class Act:
    """Who has files made, and in which step: their lineage.

    Repetitions of one act have the same `key` and give the same files; without a key every call makes new ones.
    """

    actor: str = ""
    correlation_id: str = ""
    key: str = ""
    execution_id: int | None = None
    step: str = ""
    version_id: int | None = None


def find(source: File, act: Act) -> list[File]:
    """Return the files that the act has made before, in order; none where it has not been done."""
    if not act.key:
        return []
    keys = [_key_of(act, number) for number in range(1, MOST_FILES + 1)]
    return list(File.objects.filter(owner_id=source.owner_id, made_key__in=keys).order_by("pk"))


def store(source: File, action: str, answer: IO[bytes], parts: Sequence[MadePart], act: Act) -> list[File]:
    """Store the files of an answer and insert their rows, all or none; their extraction is due then.

    Where the same act has stored its files meanwhile, those are given.
    Raises: FileQuotaExceeded, StorageFull, StorageUnavailable; nothing is stored then.
    """
    lineage = _lineage(source, action, act)
    rows = [
        _row(part, _hash(_stream(answer, part)), source.original_filename, made_key=_key_of(act, number), **lineage)
        for number, part in enumerate(parts, 1)
    ]
    with ExitStack() as held:
        # In one order for all, so that two who make the same files do not wait for each other.
        for file_hash in sorted({row.file_hash for row in rows}):
            held.enter_context(stored_bytes.locked(file_hash))
        for name in {row.file_path for row in rows}:
            held.enter_context(stored_bytes.unclaimed(name))
        with _removed_unless_inserted(rows) as inserted:
            for row, part in zip(rows, parts, strict=True):
                stored_bytes.store(_stream(answer, part), name=row.file_path, size_bytes=part.size_bytes)
            try:
                inserted.extend(_insert(source, rows))
            except IntegrityError:
                made = find(source, act)
                if not made:
                    raise
                return made
        return inserted


def _lineage(source: File, action: str, act: Act) -> dict[str, Any]:
    return {
        "owner": source.owner,
        "source_file": source,
        "uploaded_by": act.actor[:255],
        "correlation_id": act.correlation_id[:128],
        "made_by_action": action,
        "made_by_execution_id": act.execution_id,
        "made_by_step": act.step[:512],
        "made_by_version_id": act.version_id,
        # No workflow starts by a file that a workflow made, so none can go round in circles.
        "run_triggers": False,
    }


def _row(part: MadePart, file_hash: str, original: str, **lineage: Any) -> File:
    name = name_of(original, label=part.label, extension=part.extension)
    stored_name = f"{file_hash}.{part.extension}"
    return File(
        filename=stored_name,
        original_filename=name,
        file_path=stored_name,
        mime_type=filetypes.mime_type(name),
        file_size=part.size_bytes,
        file_hash=file_hash,
        # What the extraction will say too; until then, and should it fail, it is known already.
        extraction_metadata=part.facts,
        **lineage,
    )


def _key_of(act: Act, number: int) -> str:
    return f"{act.key}:{number}" if act.key else ""


def name_of(original: str, *, label: str, extension: str) -> str:
    """Return report-2.png for page 2 of report.pdf."""
    stem, dot, _ = original.rpartition(".")
    # What is a path to `safe_name` may be the name of a sheet.
    plain = re.sub(r"[/\\]", " ", label)
    ending = f"{f'-{plain}' if plain else ''}.{extension}"
    return safe_name(f"{(stem if dot and stem else original)[: _LONGEST_NAME - len(ending)]}{ending}")


def _stream(answer: IO[bytes], part: MadePart) -> IO[bytes]:
    return PartStream(answer, part)  # type: ignore[return-value]  # RawIOBase has all that is read by


def _hash(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(stored_bytes.CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _insert(source: File, rows: list[File]) -> list[File]:
    with transaction.atomic():
        quota.check(source.owner, more_bytes=sum(row.file_size for row in rows), field=("path", "id"))
        made = File.objects.bulk_create(rows)
        enqueue.extraction()
        faults.point("made_before_commit")
    faults.point("made_after_commit")
    return made


@contextmanager
def _removed_unless_inserted(rows: list[File]) -> Iterator[list[File]]:
    """Yield a list for the rows inserted; while it is empty at the end, no bytes stay that no other row names."""
    inserted: list[File] = []
    try:
        yield inserted
    finally:
        if not inserted:
            for row in rows:
                # A storage that is silent would be waited for once for each of a hundred files.
                if not deletion.remove_unshared(row.file_hash, row.file_path):
                    break
