"""One extractor per format, found by extension and imported only where it runs."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from files.extractors.base import Extraction, Limits

# content, limits -> Extraction; raises ExtractionFailed.
Extractor = Callable[[bytes, Limits], Extraction]

# content, limits -> [{name, rows}]; may raise anything, or die: the text is told before.
TableReader = Callable[[bytes, Limits], list[dict[str, Any]]]

# Extension -> module with a function `extract`.
_MODULES = {
    "pdf": "files.extractors.pdf",
    "txt": "files.extractors.txt",
    "csv": "files.extractors.csv",
    "docx": "files.extractors.docx",
    "docm": "files.extractors.docx",
    "xlsx": "files.extractors.xlsx",
    "xlsm": "files.extractors.xlsx",
}
# Extension -> module with a function `read_tables`, where tables cost more than text.
_TABLE_MODULES = {"pdf": "files.extractors.pdf_tables"}


def supports(extension: str) -> bool:
    """Tell whether there is an extractor, without importing it."""
    return extension in _MODULES


def load(extension: str) -> Extractor:
    """Import and return the extractor of an extension that is supported."""
    return cast("Extractor", import_module(_MODULES[extension]).extract)


def has_table_reader(extension: str) -> bool:
    """Tell whether tables of this format are read after the text."""
    return extension in _TABLE_MODULES


def load_table_reader(extension: str) -> TableReader:
    """Import and return the reader of tables of an extension that has one."""
    return cast("TableReader", import_module(_TABLE_MODULES[extension]).read_tables)
