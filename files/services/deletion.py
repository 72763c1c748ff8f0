"""Deletion: soft for the row; text and bytes go."""

from typing import Any

from django.db import transaction

from accounts import services as accounts
from files import stored_bytes, transitions
from files.choices import FileStatus
from files.errors import FileNotFound
from files.models import File, FileContent


def delete_file(file: File, *, actor: str = "") -> None:
    """Hide a file from every read, drop its text, and after commit its bytes if no live row shares them.

    `actor` stands in the audit trail. Raises: FileNotFound when somebody else deleted it first.
    """
    with transaction.atomic():
        if not transitions.delete(file):
            raise FileNotFound
        FileContent.objects.filter(file=file).delete()
        accounts.record_audit(actor=actor, owner=file.owner, action="file.deleted", target=file, before=_audited(file))
        transaction.on_commit(lambda: _remove_unshared(file.file_hash, file.file_path))


def _audited(file: File) -> dict[str, Any]:
    return {"original_filename": file.original_filename, "file_hash": file.file_hash, "status": file.status}


def _remove_unshared(file_hash: str, path: str) -> None:
    with stored_bytes.locked(file_hash):
        sharing = File.objects.filter(file_hash=file_hash, file_path=path).exclude(status=FileStatus.DELETED)
        if not sharing.exists():
            stored_bytes.remove(path)
