"""What files can do. Callers use this module: `files.services.upload_file(...)`."""

from files.selectors import get_owned_file
from files.services.deletion import delete_file
from files.services.extraction import (
    ensure_extracted,
    extract_due_files,
    process_file,
    record_triggered_workflows,
    sweep_files,
    trigger_facts,
)
from files.services.recognition import RecognizedText, recognize_text
from files.services.upload import upload_file, upload_files
from files.services.validation import validate_file

__all__ = [
    "RecognizedText",
    "delete_file",
    "ensure_extracted",
    "extract_due_files",
    "get_owned_file",
    "process_file",
    "recognize_text",
    "record_triggered_workflows",
    "sweep_files",
    "trigger_facts",
    "upload_file",
    "upload_files",
    "validate_file",
]
