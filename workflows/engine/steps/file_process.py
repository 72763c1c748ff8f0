"""`file_process`: validate, extract or process an uploaded file (contract 13.3).

`ocr_extract` gives a document's text together with the words of its pictures, read in the language asked for.
"""

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from core import clock
from core.errors import DomainError
from files import services as files
from files.errors import FileBusy, FileNotFound
from files.models import File
from workflows.choices import Effect, Lane
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError, Wait
from workflows.engine.steps.registry import register

BUSY_PAUSE_SECONDS = 0.5


class FileProcessConfig(StepConfig):
    action: Literal["validate", "extract", "ocr_extract", "process"] = "process"
    file_id: int | str | None = None
    allowed_types: list[str] | None = None
    max_size_mb: float | None = Field(default=None, gt=0)
    fail_on_invalid: bool = False
    tables: bool = False
    language: str = Field(default="en", min_length=1, max_length=100)


@register
class FileProcessStep(Step[FileProcessConfig]):
    type = "file_process"
    title = "Process a file"
    config_model = FileProcessConfig
    output_keys = ("file_id", "action", "status", "valid", "errors", "content", "word_count", "confidence", "metadata")
    # Extraction writes rows of our own under their own fence: repeating it does no harm outside.
    effect = Effect.IDEMPOTENT
    lane = Lane.FILES

    def run(self, config: FileProcessConfig, context: StepContext) -> Output | Wait:
        file = self._file(config, context)
        if config.action == "validate":
            return self._validate(file, config)
        return self._extract(file, config)

    def _file(self, config: FileProcessConfig, context: StepContext) -> File:
        wanted = config.file_id if config.file_id not in {None, ""} else context.trigger.get("file_id")
        if not str(wanted).isdigit():
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

    def _extract(self, file: File, config: FileProcessConfig) -> Output | Wait:
        try:
            details = _recognized(file, config) if config.action == "ocr_extract" else _extracted(file, config)
        except FileBusy:
            # Not this step's failure: a dead worker's file is free when its lease ends, longer than retries last.
            until = clock.now() + timedelta(seconds=BUSY_PAUSE_SECONDS)
            return Wait(until=until, reason=f"waits for the extraction of file {file.pk} by another worker")
        except DomainError as error:
            raise StepError(error.code.lower(), error.detail, retryable=False) from error
        return Output(details)


def _extracted(file: File, config: FileProcessConfig) -> dict[str, Any]:
    done = files.ensure_extracted(file.pk, owner_id=file.owner_id)
    text, metadata = done.content.text, done.extraction_metadata
    if config.action == "extract":
        details = {"content": text, "word_count": metadata.get("word_count", 0), "metadata": metadata}
    else:
        details = {"content_length": len(text), "metadata": metadata}
    return _head(done, config) | details | _tables(done.content.tables, config)


def _recognized(file: File, config: FileProcessConfig) -> dict[str, Any]:
    found = files.recognize_text(file.pk, owner_id=file.owner_id, language=config.language)
    details = {
        "content": found.text,
        "word_count": found.metadata.get("word_count", 0),
        "confidence": found.confidence,
        "metadata": found.metadata,
    }
    return _head(found.file, config) | details | _tables(found.tables, config)


def _tables(tables: list[dict[str, Any]], config: FileProcessConfig) -> dict[str, Any]:
    """Return [{name, rows: [[cell text]]}] if asked for; of a PDF those of its first ruled pages (PDF_TABLE_PAGES)."""
    return {"tables": tables} if config.tables else {}


def _head(file: File, config: FileProcessConfig) -> dict[str, Any]:
    return {"file_id": file.pk, "action": config.action, "status": file.status}
