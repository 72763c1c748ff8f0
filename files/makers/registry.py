"""Which act can make what out of which format, and the module that does it, imported only where it runs."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from files.extractors import registry as extractors
from files.filetypes import IMAGE_EXTENSIONS
from files.makers.base import Maker

CONVERT, OPTIMIZE, RESIZE = "convert", "optimize", "resize"
TEXT = "txt"
_TABLES = ("csv", "tsv", "xlsx", "xlsm", "xls", "xlsb", "ods", "json")
_TABLE_TARGETS = ("csv", "tsv", "xlsx", "json")
_PICTURE_TARGETS = ("png", "jpg", "webp", "tiff", "bmp", "gif")
_OPTIMIZED = ("jpg", "jpeg", "png", "webp", "pdf")
# Names of one format.
_SAME = {"jpeg": "jpg", "tif": "tiff"}


def canonical(extension: str) -> str:
    """Return the one name of a format that has several."""
    return _SAME.get(extension, extension)


def targets_of(extension: str) -> tuple[str, ...]:
    """Return the formats that a file of this extension can be converted into."""
    targets: tuple[str, ...] = ()
    if extension in _TABLES:
        targets += _TABLE_TARGETS
    if extension in IMAGE_EXTENSIONS:
        targets += (*_PICTURE_TARGETS, "pdf")
    if extension == "pdf":
        targets += _PICTURE_TARGETS
    if has_text(extension):
        targets += (TEXT,)
    return tuple(target for target in targets if target != canonical(extension))


def has_text(extension: str) -> bool:
    """Tell whether text can be made out of a file of this extension."""
    return extractors.supports(extension)


def sources_of(action: str) -> tuple[str, ...]:
    """Return the extensions that can be optimized, or resized."""
    return _OPTIMIZED if action == OPTIMIZE else tuple(sorted(IMAGE_EXTENSIONS))


def load(action: str, extension: str, options: dict[str, Any]) -> Maker:
    """Import and return the maker of an act that is possible."""
    module, function = _place(action, extension, options)
    made: Callable[..., Any] = getattr(import_module(f"files.makers.{module}"), function)
    return cast("Maker", made)


def _place(action: str, extension: str, options: dict[str, Any]) -> tuple[str, str]:
    if action == OPTIMIZE:
        return ("smaller_pdf" if extension == "pdf" else "smaller_pictures"), "optimize"
    if action == RESIZE:
        return "resized_pictures", "resize"
    if extension in _TABLES:
        return "tables", "convert"
    if extension == "pdf":
        return "pdf_pages", "convert"
    return "pictures", ("bind" if options["target"] == "pdf" else "convert")
