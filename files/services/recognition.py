"""The words of a file's pictures in a language of the caller's choice (the step's action `ocr_extract`)."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from files import sandbox, stored_bytes
from files.errors import FileBusy, FileExtractionFailed, StorageUnavailable
from files.extractors import ocr_languages
from files.extractors.base import Extraction, ExtractionFailed
from files.filetypes import IMAGE_EXTENSIONS, extension_of
from files.models import File
from files.services import contents
from files.services.extraction import ensure_extracted, extraction_limits


@dataclass(frozen=True)
class RecognizedText:
    """A file's text. `confidence` (0 to 1) is None where nothing was read from pictures: the text is the file's own."""

    file: File
    text: str
    metadata: dict[str, Any]
    tables: list[dict[str, Any]]
    confidence: float | None


def recognize_text(file_id: int, *, owner_id: int, language: str) -> RecognizedText:
    """Return a file's text with that of its pictures read in `language` (`en`, `eng`, `en+de`).

    What the extraction has read in this language already is given as it stands; another language reads the pictures
    again for the caller only and changes nothing of the file.
    Raises: FileNotFound; FileBusy (come again); FileExtractionFailed, also with `ocr_unavailable` and
    `ocr_language_unknown`, which lists the languages installed.
    """
    file = ensure_extracted(file_id, owner_id=owner_id)
    metadata: dict[str, Any] = file.extraction_metadata
    has_pictures = _has_pictures(file)
    wanted = _resolved(language) if has_pictures or ocr_languages.is_available() else ""
    if not has_pictures or metadata.get("ocr_language") == wanted:
        confidence = metadata.get("ocr_confidence")
        return RecognizedText(file, file.content.text, metadata, file.content.tables, confidence)
    extraction = _read(file, wanted)
    metadata = contents.metadata_of(file, extraction)
    return RecognizedText(file, extraction.text, metadata, extraction.tables, metadata.get("ocr_confidence"))


def _resolved(language: str) -> str:
    try:
        return ocr_languages.resolve(language)
    except ExtractionFailed as failure:
        raise FileExtractionFailed(failure.message, code=failure.code) from failure


def _has_pictures(file: File) -> bool:
    """Tell whether words of this file stand in pictures.

    A PDF without the key has no scanned pages, or was extracted where none could be read.
    """
    extension = extension_of(file.filename)
    unread = extension == "pdf" and not file.content.text.strip()
    return extension in IMAGE_EXTENSIONS or "ocr_language" in file.extraction_metadata or unread


def _read(file: File, language: str) -> Extraction:
    try:
        with stored_bytes.opened(file.file_path) as descriptor:
            extension, limits = extension_of(file.filename), extraction_limits(language)
            return sandbox.run_extraction(descriptor, extension, limits, warm=settings.EXTRACT_WARM_SERVER)
    except ExtractionFailed as failure:
        raise FileExtractionFailed(failure.message, code=failure.code) from failure
    except StorageUnavailable as outage:
        raise FileBusy(outage.detail) from outage
    except FileNotFoundError as error:
        raise FileExtractionFailed("The stored bytes of this file are missing", code="bytes_missing") from error
