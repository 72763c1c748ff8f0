"""Intake: look at every byte once before anything is stored, then store, then insert the row."""

import hashlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO

from django.conf import settings
from django.db import Error, IntegrityError, transaction

from accounts.models import Owner
from core.errors import DomainError
from files import enqueue, filetypes, metrics, signals, storage_errors, stored_bytes
from files.choices import FileStatus
from files.errors import (
    EmptyFile,
    FileQuotaExceeded,
    FileTooLarge,
    FileTypeNotAllowed,
    IdempotencyKeyReused,
    NoFileAccepted,
    StorageUnavailable,
    TypeMismatch,
    UploadRefused,
)
from files.models import File
from files.services import deletion, quota

_LONGEST_NAME = 255
_SPOOL_MEMORY_BYTES = 1024**2


@dataclass(frozen=True)
class _Measured:
    """What reading a file through has told."""

    sha256: str
    size_bytes: int
    fingerprint: filetypes.Fingerprint


def upload_file(
    owner: Owner,
    *,
    actor: str,
    stream: IO[bytes],
    filename: str,
    correlation_id: str = "",
    idempotency_key: str = "",
) -> File:
    """Take one file of an owner; its row is due for extraction when this returns.

    `stream` is read in chunks and never further than the size limit and one chunk; `filename` is the client's
    and only its last part and extension are used. Equal bytes are stored once. A second upload of the same bytes
    and name with the same `idempotency_key` gives the first one's file, also where both come at once.
    Raises: UploadRefused (no name), FileTypeNotAllowed, FileTooLarge, EmptyFile, TypeMismatch, FileQuotaExceeded,
    IdempotencyKeyReused, StorageFull, StorageUnavailable; nothing is stored then.
    """
    name = safe_name(filename)
    extension = _allowed_extension(name)
    with _seekable(stream) as content:
        measured = _measure(content)
        _check_type(measured.fingerprint, extension)
        file = File(
            owner=owner,
            filename=f"{measured.sha256}.{extension}",
            original_filename=name,
            mime_type=filetypes.mime_type(name),
            file_size=measured.size_bytes,
            file_hash=measured.sha256,
            uploaded_by=actor[:255],
            correlation_id=correlation_id[:128],
            idempotency_key=idempotency_key,
        )
        return _first_of_key(file) or _stored_or_first(content, file)


def _stored_or_first(content: IO[bytes], file: File) -> File:
    try:
        return _store(content, file)
    except FileQuotaExceeded:
        # The same upload may have come twice at once, and the faster one have taken the room.
        first = _first_of_key(file)
        if first is None:
            raise
        return first


def _first_of_key(file: File) -> File | None:
    """Return the file that the same idempotency key has made before, None without one.

    Raises: IdempotencyKeyReused where that was another one, or has been deleted.
    """
    if not file.idempotency_key:
        return None
    first = File.objects.filter(owner_id=file.owner_id, idempotency_key=file.idempotency_key).first()
    if first is None:
        return None
    if first.status == FileStatus.DELETED:
        # Neither may the deleted file be shown, nor may the repetition of an old request bring it back.
        raise IdempotencyKeyReused("The Idempotency-Key was used for a file that has been deleted; use a new key")
    if (first.file_hash, first.original_filename) != (file.file_hash, file.original_filename):
        raise IdempotencyKeyReused("The Idempotency-Key was used for another file; use a new key")
    return first


def expect_room(owner: Owner, *, more_bytes: int, idempotency_key: str = "") -> None:
    """Refuse an upload over the owner's quota before it is read, unless it only repeats an earlier one.

    Raises: FileQuotaExceeded.
    """
    if not more_bytes:
        return
    try:
        quota.refuse_early(owner, more_bytes=more_bytes)
    except FileQuotaExceeded:
        # Asked after the quota: the earlier one may be storing its file in this moment.
        used = File.objects.filter(owner=owner, idempotency_key=idempotency_key)
        if not (idempotency_key and used.exists()):
            raise


@dataclass(frozen=True)
class Outcome:
    """What became of one of several uploads: the file, or why it was refused."""

    filename: str
    file: File | None = None
    refusal: DomainError | None = None


def upload_files(
    owner: Owner,
    *,
    actor: str,
    uploads: Sequence[tuple[IO[bytes], str]],
    correlation_id: str = "",
    idempotency_key: str = "",
) -> list[Outcome]:
    """Take several files, (stream, filename) each, one by one: a refused one does not hold back the others.

    `idempotency_key` counts for each with its place among them. Raises, when none is taken: StorageFull and
    StorageUnavailable where the storage is the cause, else UploadRefused with a problem for each.
    """
    outcomes = []
    for index, (stream, filename) in enumerate(uploads):
        # No header holds a line feed, so that no key of a single upload reads like this.
        key = f"{idempotency_key}\n{index}" if idempotency_key else ""
        try:
            file = upload_file(
                owner,
                actor=actor,
                stream=stream,
                filename=filename,
                correlation_id=correlation_id,
                idempotency_key=key,
            )
        except (UploadRefused, IdempotencyKeyReused, StorageUnavailable) as refusal:
            outcomes.append(Outcome(filename, refusal=refusal))
        else:
            outcomes.append(Outcome(filename, file=file))
    if not any(outcome.file for outcome in outcomes):
        raise _none_accepted(outcomes)
    return outcomes


def _none_accepted(outcomes: Sequence[Outcome]) -> DomainError:
    for outcome in outcomes:
        if isinstance(outcome.refusal, StorageUnavailable):
            return outcome.refusal
    return NoFileAccepted([(outcome.filename, outcome.refusal.detail) for outcome in outcomes if outcome.refusal])


def safe_name(filename: str) -> str:
    """Return the last part of a client's file name, without paths of any system and control characters.

    Raises: UploadRefused when nothing is left.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    printable = "".join(char for char in last if unicodedata.category(char) not in {"Cc", "Cf", "Cs"}).strip()
    if printable.strip(".") == "":
        raise UploadRefused("No filename provided")
    if len(printable) <= _LONGEST_NAME:
        return printable
    stem, dot, extension = printable.rpartition(".")
    return f"{stem[: _LONGEST_NAME - len(extension) - 1]}{dot}{extension}"[-_LONGEST_NAME:]


def too_large() -> FileTooLarge:
    """Return the refusal of an upload over the limit, in the contract's words."""
    return FileTooLarge(f"File too large. Maximum size: {settings.MAX_FILE_SIZE_TEXT}")


def _allowed_extension(name: str) -> str:
    extension = filetypes.extension_of(name)
    if extension not in settings.ALLOWED_EXTENSIONS:
        allowed = ",".join(settings.ALLOWED_EXTENSIONS)
        raise FileTypeNotAllowed(f"File type not allowed. Allowed types: {allowed} (ALLOWED_EXTENSIONS)")
    return extension


@contextmanager
def _seekable(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield a stream that can be read twice; one that cannot is copied aside, up to the limit."""
    if stream.seekable():
        yield stream
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY_BYTES) as copy:
        bounded = _Bounded(stream)
        with storage_errors.translated():
            while chunk := bounded.read(stored_bytes.CHUNK_BYTES):
                copy.write(chunk)
        yield copy


class _Bounded:
    """Reads a stream and refuses to go on past the size limit."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = settings.MAX_FILE_SIZE_BYTES

    def read(self, size: int, /) -> bytes:
        chunk = self._stream.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise too_large()
        return chunk


def _measure(stream: IO[bytes]) -> _Measured:
    """Hash, count and fingerprint a stream."""
    stream.seek(0)
    bounded, digest, fingerprint, size = _Bounded(stream), hashlib.sha256(), filetypes.Fingerprint(), 0
    while chunk := bounded.read(stored_bytes.CHUNK_BYTES):
        digest.update(chunk)
        fingerprint.update(chunk)
        size += len(chunk)
    if size == 0:
        raise EmptyFile("File is empty")
    return _Measured(sha256=digest.hexdigest(), size_bytes=size, fingerprint=fingerprint)


def _check_type(fingerprint: filetypes.Fingerprint, extension: str) -> None:
    if not fingerprint.agrees_with(extension):
        found = fingerprint.describe()
        raise TypeMismatch(f"File content does not match its name: the name says {extension}, the content is {found}")


def _store(content: IO[bytes], file: File) -> File:
    """Store the bytes, then insert their row; refused by the database, they go again."""
    has_quota = quota.refuse_early(file.owner, more_bytes=file.file_size)
    with stored_bytes.locked(file.file_hash), stored_bytes.unclaimed(file.filename):
        file.file_path = stored_bytes.store(content, name=file.filename, size_bytes=file.file_size)
        try:
            return _insert(file, has_quota=has_quota)
        except IntegrityError:
            # Another upload with this key was faster.
            deletion.remove_unshared(file.file_hash, file.file_path)
            first = _first_of_key(file)
            if first is None:
                raise
            return first
        except BaseException:
            # Where the database is away, the note tells the sweep.
            with suppress(Error):
                deletion.remove_unshared(file.file_hash, file.file_path)
            raise


def _insert(file: File, *, has_quota: bool) -> File:
    with transaction.atomic():
        if has_quota:
            quota.check(file.owner, more_bytes=file.file_size)
        file.save(force_insert=True)
        signals.file_uploaded.send(
            sender=File, file_id=file.pk, owner_id=file.owner_id, correlation_id=file.correlation_id
        )
        enqueue.extraction()
        transaction.on_commit(partial(metrics.count_upload, filetypes.extension_of(file.filename)))
    return file
