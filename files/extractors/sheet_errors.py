"""The error cells of workbooks, such as #N/A and #DIV/0!, which calamine gives as empty texts."""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from files.extractors.ooxml import Package

# Row -> column -> what the cell shows, both from 0.
SheetErrors = dict[int, dict[int, str]]
# Of a workbook: by the sheet's place among all, from 0.
Errors = dict[int, SheetErrors]

_NAMES = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
# No sheet is larger.
_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384
_CELL = re.compile(
    rb'<c r="([A-Z]{1,3})(\d{1,7})"[^>]{0,200}?\st="e"[^>]{0,200}(?<!/)>'
    rb"(?:<f[^>]{0,200}/>|<f[^>]{0,200}>[^<]*</f>)?\s*<v>\s*(#[^<]{1,30}?)\s*</v>"
)
_PLACE = struct.Struct("<HH")
# Of a formula's result in XLS: that it is no number, and that it is an error; which stands in between.
_RESULT_AT, _RESULT_BYTES, _NO_NUMBER, _IS_ERROR = 6, 8, b"\xff\xff", 2
_VALUE_AT, _VALUE_BYTES = 6, 2
# Of a cell in XLSB: its column and its style stand before.
_XLSB_VALUE_AT = 8


def of_xml(data: bytes) -> SheetErrors:
    """Return the errors of a sheet's XML whose cells all say where they stand, without prefixes."""
    found: SheetErrors = {}
    for letters, number, text in _CELL.findall(data):
        add(found, int(number) - 1, column_number(letters) - 1, text.decode("ascii", "replace"))
    return found


def of_elements(cells: Iterable[tuple[int, int, Any]]) -> SheetErrors:
    """Return the errors among cells: row and column from 1, and the element."""
    found: SheetErrors = {}
    for row, column, cell in cells:
        if cell.get("t") == "e":
            shown = (cell.findtext("{*}v") or "").strip()
            if shown.startswith("#"):
                add(found, row - 1, column - 1, shown[:30])
    return found


def of_xls_formula(data: bytes) -> tuple[int, int, str] | None:
    """Return row, column and text of a formula's record if its result is an error."""
    result = data[_RESULT_AT : _RESULT_AT + _RESULT_BYTES]
    if len(result) < _RESULT_BYTES or result[6:] != _NO_NUMBER or result[0] != _IS_ERROR:
        return None
    return *_PLACE.unpack_from(data), _name(result[2])


def of_xls_value(data: bytes) -> tuple[int, int, str] | None:
    """Return row, column and text of a record that holds a truth value or an error."""
    value = data[_VALUE_AT : _VALUE_AT + _VALUE_BYTES]
    if len(value) < _VALUE_BYTES or not value[1]:
        return None
    return *_PLACE.unpack_from(data), _name(value[0])


def of_xlsb_cell(data: bytes) -> tuple[int, str] | None:
    """Return column and text of a record that holds an error."""
    if len(data) <= _XLSB_VALUE_AT:
        return None
    return int.from_bytes(data[:4], "little"), _name(data[_XLSB_VALUE_AT])


def add(errors: SheetErrors, row: int, column: int, text: str) -> None:
    """Note an error cell."""
    errors.setdefault(row, {})[column] = text


def column_number(letters: bytes) -> int:
    """Return the number of a column from 1: A is 1, AA is 27."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def rows(sheet: Any, errors: SheetErrors | None) -> Iterator[list[Any]]:
    """Return calamine's rows of a sheet, with its errors as texts."""
    found: Iterator[list[Any]] = sheet.iter_rows()
    if not errors:
        return found
    # The rows begin with the sheet's first, but with the first column that has a value.
    first_column = sheet.start[1] if sheet.start else min(min(row) for row in errors.values())
    return _with_errors(found, errors, first_column)


def _with_errors(rows: Iterator[list[Any]], errors: SheetErrors, first_column: int) -> Iterator[list[Any]]:
    number = -1
    for number, row in enumerate(rows):
        yield _shown(row, errors.get(number, {}), first_column)
    # calamine passes over errors in XLSB, also where nothing else stands further down or to the right.
    last = max((row for row in errors if row < _MOST_ROWS), default=-1)
    for below in range(number + 1, last + 1):
        yield _shown([], errors.get(below, {}), first_column)


def _shown(row: list[Any], errors: dict[int, str], first_column: int) -> list[Any]:
    for column, text in errors.items():
        place = column - first_column
        if not 0 <= place < _MOST_COLUMNS:
            continue
        row += [""] * (place + 1 - len(row))
        if row[place] == "":
            row[place] = text
    return row


def sheet_parts(package: Package, main: str) -> list[str]:
    """Return the parts of a workbook's sheets in their order; an empty name where a sheet has none."""
    names = {link.identity: link.target for link in package.relations(main)}
    sheets = package.tree(main).iter("{*}sheet")
    return [names.get(_relation(sheet), "") for sheet in sheets]


def _relation(sheet: Any) -> str:
    return next((value for name, value in sheet.attrib.items() if name.endswith("}id")), "")


def _name(code: int) -> str:
    return _NAMES.get(code, "#ERR!")
