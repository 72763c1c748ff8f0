"""Coded refusals of files."""

from collections.abc import Sequence

from core.errors import Conflict, InvalidInput, InvalidState, NotFound, Problem, Unavailable


class FileNotFound(NotFound):
    """No such file for this caller; deleted ones and other owners' count as missing."""

    code = "FILE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("File not found")


class UploadRefused(InvalidInput):
    """An upload that is not taken; nothing was stored."""

    def __init__(self, detail: str, *, field: tuple[str, str] = ("body", "file")) -> None:
        super().__init__(detail, problems=[Problem(field, detail)])


class FileTooLarge(UploadRefused):
    code = "FILE_TOO_LARGE"


class FileTypeNotAllowed(UploadRefused):
    code = "FILE_TYPE_NOT_ALLOWED"


class EmptyFile(UploadRefused):
    code = "EMPTY_FILE"


class TypeMismatch(UploadRefused):
    """The name's extension and the content disagree."""

    code = "TYPE_MISMATCH"


class NoFileAccepted(InvalidInput):
    """Of several uploads none was taken; nothing was stored."""

    def __init__(self, refusals: Sequence[tuple[str, str]]) -> None:
        reasons = "; ".join(f"{filename or 'unnamed'}: {reason}" for filename, reason in refusals)
        problems = [Problem(("body", "files", index), reason) for index, (_, reason) in enumerate(refusals)]
        super().__init__(f"No file was accepted. {reasons}", problems=problems)


class FileNotProcessable(InvalidState):
    """The file cannot be processed, or not be read yet, in its present status."""


class FileBusy(Conflict):
    """Another worker is extracting this file now; come again."""

    code = "FILE_BUSY"


class FileExtractionFailed(InvalidState):
    """The file has no text: its extraction failed. `code` is the extraction's, e.g. `encrypted`."""

    def __init__(self, detail: str, *, code: str) -> None:
        super().__init__(detail)
        self.code = code


class IdempotencyKeyReused(Conflict):
    """The key was used for an upload of something else, or of a file that has been deleted; nothing was stored."""

    code = "IDEMPOTENCY_KEY_REUSED"


class FileQuotaExceeded(UploadRefused):
    """The owner's files would take more than its quota; nothing was stored. All figures in bytes."""

    code = "FILE_QUOTA_EXCEEDED"

    def __init__(self, *, used_bytes: int, quota_bytes: int, more_bytes: int, field: tuple[str, str]) -> None:
        super().__init__(
            f"File quota exceeded: {used_bytes} of {quota_bytes} bytes are used, {more_bytes} more do not fit",
            field=field,
        )
        self.used_bytes = used_bytes
        self.quota_bytes = quota_bytes
        self.more_bytes = more_bytes


class StorageUnavailable(Unavailable):
    """The storage of files does not do its work; nothing is lost, come again. `reason` is for operators."""

    code = "STORAGE_UNAVAILABLE"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file storage is not available: {reason}")
        self.reason = reason


class StorageFull(StorageUnavailable):
    """The storage takes no more bytes; nothing was stored."""

    code = "STORAGE_FULL"

    def __init__(self) -> None:
        super().__init__("it is full")
        self.detail = "The file storage is full"


class FileMakingFailed(InvalidInput):
    """No file could be made out of this one. `code` is the cause's, in capitals: UNSUPPORTED_TYPE, ENCRYPTED, ..."""

    def __init__(self, detail: str, *, code: str, field: tuple[str, str] = ("path", "id")) -> None:
        super().__init__(detail, problems=[Problem(field, detail, code)])
        self.code = code.upper()
