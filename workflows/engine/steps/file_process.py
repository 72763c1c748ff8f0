"""`file_process`: validate, extract or process a file, or make others out of it (contract 13.3).

`ocr_extract` gives a document's text together with the words of its pictures, read in the language asked for; what was
read from pictures becomes a text file too.
Files that are made belong to the execution (`output_file_ids`) and name it as their maker.
"""

import re
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core import clock
from core.errors import DomainError, Unavailable
from files import services as files
from files.errors import FileBusy, FileNotFound
from files.makers.base import QUALITIES, RESOLUTIONS, SIDES, USUAL_QUALITY, USUAL_RESOLUTION
from files.models import File
from workflows.choices import Effect, Lane
from workflows.engine.steps import file_making
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError, Wait
from workflows.engine.steps.registry import register

BUSY_PAUSE_SECONDS = 0.5
_NUMBER = re.compile(r"[0-9]{1,30}")


class FileProcessConfig(StepConfig):
    """`target_format`, `sheet`, `pages` and `dpi` are convert's, `quality` optimize's, the last three resize's."""

    action: Literal["validate", "extract", "convert", "optimize", "resize", "ocr_extract", "process"] = "process"
    file_id: int | str | None = None
    allowed_types: list[str] | None = None
    max_size_mb: float | None = Field(default=None, gt=0)
    fail_on_invalid: bool = False
    tables: bool = False
    language: str = Field(default="en", min_length=1, max_length=100)
    target_format: str = ""
    sheet: str | int | None = None
    pages: str | int | None = None
    dpi: int = Field(default=USUAL_RESOLUTION, ge=RESOLUTIONS[0], le=RESOLUTIONS[1])
    quality: int = Field(default=USUAL_QUALITY, ge=QUALITIES[0], le=QUALITIES[1])
    width: int | None = Field(default=None, ge=SIDES[0], le=SIDES[1])
    height: int | None = Field(default=None, ge=SIDES[0], le=SIDES[1])
    keep_ratio: bool = False

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.action == "convert" and not self.target_format:
            raise ValueError("target_format is required for the action convert")
        if self.action == "resize" and (self.width is None or self.height is None):
            raise ValueError("width and height are required for the action resize")
        return self


@register
class FileProcessStep(Step[FileProcessConfig]):
    type = "file_process"
    title = "Process a file"
    config_model = FileProcessConfig
    output_keys = (
        *("file_id", "action", "status", "valid", "errors", "content", "word_count", "confidence", "metadata"),
        *("output_file_id", "output_file_ids", "format", "original_size", "optimized_size", "unchanged"),
        *("width", "height"),
    )
    # Extraction writes rows of our own under their own fence, and an act makes its files once: repeating does no harm.
    effect = Effect.IDEMPOTENT
    lane = Lane.FILES

    def run(self, config: FileProcessConfig, context: StepContext) -> Output | Wait:
        file = self._file(config, context)
        if config.action == "validate":
            return self._validate(file, config)
        return self._work(file, config, context)

    def _file(self, config: FileProcessConfig, context: StepContext) -> File:
        wanted = config.file_id if config.file_id not in {None, ""} else context.trigger.get("file_id")
        if not _NUMBER.fullmatch(str(wanted)):
            raise StepError("config_invalid", f"file_id must be a number, got {wanted!r}", retryable=False)
        try:
            return files.get_owned_file(int(str(wanted)), owner_id=context.owner_id)
        except FileNotFound as error:
            message = f"file {wanted} does not exist or belongs to somebody else"
            raise StepError("file_not_found", message, retryable=False) from error

    def _validate(self, file: File, config: FileProcessConfig) -> Output:
        verdict = files.validate_file(file, allowed_types=config.allowed_types, max_size_mb=config.max_size_mb)
        if config.fail_on_invalid and not verdict["valid"]:
            raise StepError("file_invalid", "; ".join(verdict["errors"]), retryable=False)
        return Output(_head(file, config) | verdict)

    def _work(self, file: File, config: FileProcessConfig, context: StepContext) -> Output | Wait:
        try:
            return Output(_details(file, config, context))
        except FileBusy:
            # Not this step's failure: a dead worker's file is free when its lease ends, longer than retries last.
            until = clock.now() + timedelta(seconds=BUSY_PAUSE_SECONDS)
            return Wait(until=until, reason=f"waits for the extraction of file {file.pk} by another worker")
        except DomainError as error:
            raise StepError(error.code.lower(), error.detail, retryable=isinstance(error, Unavailable)) from error


def _details(file: File, config: FileProcessConfig, context: StepContext) -> dict[str, Any]:
    if config.action in file_making.MAKERS:
        return _head(file, config) | file_making.MAKERS[config.action](file, config, context)
    return _recognized(file, config, context) if config.action == "ocr_extract" else _extracted(file, config)


def _extracted(file: File, config: FileProcessConfig) -> dict[str, Any]:
    done = files.ensure_extracted(file.pk, owner_id=file.owner_id)
    text, metadata = done.content.text, done.extraction_metadata
    if config.action == "extract":
        details = {"content": text, "word_count": metadata.get("word_count", 0), "metadata": metadata}
    else:
        details = {"content_length": len(text), "metadata": metadata}
    return _head(done, config) | details | _tables(done.content.tables, config)


def _recognized(file: File, config: FileProcessConfig, context: StepContext) -> dict[str, Any]:
    found = files.recognize_text(file.pk, owner_id=file.owner_id, language=config.language)
    details = {
        "content": found.text,
        "word_count": found.metadata.get("word_count", 0),
        "confidence": found.confidence,
        "metadata": found.metadata,
    }
    is_read = found.confidence is not None  # else the text is the file's own, and nothing new
    kept = file_making.keep_text(found.file, found.text, config.language, context) if is_read else {}
    return _head(found.file, config) | details | _tables(found.tables, config) | kept


def _tables(tables: list[dict[str, Any]], config: FileProcessConfig) -> dict[str, Any]:
    """Return [{name, rows: [[cell text]]}] if asked for; of a PDF those of its first ruled pages (PDF_TABLE_PAGES)."""
    return {"tables": tables} if config.tables else {}


def _head(file: File, config: FileProcessConfig) -> dict[str, Any]:
    return {"file_id": file.pk, "action": config.action, "status": file.status}
