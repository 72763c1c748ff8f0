"""Coded refusals of files."""

from collections.abc import Sequence

from core.errors import Conflict, InvalidInput, InvalidState, NotFound, Problem


class FileNotFound(NotFound):
    """No such file for this caller; deleted ones and other owners' count as missing."""

    code = "FILE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("File not found")


class UploadRefused(InvalidInput):
    """An upload that is not taken; nothing was stored."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, problems=[Problem(("body", "file"), detail)])


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
