"""The bytes of files in the storage, under `<sha256>.<extension>`: equal files share them.

Works with any storage of Django's interface. A name appears whole or not at all: remote storages put objects
atomically, and in a local one the bytes are written under a temporary name, synced and renamed.
All functions raise StorageFull and StorageUnavailable.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from django.core.files import File as StorageFile
from django.core.files.storage import default_storage
from django.db import Error, connection

from core import ids
from files.errors import StorageUnavailable
from files.storage_errors import translated

CHUNK_BYTES = 64 * 1024
SPOOL_SUFFIX = ".upload"
_INCOMING = "incoming"
_ABANDONED = ("*.part", f"*{SPOOL_SUFFIX}")
_NOTE_SUFFIX = ".unclaimed"
# Far longer than a row takes after its bytes. Locks make it safe however short it is.
UNCLAIMED_AFTER_SECONDS = 600
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
        _unlock(key)


def _unlock(key: int) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
    except Error:
        # A deadline that strikes in the middle of a statement leaves such a connection. The lock ends with its
        # session; kept, it would hold off these bytes for as long as the process lives.
        if connection.in_atomic_block:
            raise
        connection.close()


def store(stream: IO[bytes], *, name: str, size_bytes: int) -> str:
    """Write a stream from its beginning unless its bytes are there already; return the name in the storage."""
    with translated():
        if default_storage.exists(name) and default_storage.size(name) == size_bytes:
            return name
        stream.seek(0)
        local = _local_path(name)
        if local is None:
            return _put(stream, name, size_bytes)
        _write(stream, local)
        return name


@contextmanager
def unclaimed(name: str) -> Iterator[None]:
    """Note in a local storage that the bytes of a name have no row yet; the caller holds `locked`.

    The note goes at the end, or by `forget_unclaimed`; `unclaimed_names` tells those that a kill has left behind.
    """
    folder = _local_path(_INCOMING)
    if folder is None:
        yield
        return
    note = folder / f"{name}{_NOTE_SUFFIX}"
    with translated():
        folder.mkdir(parents=True, exist_ok=True)
        note.touch()
    try:
        yield
    except StorageUnavailable:
        # Nothing was stored.
        forget_unclaimed(name)
        raise
    forget_unclaimed(name)


def unclaimed_names() -> list[str]:
    """Return the names whose notes have been left behind for a while."""
    folder = _local_path(_INCOMING)
    if folder is None or not folder.is_dir():
        return []
    latest = time.time() - UNCLAIMED_AFTER_SECONDS
    names = []
    for note in folder.glob(f"*{_NOTE_SUFFIX}"):
        with suppress(FileNotFoundError):
            if note.stat().st_mtime < latest:
                names.append(note.name.removesuffix(_NOTE_SUFFIX))
    return names


def forget_unclaimed(name: str) -> None:
    """Take the note of a name away."""
    folder = _local_path(_INCOMING)
    if folder is not None:
        with suppress(OSError):
            (folder / f"{name}{_NOTE_SUFFIX}").unlink(missing_ok=True)


def exists(name: str) -> bool:
    """Tell whether the bytes are there."""
    with translated():
        return default_storage.exists(name)


def remove(name: str) -> None:
    """Delete bytes; missing ones are no error."""
    with translated():
        default_storage.delete(name)


def remove_abandoned() -> int:
    """Delete half-written files that killed processes left in a local storage; return how many."""
    folder = _local_path(_INCOMING)
    if folder is None or not folder.is_dir():
        return 0
    oldest = time.time() - ABANDONED_AFTER_SECONDS
    removed = 0
    for partial in (path for pattern in _ABANDONED for path in folder.glob(pattern)):
        # Renamed or removed by others meanwhile: gone all the same. What cannot be removed holds up no other.
        with suppress(OSError):
            if partial.stat().st_mtime < oldest:
                partial.unlink()
                removed += 1
    return removed


def spool() -> IO[bytes]:
    """Open a temporary file for an upload that comes in; a local storage can take it over without copying it."""
    folder = _local_path(_INCOMING)
    with translated():
        if folder is None:
            # Without a name: nobody would clear up behind a process that is killed.
            return tempfile.TemporaryFile()
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(suffix=SPOOL_SUFFIX, dir=folder)


@contextmanager
def reading(name: str) -> Iterator[IO[bytes]]:
    """Open stored bytes as a stream, all of them at hand: for small ones. Raises: FileNotFoundError."""
    with translated(_is_there):
        stream = default_storage.open(name)
    with stream:
        yield cast("IO[bytes]", stream)


@contextmanager
def opened(name: str) -> Iterator[int]:
    """Open stored bytes as a descriptor that can only be read. Raises: FileNotFoundError."""
    with translated(_is_there):
        descriptor = _descriptor(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Span(Iterator[bytes]):
    """A part of stored bytes that is read in chunks, in constant memory; close it. `left` counts down to its end."""

    def __init__(self, stream: IO[bytes], left: int | None) -> None:
        self._stream = stream
        self._left = left

    def __next__(self) -> bytes:
        with translated():
            chunk = self._stream.read(CHUNK_BYTES if self._left is None else min(CHUNK_BYTES, self._left))
        if not chunk:
            self.close()
            raise StopIteration
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        """Let go of the storage."""
        self._stream.close()


def open_span(name: str, first: int = 0, last: int | None = None) -> Span:
    """Open the bytes `first` to `last` (inclusive; None: to the end). Raises: FileNotFoundError."""
    left = None if last is None else last - first + 1
    with translated(_is_there):
        native: Any = getattr(default_storage, "open_span", None)
        if native is not None:
            return Span(native(name, first, last), left)
        stream = default_storage.open(name)
        try:
            stream.seek(first)
        except BaseException:
            stream.close()
            raise
        return Span(cast("IO[bytes]", stream), left)


def _descriptor(name: str) -> int:
    """Return a descriptor of the bytes, of a copy where the storage is no local folder."""
    local = _local_path(name)
    if local is not None:
        return os.open(local, os.O_RDONLY | os.O_CLOEXEC)
    with closing(open_span(name)) as span, tempfile.NamedTemporaryFile(delete=False) as copy:
        descriptor = os.open(copy.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Its name goes first: a process that is killed while it copies leaves nothing behind.
            Path(copy.name).unlink()
            copy.writelines(span)
            copy.flush()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _is_there() -> bool:
    """Tell whether the storage itself is in its place, so that only the file can be missing."""
    root = _local_path("")
    if root is not None:
        return root.is_dir()
    try:
        # Fails without its bucket; lists next to nothing, because nothing of a remote storage is named so.
        default_storage.listdir(_INCOMING)
    except Exception:  # noqa: BLE001  (each storage has errors of its own; any of them says no)
        return False
    return True


def _local_path(name: str) -> Path | None:
    """Return the path of a name where the storage is a local folder."""
    with suppress(NotImplementedError):
        return Path(default_storage.path(name))
    return None


def _put(stream: IO[bytes], name: str, size_bytes: int) -> str:
    """Put an object and make sure that the storage has all of it."""
    saved = default_storage.save(name, StorageFile(stream, name=name))
    kept = default_storage.size(saved)
    if kept != size_bytes:
        default_storage.delete(saved)
        raise StorageUnavailable(f"it kept {kept} of {size_bytes} bytes")
    return saved


def _write(stream: IO[bytes], final: Path) -> None:
    """Write a file so that neither a crash nor a power cut leaves it in part."""
    incoming = cast("Path", _local_path(_INCOMING))
    incoming.mkdir(parents=True, exist_ok=True)
    partial = incoming / f"{ids.uuid7()}.part"
    try:
        with _linked(stream, partial) or partial.open("xb") as file:
            if file.writable():
                shutil.copyfileobj(stream, file, CHUNK_BYTES)
                file.flush()
            mode = getattr(default_storage, "file_permissions_mode", None)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        final.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(final)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(final.parent)


def _linked(stream: IO[bytes], partial: Path) -> IO[bytes] | None:
    """Give an upload's temporary file a second name, and open that; None where it has to be copied."""
    name = getattr(stream, "name", None)
    if not isinstance(name, str) or Path(name).parent != partial.parent:
        return None
    # Some file systems know no second names.
    with suppress(OSError):
        partial.hardlink_to(name)
        return partial.open("rb")
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
