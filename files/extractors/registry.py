"""One extractor per format, found by extension and imported only where it runs."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, cast

from files.extractors.base import Extraction, Limits

# content, limits -> Extraction; raises ExtractionFailed.
Extractor = Callable[[bytes, Limits], Extraction]

# content, limits, what was extracted -> lines of the answer; may raise anything, or die: the text is told before.
LaterReader = Callable[[bytes, Limits, Extraction], Iterator[dict[str, Any]]]

# Extension -> module with a function `extract`.
_MODULES = {
    "pdf": "files.extractors.pdf",
    "txt": "files.extractors.txt",
    "csv": "files.extractors.csv",
    "docx": "files.extractors.docx",
    "docm": "files.extractors.docx",
    "xlsx": "files.extractors.xlsx",
    "xlsm": "files.extractors.xlsx",
    "doc": "files.extractors.doc",
    "xls": "files.extractors.xls",
    "xlsb": "files.extractors.xlsb",
    "ods": "files.extractors.ods",
    "tsv": "files.extractors.tsv",
    "rtf": "files.extractors.rtf",
    "html": "files.extractors.html",
    "htm": "files.extractors.html",
    "md": "files.extractors.markdown",
    "markdown": "files.extractors.markdown",
    "json": "files.extractors.json",
    "xml": "files.extractors.xml",
    "eml": "files.extractors.eml",
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "tif", "tiff", "bmp", "webp"), "files.extractors.image"),
}
# Extension -> what is read after the text because it costs more: its name in warnings, and a module with a function
# `read_later`. In this order.
_LATER_MODULES = {
    "pdf": (("Scanned pages", "files.extractors.pdf_ocr"), ("Tables", "files.extractors.pdf_tables")),
}


def extensions() -> list[str]:
    """Return the extensions that have an extractor."""
    return list(_MODULES)


def supports(extension: str) -> bool:
    """Tell whether there is an extractor, without importing it."""
    return extension in _MODULES


def load(extension: str) -> Extractor:
    """Import and return the extractor of an extension that is supported."""
    return cast("Extractor", import_module(_MODULES[extension]).extract)


def later_readers(extension: str) -> Iterator[tuple[str, LaterReader]]:
    """Import and yield, one after the other, what reads on in a file of this extension after its text."""
    for name, module in _LATER_MODULES.get(extension, ()):
        yield name, cast("LaterReader", import_module(module).read_later)
