"""What calamine does not give of an XLSB workbook: its error cells, headers and footers, notes, shapes, charts.

Record numbers and layouts are MS-XLSB 2.3 and 2.4; drawings are XML as in XLSX.
"""

import re
from collections.abc import Iterator

from files.extractors import drawn_texts, header_codes, sheet_errors
from files.extractors.base import ExtractionFailed
from files.extractors.binary_sheet_guard import xlsb_records
from files.extractors.ooxml import Package
from files.extractors.sheet_errors import Errors, SheetErrors

_ROW, _ERRORS, _SHEET, _PAGE_TEXTS, _NOTE_TEXT = 0, frozenset({3, 11}), 156, 479, 637
_SHEET_KINDS = ("worksheet", "chartsheet")
# An error's record by its number, its length, a column below 16,384 and an error's code. Most sheets have none, and
# a look at the bytes tells so many times faster than a walk over the records.
_ERROR_CELL = re.compile(rb"[\x03\x0b][\x09-\x7f].[\x00-\x3f]\x00\x00.{4}[\x00\x07\x0f\x17\x1d\x24\x2a\x2b]", re.DOTALL)
_CELLS_END = b"\x92\x01\x00"
_RELATION_AT, _PAGE_TEXTS_AT, _NOTE_AT = 8, 2, 1
_NO_TEXT = 0xFFFFFFFF


def errors(package: Package, main: str) -> Errors:
    """Return the error cells by the place of their sheets."""
    found = {}
    for place, part in enumerate(_sheets(package, main)):
        if package.has(part) and (there := _sheet_errors(_bytes(package, part))):
            found[place] = there
    return found


def beside_cells(package: Package, main: str) -> Iterator[str]:
    """Yield headers and footers, notes, and what is drawn on the sheets."""
    links = package.relations(main)
    parts = [link.target for link in links if link.kind in _SHEET_KINDS and package.has(link.target)]
    for part in dict.fromkeys(parts):
        yield from _headers(_bytes(package, part))
    notes = [link.target for part in parts for link in package.relations(part) if link.kind == "comments"]
    for part in dict.fromkeys(notes):
        if package.has(part):
            yield from _notes(_bytes(package, part))
    yield from drawn_texts.of_sheets(package, list(dict.fromkeys(parts)))


def _bytes(package: Package, part: str) -> bytes:
    """Return a part; an unreadable one is empty, since calamine says whether the workbook is damaged."""
    try:
        return package.read(part)
    except ExtractionFailed:
        return b""


def _sheets(package: Package, main: str) -> list[str]:
    names = {link.identity: link.target for link in package.relations(main)}
    data = _bytes(package, main)
    found = (at for kind, at, _ in xlsb_records(data) if kind == _SHEET)
    return [names.get(_wide_text(data, at + _RELATION_AT)[0], "") for at in found]


def _sheet_errors(data: bytes) -> SheetErrors:
    found: SheetErrors = {}
    if _ERROR_CELL.search(data) is None:
        return found
    row = 0
    for kind, at, length in xlsb_records(data):
        if kind == _ROW:
            row = int.from_bytes(data[at : at + 4], "little")
        elif kind in _ERRORS and (cell := sheet_errors.of_xlsb_cell(data[at : at + length])):
            sheet_errors.add(found, row, *cell)
    return found


def _headers(data: bytes) -> Iterator[str]:
    """Yield the texts of headers and footers, which follow the cells."""
    tail = data[max(0, data.rfind(_CELLS_END)) :].removeprefix(_CELLS_END)
    for kind, at, length in xlsb_records(tail):
        if kind == _PAGE_TEXTS:
            position = at + _PAGE_TEXTS_AT
            while position < at + length:
                text, position = _wide_text(tail, position)
                yield header_codes.plain(text)


def _notes(data: bytes) -> Iterator[str]:
    for kind, at, _ in xlsb_records(data):
        if kind == _NOTE_TEXT:
            yield _wide_text(data, at + _NOTE_AT)[0]


def _wide_text(data: bytes, at: int) -> tuple[str, int]:
    """Return the text that its length precedes, and where it ends."""
    length = int.from_bytes(data[at : at + 4], "little")
    start = at + 4
    if length == _NO_TEXT:
        return "", start
    end = start + 2 * length
    return data[start:end].decode("utf-16-le", errors="replace"), end
