"""Excel workbooks of before 2007 (XLS): cells by calamine, out of an OLE container."""

import struct

from files.extractors import binary_sheet_guard
from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ole import Container
from files.extractors.workbook_cells import WorkbookReading
from files.extractors.xls_texts import XlsTexts

_STREAMS = ("Workbook", "Book")
_KIND = "Excel workbook"
_HEADER = struct.Struct("<HH")
_FILEPASS = 0x2F
# The record that says so stands among the first.
_SEARCHED_RECORDS = 20


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the cells' text sheet by sheet, then what stands beside them; metadata as of XLSX."""
    container, found = checked(content, limits)
    reading = WorkbookReading(limits)
    names = reading.read(content, found.errors)
    reading.add_texts(found.texts)
    return reading.extraction(names, container.properties())


def checked(content: bytes, limits: Limits) -> tuple[Container, XlsTexts]:
    """Return the container of a workbook that is safe to give to calamine, and what calamine does not give of it."""
    container = Container(content, kind=_KIND)
    stream = next((name for name in _STREAMS if container.has(name)), None)
    if stream is None:
        raise ExtractionFailed("type_mismatch", f"The name says {_KIND}, the content is another OLE file")
    records = container.read(stream)
    if _is_encrypted(records):
        raise ExtractionFailed("encrypted", f"The {_KIND} needs a password")
    binary_sheet_guard.check_xls(records, limits)
    return container, XlsTexts(records)


def _is_encrypted(records: bytes) -> bool:
    """Tell whether the workbook's first records say that the rest is enciphered."""
    position = 0
    for _ in range(_SEARCHED_RECORDS):
        if position + _HEADER.size > len(records):
            return False
        kind, length = _HEADER.unpack_from(records, position)
        if kind == _FILEPASS:
            return True
        position += _HEADER.size + length
    return False
