"""Intake: look at every byte once before anything is stored, then store, then insert the row."""

import hashlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from django.conf import settings
from django.db import transaction

from accounts.models import Owner
from files import enqueue, filetypes, metrics, signals, stored_bytes
from files.errors import EmptyFile, FileTooLarge, FileTypeNotAllowed, NoFileAccepted, TypeMismatch, UploadRefused
from files.models import File

_LONGEST_NAME = 255
_SPOOL_MEMORY_BYTES = 1024**2


@dataclass(frozen=True)
class _Measured:
    """What reading a file through has told."""

    sha256: str
    size_bytes: int
    fingerprint: filetypes.Fingerprint


def upload_file(owner: Owner, *, actor: str, stream: IO[bytes], filename: str, correlation_id: str = "") -> File:
    """Take one file of an owner; its row is due for extraction when this returns.

    `stream` is read in chunks and never further than the size limit and one chunk; `filename` is the client's
    and only its last part and extension are used. Equal bytes are stored once.
    Raises: UploadRefused (no name), FileTypeNotAllowed, FileTooLarge, EmptyFile, TypeMismatch; nothing is stored then.
    """
    name = safe_name(filename)
    extension = _allowed_extension(name)
    with _seekable(stream) as content:
        measured = _measure(content)
        _check_type(measured.fingerprint, extension)
        stored_name = f"{measured.sha256}.{extension}"
        with stored_bytes.locked(measured.sha256):
            path = stored_bytes.store(content, name=stored_name, size_bytes=measured.size_bytes)
            return _insert(
                File(
                    owner=owner,
                    filename=stored_name,
                    original_filename=name,
                    file_path=path,
                    mime_type=filetypes.mime_type(name),
                    file_size=measured.size_bytes,
                    file_hash=measured.sha256,
                    uploaded_by=actor[:255],
                    correlation_id=correlation_id[:128],
                )
            )


@dataclass(frozen=True)
class Outcome:
    """What became of one of several uploads: the file, or why it was refused."""

    filename: str
    file: File | None = None
    refusal: UploadRefused | None = None


def upload_files(
    owner: Owner, *, actor: str, uploads: Sequence[tuple[IO[bytes], str]], correlation_id: str = ""
) -> list[Outcome]:
    """Take several files, (stream, filename) each, one by one: a refused one does not hold back the others.

    Raises: UploadRefused with a problem for each when none is taken.
    """
    outcomes = []
    for stream, filename in uploads:
        try:
            file = upload_file(owner, actor=actor, stream=stream, filename=filename, correlation_id=correlation_id)
        except UploadRefused as refusal:
            outcomes.append(Outcome(filename, refusal=refusal))
        else:
            outcomes.append(Outcome(filename, file=file))
    if not any(outcome.file for outcome in outcomes):
        raise NoFileAccepted([(outcome.filename, outcome.refusal.detail) for outcome in outcomes if outcome.refusal])
    return outcomes


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


def _insert(file: File) -> File:
    with transaction.atomic():
        file.save(force_insert=True)
        signals.file_uploaded.send(
            sender=File, file_id=file.pk, owner_id=file.owner_id, correlation_id=file.correlation_id
        )
        enqueue.extraction()
        transaction.on_commit(partial(metrics.count_upload, filetypes.extension_of(file.filename)))
    return file
