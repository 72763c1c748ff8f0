"""The bytes of files in the storage, under `<sha256>.<extension>`: equal files share them.

Works with any storage of Django's interface. A name appears whole or not at all: remote storages put objects
atomically, and the local one is written under a temporary name, synced and renamed.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from django.core.files import File as StorageFile
from django.core.files.storage import default_storage
from django.db import connection

from core import ids

CHUNK_BYTES = 64 * 1024
_INCOMING = "incoming"
# No upload takes this long, so what is older was left by a process that was killed.
ABANDONED_AFTER_SECONDS = 24 * 3600


@contextmanager
def locked(file_hash: str) -> Iterator[None]:
    """Hold off uploads and deletions of the same bytes, over all processes.

    A session lock and not a transaction's, because the storage may be on the network.
    """
    key = int(file_hash[:15], 16)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [key])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def store(stream: IO[bytes], *, name: str, size_bytes: int) -> str:
    """Write a stream from its beginning unless its bytes are there already; return the name in the storage."""
    if default_storage.exists(name) and default_storage.size(name) == size_bytes:
        return name
    stream.seek(0)
    local = _local_path(name)
    if local is None:
        return default_storage.save(name, StorageFile(stream, name=name))
    partial = default_storage.save(f"{_INCOMING}/{ids.uuid7()}.part", StorageFile(stream, name=name))
    _rename_synced(Path(default_storage.path(partial)), local)
    return name


def remove(name: str) -> None:
    """Delete bytes; missing ones are no error."""
    default_storage.delete(name)


def remove_abandoned() -> int:
    """Delete half-written files that killed processes left in a local storage; return how many."""
    folder = _local_path(_INCOMING)
    if folder is None or not folder.is_dir():
        return 0
    oldest = time.time() - ABANDONED_AFTER_SECONDS
    removed = 0
    for partial in folder.glob("*.part"):
        # Renamed or removed by others meanwhile: gone all the same.
        with suppress(FileNotFoundError):
            if partial.stat().st_mtime < oldest:
                partial.unlink()
                removed += 1
    return removed


@contextmanager
def reading(name: str) -> Iterator[IO[bytes]]:
    """Open stored bytes as a stream. Raises: FileNotFoundError."""
    with default_storage.open(name) as stream:
        yield cast("IO[bytes]", stream)


@contextmanager
def opened(name: str) -> Iterator[int]:
    """Open stored bytes as a descriptor that can only be read. Raises: FileNotFoundError."""
    local = _local_path(name)
    if local is None:
        with _copied(name) as descriptor:
            yield descriptor
        return
    descriptor = os.open(local, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _copied(name: str) -> Iterator[int]:
    with default_storage.open(name) as remote, tempfile.NamedTemporaryFile() as copy:
        for chunk in remote.chunks(CHUNK_BYTES):
            copy.write(chunk)
        copy.flush()
        descriptor = os.open(copy.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _local_path(name: str) -> Path | None:
    """Return the path of a name where the storage is a local folder."""
    with suppress(NotImplementedError):
        return Path(default_storage.path(name))
    return None


def _rename_synced(partial: Path, final: Path) -> None:
    """Give a written file its name so that neither a crash nor a power cut leaves it in part."""
    _sync(partial)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
