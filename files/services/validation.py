"""The verdict of the workflow step `file_process` with the action `validate`."""

from collections.abc import Sequence
from typing import Any

from files import filetypes
from files.models import File


def validate_file(
    file: File, *, allowed_types: Sequence[str] | None = None, max_size_mb: float | None = None
) -> dict[str, Any]:
    """Return {valid, size, mime_type, errors}; sizes are bytes, extensions compare without case and dot."""
    errors: list[str] = []
    extension = filetypes.extension_of(file.filename)
    allowed = [item.strip().lower().lstrip(".") for item in allowed_types or ()]
    if allowed and extension not in allowed:
        errors.append(f"File type not allowed: {extension}. Allowed types: {', '.join(allowed)}")
    if max_size_mb is not None and file.file_size > max_size_mb * 1024**2:
        errors.append(f"File too large: {file.file_size} bytes. Maximum size: {max_size_mb:g} MB")
    return {"valid": not errors, "size": file.file_size, "mime_type": file.mime_type, "errors": errors}
