"""Deletion: soft for the row; text and bytes go."""

import time
from typing import Any

from django.db import transaction

from accounts import services as accounts
from core import logs
from files import stored_bytes, transitions
from files.choices import FileStatus
from files.errors import FileNotFound, StorageUnavailable
from files.models import File, FileContent

# Marks deleted rows whose bytes are still in the storage.
LEFT_BYTES = "bytes_left"
MOST_AT_ONCE = 1000
# Finding them reads the table: seldom enough.
SWEEP_EVERY_SECONDS = 600.0
_next_sweep_at = 0.0
log = logs.get(__name__)


def delete_file(file: File, *, actor: str = "") -> None:
    """Hide a file from every read, drop its text, and after commit its bytes if no live row shares them.

    `actor` stands in the audit trail. Raises: FileNotFound when somebody else deleted it first.
    """
    with transaction.atomic():
        if not transitions.delete(file):
            raise FileNotFound
        FileContent.objects.filter(file=file).delete()
        accounts.record_audit(actor=actor, owner=file.owner, action="file.deleted", target=file, before=_audited(file))
        transaction.on_commit(lambda: _remove_bytes(file.file_hash, file.file_path))


def _audited(file: File) -> dict[str, Any]:
    return {"original_filename": file.original_filename, "file_hash": file.file_hash, "status": file.status}


def remove_unshared(file_hash: str, path: str) -> None:
    """Remove bytes unless a live row has them; the caller holds `stored_bytes.locked`.

    A storage that cannot be reached keeps them: whoever deletes a file need not wait for it.
    """
    sharing = File.objects.filter(file_hash=file_hash, file_path=path).exclude(status=FileStatus.DELETED)
    if sharing.exists():
        return
    try:
        stored_bytes.remove(path)
    except StorageUnavailable as error:
        File.objects.filter(file_hash=file_hash, file_path=path).update(error_code=LEFT_BYTES)
        log.warning("file.bytes_left", path=path, reason=error.reason, effect="the sweep removes them")


def sweep_left_bytes() -> None:
    """Try again what `remove_left_bytes` tries, once in a while per process: call it as often as you like."""
    global _next_sweep_at
    now = time.monotonic()
    if now >= _next_sweep_at:
        _next_sweep_at = now + SWEEP_EVERY_SECONDS
        remove_left_bytes()


def remove_left_bytes() -> int:
    """Remove the bytes of deleted files that their storage could not remove then; return how many rows are done."""
    left = File.objects.filter(status=FileStatus.DELETED, error_code=LEFT_BYTES)
    done = 0
    for file_hash, path in left.order_by().values_list("file_hash", "file_path").distinct()[:MOST_AT_ONCE]:
        with stored_bytes.locked(file_hash):
            rows = left.filter(file_hash=file_hash, file_path=path)
            cleared = rows.update(error_code="")
            remove_unshared(file_hash, path)
            if rows.exists():
                return done
            done += cleared
    return done


def _remove_bytes(file_hash: str, path: str) -> None:
    with stored_bytes.locked(file_hash):
        remove_unshared(file_hash, path)
