"""How an upload's body is read: up to the size limit, small files in memory, others beside their final place."""

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, MemoryFileUploadHandler, TemporaryFileUploadHandler
from django.http import HttpRequest

from files import storage_errors, stored_bytes
from files.services.upload import too_large

# Room for the multipart framing and small fields beside the file.
_FRAMING_BYTES = 1024**2


class SizeLimitUploadHandler(FileUploadHandler):
    """Stands before the others. Raises FileTooLarge by Content-Length, else at the first chunk too many.

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


class _Spooled(TemporaryUploadedFile):
    """An upload's temporary file where the storage can take it over (`stored_bytes.spool`)."""

    def __init__(self, *about: Any) -> None:
        # Not Django's own beginning, which would make the file elsewhere.
        UploadedFile.__init__(self, stored_bytes.spool(), *about)

    def close(self) -> None:
        # What a full disk has not taken is written once more by closing.
        with suppress(OSError):
            super().close()


class SpoolUploadHandler(TemporaryFileUploadHandler):
    """Streams a file to a temporary one. Raises StorageFull and StorageUnavailable."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        FileUploadHandler.new_file(self, *args, **kwargs)
        self.file = _Spooled(self.file_name, self.content_type, 0, self.charset, self.content_type_extra)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        with storage_errors.translated():
            self.file.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[Any]:
        with storage_errors.translated():
            return super().file_complete(file_size)  # type: ignore[return-value]


def limit_upload(request: HttpRequest, *, goes_on: bool = False) -> None:
    """Put our upload handlers into a request; its body must not have been read yet."""
    request.upload_handlers = [
        SizeLimitUploadHandler(request, goes_on=goes_on),
        MemoryFileUploadHandler(request),
        SpoolUploadHandler(request),
    ]


def announced_bytes(request: HttpRequest) -> int:
    """Return how long the file of this request is at least, by its Content-Length; 0 where that says nothing."""
    length = request.headers.get("Content-Length", "")
    return max(0, int(length) - _FRAMING_BYTES) if length.isdecimal() else 0


def ended_early(request: HttpRequest) -> bool:
    """Tell whether the body ended in the middle of a file."""
    return any(getattr(handler, "unfinished", False) for handler in request.upload_handlers)


def close_upload(request: HttpRequest) -> None:
    """Close what the handlers have spooled: a refusal in mid-stream leaves the temporary file open."""
    for handler in request.upload_handlers:
        spooled = getattr(handler, "file", None)
        if spooled is not None:
            spooled.close()
