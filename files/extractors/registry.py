"""One extractor per format, found by extension and imported only where it runs."""

from collections.abc import Callable
from importlib import import_module
from typing import cast

from files.extractors.base import Extraction, Limits

# content, limits -> Extraction; raises ExtractionFailed.
Extractor = Callable[[bytes, Limits], Extraction]

# Extension -> module with a function `extract`.
_MODULES = {
    "pdf": "files.extractors.pdf",
    "txt": "files.extractors.txt",
    "csv": "files.extractors.csv",
}


def supports(extension: str) -> bool:
    """Tell whether there is an extractor, without importing it."""
    return extension in _MODULES


def load(extension: str) -> Extractor:
    """Import and return the extractor of an extension that is supported."""
    return cast("Extractor", import_module(_MODULES[extension]).extract)
