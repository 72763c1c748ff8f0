"""Deletion: soft for the row; text and bytes go."""

import math
import time
from typing import Any

from django.db import transaction
from django.db.models import Min, QuerySet

from accounts import services as accounts
from core import clock, logs
from files import stored_bytes, transitions
from files.choices import FileStatus
from files.errors import FileNotFound, StorageUnavailable
from files.models import File, FileContent

# Marks deleted rows whose bytes may still be in the storage: from the deletion on until they have gone.
LEFT_BYTES = "bytes_left"
MOST_AT_ONCE = 1000
# Finding them reads the table: seldom enough.
SWEEP_EVERY_SECONDS = 600.0
# Whoever sweeps has schedules to keep besides, and a storage may take its time for each file.
SWEEP_SECONDS = 1.0
_next_sweep_at = 0.0
log = logs.get(__name__)


def delete_file(file: File, *, actor: str = "") -> None:
    """Hide a file from every read, drop its text, and after commit its bytes if no live row shares them.

    `actor` stands in the audit trail. Raises: FileNotFound when somebody else deleted it first.
    """
    with transaction.atomic():
        if not transitions.delete(file, error_code=LEFT_BYTES):
            raise FileNotFound
        FileContent.objects.filter(file=file).delete()
        accounts.record_audit(actor=actor, owner=file.owner, action="file.deleted", target=file, before=_audited(file))
        transaction.on_commit(lambda: _remove_bytes(file.file_hash, file.file_path))


def _audited(file: File) -> dict[str, Any]:
    return {"original_filename": file.original_filename, "file_hash": file.file_hash, "status": file.status}


def remove_unshared(file_hash: str, path: str) -> bool:
    """Remove bytes unless a live row has them; the caller holds `stored_bytes.locked`. False where they are left.

    A storage that cannot be reached keeps them: whoever deletes a file need not wait for it.
    """
    rows = File.objects.filter(file_hash=file_hash, file_path=path)
    try:
        if not rows.exclude(status=FileStatus.DELETED).exists():
            stored_bytes.remove(path)
    except StorageUnavailable as error:
        rows.update(error_code=LEFT_BYTES, error_message=error.detail, updated_at=clock.now())
        log.warning("file.bytes_left", path=path, reason=error.reason, effect="the sweep removes them")
        return False
    stored_bytes.forget_unclaimed(path)
    return True


def sweep_left_bytes() -> None:
    """Remove left and unclaimed bytes, once in a while per process: call it as often as you like.

    For about SWEEP_SECONDS; the next call goes on with what is left then.
    """
    global _next_sweep_at
    began = time.monotonic()
    if began < _next_sweep_at:
        return
    _next_sweep_at = began + SWEEP_EVERY_SECONDS
    ends_at = began + SWEEP_SECONDS
    done = remove_left_bytes(ends_at=ends_at) + remove_unclaimed_bytes(ends_at=ends_at)
    if done and time.monotonic() >= ends_at:
        _next_sweep_at = 0.0


def remove_unclaimed_bytes(*, ends_at: float = math.inf) -> int:
    """Remove the bytes of killed uploads that were stored but never got a row; return how many names were looked at.

    Only a local storage has the notes that tell of them; nothing is removed by what is merely found in a storage,
    which might be another installation's. `ends_at` is a time of the monotonic clock.
    """
    done = 0
    for name in stored_bytes.unclaimed_names()[:MOST_AT_ONCE]:
        if time.monotonic() >= ends_at:
            break
        file_hash = name.partition(".")[0]
        with stored_bytes.locked(file_hash):
            remove_unshared(file_hash, name)
        done += 1
    return done


def remove_left_bytes(*, ends_at: float = math.inf) -> int:
    """Remove the bytes of deleted files that their storage could not remove then; return how many rows are done.

    The first that cannot be removed ends it, since the storage may be away; it is the last in line the next time.
    `ends_at` is a time of the monotonic clock.
    """
    done = 0
    names = _left().order_by().values_list("file_hash", "file_path").annotate(tried_at=Min("updated_at"))
    for file_hash, path, _ in names.order_by("tried_at")[:MOST_AT_ONCE]:
        cleared = _remove_bytes(file_hash, path) if time.monotonic() < ends_at else None
        if cleared is None:
            return done
        done += cleared
    return done


def _left() -> QuerySet[File]:
    return File.objects.filter(status=FileStatus.DELETED, error_code=LEFT_BYTES)


def _remove_bytes(file_hash: str, path: str) -> int | None:
    """Remove bytes and then the marks of their rows, so that a crash between leaves work for the sweep.

    Returns of how many rows; None where the bytes are left.
    """
    with stored_bytes.locked(file_hash):
        if not remove_unshared(file_hash, path):
            return None
        return _left().filter(file_hash=file_hash, file_path=path).update(error_code="", error_message="")
