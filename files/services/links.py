"""Addresses that give a file's bytes without a key, for a while: the remote storage's own, else a token of ours."""

import unicodedata
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.files.storage import default_storage
from django.utils.http import content_disposition_header

from files.errors import FileNotFound
from files.models import File
from files.selectors import get_owned_file
from files.storage_errors import translated

_SALT = "files.download"


def disposition(file: File) -> str:
    """Return the Content-Disposition of a download: always an attachment, under the original name (RFC 6266, 5987)."""
    name = "".join(char for char in file.original_filename if unicodedata.category(char) not in {"Cc", "Cs"})
    return content_disposition_header(as_attachment=True, filename=name) or "attachment"


def remote_url(file: File) -> str | None:
    """Return an address of the remote storage that works for DOWNLOAD_URL_SECONDS; None where it is a local folder.

    Raises: StorageUnavailable.
    """
    kept_seconds: int = settings.DOWNLOAD_URL_SECONDS
    parameters, options = _signing(settings.STORAGE_BACKEND, file, kept_seconds)
    if parameters is None:
        return None
    with translated():
        url: str = default_storage.url(file.file_path, parameters=parameters, **options)  # type: ignore[call-arg]
    return url


def make_token(file: File) -> str:
    """Return a signed token that names a file and the time."""
    return signing.dumps([file.pk, file.owner_id], salt=_SALT)


def file_of_token(token: str) -> File:
    """Return the file of a token that is younger than DOWNLOAD_URL_SECONDS. Raises: FileNotFound for any other."""
    try:
        file_id, owner_id = signing.loads(token, salt=_SALT, max_age=settings.DOWNLOAD_URL_SECONDS)
    except signing.BadSignature as error:
        raise FileNotFound from error
    return get_owned_file(file_id, owner_id=owner_id)


def _signing(backend: str, file: File, kept_seconds: int) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the (parameters, options) of a storage's `url`, which each names in its own way."""
    if backend == "s3":
        answer = {"ResponseContentDisposition": disposition(file), "ResponseContentType": file.mime_type}
        return answer, {"expire": kept_seconds}
    if backend == "gcs":
        answer = {"response_disposition": disposition(file), "response_type": file.mime_type}
        return answer | {"expiration": timedelta(seconds=kept_seconds)}, {}
    if backend == "azure":
        answer = {"content_disposition": disposition(file), "content_type": file.mime_type}
        return answer, {"expire": kept_seconds}
    return None, {}
