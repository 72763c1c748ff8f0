"""What files can do. Callers use this module: `files.services.upload_file(...)`."""

from files.selectors import get_owned_file
from files.services import deletion, links, quota
from files.services.deletion import delete_file
from files.services.extraction import (
    ensure_extracted,
    extract_due_files,
    process_file,
    record_triggered_workflows,
    sweep_files,
    trigger_facts,
)
from files.services.made_files import Act
from files.services.making import convert_file, optimize_file, resize_image, store_text
from files.services.quota import quota_use
from files.services.recognition import RecognizedText, recognize_text
from files.services.reextraction import plan_reextraction, reextract_files
from files.services.retention import remove_old_files
from files.services.upload import expect_room, upload_file, upload_files
from files.services.validation import validate_file

__all__ = [
    "Act",
    "RecognizedText",
    "convert_file",
    "delete_file",
    "deletion",
    "ensure_extracted",
    "expect_room",
    "extract_due_files",
    "get_owned_file",
    "links",
    "optimize_file",
    "plan_reextraction",
    "process_file",
    "quota",
    "quota_use",
    "recognize_text",
    "record_triggered_workflows",
    "reextract_files",
    "remove_old_files",
    "resize_image",
    "store_text",
    "sweep_files",
    "trigger_facts",
    "upload_file",
    "upload_files",
    "validate_file",
]
