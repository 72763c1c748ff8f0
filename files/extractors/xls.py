"""Excel workbooks of before 2007 (XLS): cells by calamine, out of an OLE container.

Their grid has at most 65,536 rows of 256 cells, which the child's memory limit can bear, so none is looked at before.
"""

import struct

from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ole import Container
from files.extractors.workbook_cells import WorkbookReading

_STREAMS = ("Workbook", "Book")
_KIND = "Excel workbook"
_HEADER = struct.Struct("<HH")
_FILEPASS = 0x2F
# The record that says so stands among the first.
_SEARCHED_RECORDS = 20


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the cells' text sheet by sheet; metadata as of XLSX."""
    container = Container(content, kind=_KIND)
    stream = next((name for name in _STREAMS if container.has(name)), None)
    if stream is None:
        raise ExtractionFailed("type_mismatch", f"The name says {_KIND}, the content is another OLE file")
    if _is_encrypted(container.read(stream)):
        raise ExtractionFailed("encrypted", f"The {_KIND} needs a password")
    reading = WorkbookReading(limits)
    names = reading.read(content)
    return reading.extraction(names, container.properties())


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
