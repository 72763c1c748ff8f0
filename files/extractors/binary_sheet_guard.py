"""Looks at the cells of binary workbooks (XLS, XLSB) before calamine lays them out as grids, as `sheet_guard` does.

Only the first half megabyte of records is looked at, shared out among the sheets: every small file is seen whole, and a
large one is not held up. What is left unseen counts as cells, as many as could stand there, so that no honest
workbook is refused; a bomb behind that many cells ends at the child's memory limit.
"""

import struct
from collections.abc import Iterator

from files.extractors.base import Limits
from files.extractors.ooxml import Package
from files.extractors.sheet_guard import refuse_far_apart

_SEEN_BYTES = 512 * 1024
# Kind, position of its data, length of its data.
_Record = tuple[int, int, int]

# First row, row after the last, first column, column after the last: by the record's length.
_XLS_BOUNDS = {14: "<IIHH", 10: "<HHHH"}
_XLS_HEADER = struct.Struct("<HH")
_XLS_PLACE, _XLS_LAST_COLUMN = struct.Struct("<HH"), struct.Struct("<H")
_XLS_END, _XLS_DIMENSIONS, _XLS_SHEET, _XLS_NUMBERS = 0x0A, 0x200, 0x85, 0xBD
# Number, label, truth value, string by number, formatted string, formulas, number in short; many such.
_XLS_CELLS = frozenset({0x203, 0x204, 0x205, 0xFD, 0xD6, 0x06, 0x206, 0x406, 0x27E, _XLS_NUMBERS})
_XLS_MOST_CELLS = 65_536 * 256
# A cell among many numbers in one record takes the least.
_XLS_CELL_BYTES = 6
_NUMBER = struct.Struct("<I")
_XLSB_ROW, _XLSB_END = 0, 146
_XLSB_CELLS = frozenset({*range(2, 12), 62})
_XLSB_CELL_BYTES = 11
# Of a number in seven bits a byte: what says that another byte follows, and the last byte's place.
_MORE, _LAST_SHIFT = 0x80, 21


def check_xls(stream: bytes, limits: Limits) -> None:
    """Refuse a workbook's stream with a sheet that claims, or spreads its cells over, more than fits into memory."""
    places = sorted({place for place in _xls_sheets(stream) if place < len(stream)})
    for number, place in enumerate(places, 1):
        share = stream[place : place + _SEEN_BYTES // len(places)]
        found = _Found(f"Sheet {number}", len(stream) - place - len(share), _XLS_CELL_BYTES)
        claimed = 0
        for kind, at, length in _xls_records(share):
            if kind in _XLS_CELLS and length >= _XLS_CELL_BYTES:
                row, column = _XLS_PLACE.unpack_from(share, at)
                found.add(row, column)
                if kind == _XLS_NUMBERS:
                    found.stretch(column, _XLS_LAST_COLUMN.unpack_from(share, at + length - 2)[0])
            elif kind == _XLS_DIMENSIONS:
                claimed = _claimed_cells(share[at : at + length])
        found.check(limits)
        if claimed > _XLS_MOST_CELLS:
            refuse_far_apart(found.name, found.cells, claimed, limits)


def check_xlsb(package: Package, main: str, limits: Limits) -> None:
    """Refuse a workbook with a sheet whose few cells lie so far apart that their grid is a bomb."""
    links = package.relations(main)
    parts = sorted({link.target for link in links if link.kind == "worksheet" and package.has(link.target)})
    for part in parts:
        share, unseen = package.head(part, _SEEN_BYTES // len(parts))
        found = _Found(part, unseen, _XLSB_CELL_BYTES)
        row = 0
        for kind, at, length in xlsb_records(share):
            if kind == _XLSB_ROW and length >= _NUMBER.size:
                row = _NUMBER.unpack_from(share, at)[0]
            elif kind in _XLSB_CELLS and length >= _NUMBER.size:
                found.add(row, _NUMBER.unpack_from(share, at)[0])
        found.check(limits)


class _Found:
    """The cells seen in a sheet."""

    def __init__(self, name: str, unseen_bytes: int, cell_bytes: int) -> None:
        self.name = name
        self.cells = unseen_bytes // cell_bytes
        self._rows: set[int] = set()
        self._columns: set[int] = set()

    def add(self, row: int, column: int) -> None:
        self.cells += 1
        self._rows.add(row)
        self._columns.add(column)

    def stretch(self, column: int, last_column: int) -> None:
        """Count the cells that stand beside one in the same record."""
        self.cells += max(0, last_column - column)
        self._columns.add(last_column)

    def check(self, limits: Limits) -> None:
        refuse_far_apart(self.name, self.cells, _length(self._rows) * _length(self._columns), limits)


def _length(numbers: set[int]) -> int:
    return max(numbers) - min(numbers) + 1 if numbers else 0


def _xls_sheets(stream: bytes) -> Iterator[int]:
    """Yield where the sheets begin, as the workbook's first part says."""
    for kind, at, length in _xls_records(stream):
        if kind == _XLS_SHEET and length >= _NUMBER.size:
            yield _NUMBER.unpack_from(stream, at)[0]


def _xls_records(data: bytes) -> Iterator[_Record]:
    """Yield the records up to the mark of the part's end, the last one only if it is whole."""
    position = 0
    while position + _XLS_HEADER.size <= len(data):
        kind, length = _XLS_HEADER.unpack_from(data, position)
        position += _XLS_HEADER.size
        if kind == _XLS_END or position + length > len(data):
            return
        yield kind, position, length
        position += length


def xlsb_records(data: bytes) -> Iterator[_Record]:
    """Yield the records up to the mark of the cells' end, the last one only if it is whole."""
    position, size = 0, len(data)
    try:
        while True:
            kind, position = data[position], position + 1
            if kind >= _MORE:
                kind, position = kind & 0x7F | (data[position] & 0x7F) << 7, position + 1
            length = shift = 0
            while (byte := data[position]) >= _MORE and shift < _LAST_SHIFT:
                length, shift, position = length | (byte & 0x7F) << shift, shift + 7, position + 1
            length, position = length | (byte & 0x7F) << shift, position + 1
            if kind == _XLSB_END or position + length > size:
                return
            yield kind, position, length
            position += length
    except IndexError:
        return


def _claimed_cells(dimensions: bytes) -> int:
    """Return for how many cells calamine makes room: bounds in the wrong order are as many as 32 bits can tell."""
    form = _XLS_BOUNDS.get(len(dimensions))
    if form is None:
        return 0
    first_row, end_row, first_column, end_column = struct.unpack_from(form, dimensions)
    if not (end_row and end_column):
        return 1
    cells: int = ((end_row - first_row) % 2**32) * ((end_column - first_column) % 2**32)
    return cells
