"""Deletion: soft for the row; text and bytes go."""

from django.db import transaction

from files import stored_bytes, transitions
from files.choices import FileStatus
from files.errors import FileNotFound
from files.models import File, FileContent


def delete_file(file: File) -> None:
    """Hide a file from every read, drop its text, and after commit its bytes if no live row shares them.

    Raises: FileNotFound when somebody else deleted it first.
    """
    with transaction.atomic():
        if not transitions.delete(file):
            raise FileNotFound
        FileContent.objects.filter(file=file).delete()
        transaction.on_commit(lambda: _remove_unshared(file.file_hash, file.file_path))


def _remove_unshared(file_hash: str, path: str) -> None:
    with stored_bytes.locked(file_hash):
        sharing = File.objects.filter(file_hash=file_hash, file_path=path).exclude(status=FileStatus.DELETED)
        if not sharing.exists():
            stored_bytes.remove(path)
