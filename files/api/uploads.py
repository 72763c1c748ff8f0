"""Refuses an upload over the size limit while it streams in, before it is spooled to a disk."""

from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, load_handler
from django.http import HttpRequest

from files.services.upload import too_large

# Room for the multipart framing and small fields beside the file.
_FRAMING_BYTES = 1024**2


class SizeLimitUploadHandler(FileUploadHandler):
    """Stands before Django's handlers. Raises FileTooLarge by Content-Length, else at the first chunk too many."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, str],  # noqa: N803  (Django's name)
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> None:
        if content_length > settings.MAX_FILE_SIZE_BYTES + _FRAMING_BYTES:
            raise too_large()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start + len(raw_data) > settings.MAX_FILE_SIZE_BYTES:
            raise too_large()
        return raw_data

    def file_complete(self, file_size: int | None) -> UploadedFile[Any] | None:
        return None


def limit_upload(request: HttpRequest) -> None:
    """Put the size limit before the request's upload handlers; its body must not have been read yet."""
    request.upload_handlers = [
        SizeLimitUploadHandler(request),
        *(load_handler(handler, request) for handler in settings.FILE_UPLOAD_HANDLERS),
    ]


def close_upload(request: HttpRequest) -> None:
    """Close what the handlers have spooled: a refusal in mid-stream leaves Django's temporary file open."""
    for handler in request.upload_handlers:
        spooled = getattr(handler, "file", None)
        if spooled is not None:
            spooled.close()
