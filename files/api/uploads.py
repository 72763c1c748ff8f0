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
    """Stands before Django's handlers. Raises FileTooLarge by Content-Length, else at the first chunk too many.

    With `goes_on` a file over the limit is cut one byte past it instead, so that the others of the request are read
    and the service refuses that one by its size.
    """

    def __init__(self, request: HttpRequest, *, goes_on: bool = False) -> None:
        super().__init__(request)
        self.unfinished = False
        self._goes_on = goes_on

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, str],  # noqa: N803  (Django's name)
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> None:
        if content_length > settings.MAX_FILE_SIZE_BYTES + _FRAMING_BYTES and not self._goes_on:
            raise too_large()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.unfinished = True

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        room = settings.MAX_FILE_SIZE_BYTES + 1 - start
        if len(raw_data) < room:
            return raw_data
        if not self._goes_on:
            raise too_large()
        return raw_data[: max(room, 0)] or None

    def file_complete(self, file_size: int | None) -> UploadedFile[Any] | None:
        self.unfinished = False
        return None


def limit_upload(request: HttpRequest, *, goes_on: bool = False) -> None:
    """Put the size limit before the request's upload handlers; its body must not have been read yet."""
    request.upload_handlers = [
        SizeLimitUploadHandler(request, goes_on=goes_on),
        *(load_handler(handler, request) for handler in settings.FILE_UPLOAD_HANDLERS),
    ]


def ended_early(request: HttpRequest) -> bool:
    """Tell whether the body ended in the middle of a file."""
    return any(getattr(handler, "unfinished", False) for handler in request.upload_handlers)


def close_upload(request: HttpRequest) -> None:
    """Close what the handlers have spooled: a refusal in mid-stream leaves Django's temporary file open."""
    for handler in request.upload_handlers:
        spooled = getattr(handler, "file", None)
        if spooled is not None:
            spooled.close()
