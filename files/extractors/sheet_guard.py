"""Looks at a workbook's XML before calamine does, for what makes it ask for gigabytes and end in SIGABRT.

calamine lays a sheet out as a grid from its first to its last cell with a value, and writes a shared string out again
for every cell that names it: a kilobyte can claim 17 billion cells, or a thousand times the same megabyte.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from files.extractors import header_codes, sheet_errors
from files.extractors.base import ExtractionFailed, Limits
from files.extractors.ooxml import Package
from files.extractors.sheet_errors import SheetErrors, column_number

_REFERENCE = re.compile(rb'<c r="([A-Z]{1,3})(\d{1,7})"')
# Every other way to begin a cell; where one stands, the XML is really parsed.
_OTHER_CELL = re.compile(rb'<(?!c r="[A-Z]{1,3}\d{1,7}")(?:[\w.-]+:)?c[\s/>]')
# The beginning of a cell that is not certainly within columns A to Z and the first 99,999 rows: one quick look at the
# bytes tells most sheets to be harmless. Cells with a prefix are found by their colon.
_FAR_CELL = re.compile(rb'<c(?: (?!r="[A-Z]\d{1,5}")|[>/\t\n\r])')
_NEAR_GRID = 26 * 99_999
_ERROR_CELL = re.compile(rb"""\st\s*=\s*["']e["']""")
_HEADER = re.compile(rb"<(?:[\w.-]+:)?(?:odd|even|first)(?:Header|Footer)\b[^>]{0,200}>([^<]+)<")
_MIB = 1024**2


@dataclass
class SheetXml:
    """What was seen of a sheet's XML: how many cells, its error cells, the texts of its headers and footers."""

    cells: int
    errors: SheetErrors = field(default_factory=dict)
    headers: list[str] = field(default_factory=list)


def check(package: Package, main: str, sheets: list[str], limits: Limits) -> dict[str, SheetXml]:
    """Refuse a workbook that is none, that has a DOCTYPE anywhere, or that would not fit into memory.

    Return what was seen of its sheets by their parts.
    """
    if etree.QName(package.tree(main)).localname != "workbook":
        raise ExtractionFailed("type_mismatch", "The name says Excel workbook, the content is another ZIP")
    links = [link for link in package.relations(main) if package.has(link.target)]
    for link in links:
        if link.kind in {"styles", "theme"}:
            _check_doctype(package, link.target)
    strings = next((link.target for link in links if link.kind == "sharedStrings"), None)
    seen = {sheet: _look_at(package, sheet, limits) for sheet in sheets}
    if strings is not None:
        _check_strings(package, strings, sheets, sum(sheet.cells for sheet in seen.values()), limits)
    return seen


def _check_doctype(package: Package, part: str) -> None:
    for _ in package.chunks(part):
        continue


def _check_strings(package: Package, part: str, sheets: list[str], cells: int, limits: Limits) -> None:
    """Refuse shared strings that the cells repeat into more than an archive may inflate to."""
    longest = max(map(len, package.read(part).split(b"</si>")))
    if longest * cells <= limits.max_zip_bytes:
        return
    lengths = []
    for item in package.events(part, ("{*}si",)):
        lengths.append(sum(len(text) for text in item.itertext()))
        item.clear()
    total = sum(lengths[index] for sheet in sheets for index in _string_indexes(package, sheet) if index < len(lengths))
    if total > limits.max_zip_bytes:
        most = f"the limit is {limits.max_zip_bytes / _MIB:g} MiB"
        raise ExtractionFailed("too_large", f"The cells repeat shared strings into {total / _MIB:.0f} MiB; {most}")


def _string_indexes(package: Package, sheet: str) -> Iterator[int]:
    for element in package.events(sheet, ("{*}c", "{*}row")):
        if element.tag.endswith("row"):
            _clear(element)
        elif element.get("t") == "s":
            text = "".join(element.itertext()).strip()
            if text.isascii() and text.isdigit():
                yield int(text)


def _look_at(package: Package, sheet: str, limits: Limits) -> SheetXml:
    data = package.read(sheet)
    found = SheetXml(_check_grid(package, sheet, data, limits))
    if b'"e"' in data or b"'e'" in data:
        found.errors = _errors(package, sheet, data)
    found.headers = _headers(data)
    return found


def headers(package: Package, sheet: str) -> list[str]:
    """Return the texts of headers and footers of a sheet without cells; none if it cannot be read."""
    try:
        return _headers(package.read(sheet))
    except ExtractionFailed:
        return []


def _headers(data: bytes) -> list[str]:
    """Return the texts of headers and footers; they stand at the end, so that a search from there passes no cells."""
    end = data.rfind(b"headerFooter")
    start = data.rfind(b"headerFooter", 0, end) if end >= 0 else -1
    texts = _HEADER.findall(data, start, end) if start >= 0 else []
    return [header_codes.plain(html.unescape(text.decode("utf-8", errors="replace"))) for text in texts]


def _errors(package: Package, sheet: str, data: bytes) -> SheetErrors:
    if _OTHER_CELL.search(data) is None:
        return sheet_errors.of_xml(data)
    if _ERROR_CELL.search(data) is None:
        return {}
    return sheet_errors.of_elements(_cells_with_values(package, sheet))


def _check_grid(package: Package, sheet: str, data: bytes, limits: Limits) -> int:
    """Return the number of cells; refuse a sheet whose few cells lie so far apart that their grid is a bomb."""
    if limits.max_grid_cells >= _NEAR_GRID and b":c" not in data and _FAR_CELL.search(data) is None:
        return data.count(b"<c ")
    references = _REFERENCE.findall(data)
    is_plain = _OTHER_CELL.search(data) is None
    if is_plain and _grid(references) <= limits.max_grid_cells:
        return len(references)
    cells, grid = _grid_of_values(package, sheet)
    refuse_far_apart(sheet, cells, grid, limits)
    return cells


def refuse_far_apart(sheet: str, cells: int, grid: int, limits: Limits) -> None:
    """Refuse a sheet whose cells are few for the grid that they need. Raises ExtractionFailed: too_large."""
    if grid > limits.max_grid_cells and grid > limits.max_grid_ratio * cells:
        most = f"the limit is {limits.max_grid_cells} cells when over {limits.max_grid_ratio} times the cells present"
        raise ExtractionFailed("too_large", f"{sheet[:200]} spreads {cells} cells over {grid}; {most}")


def _grid(references: list[tuple[bytes, bytes]]) -> int:
    if not references:
        return 0
    letters = [column_number(letter) for letter in {letter for letter, _ in references}]
    numbers = [int(number) for number in {number for _, number in references}]
    return (max(letters) - min(letters) + 1) * (max(numbers) - min(numbers) + 1)


def _grid_of_values(package: Package, sheet: str) -> tuple[int, int]:
    """Return how many cells have values and how many there are between the first and the last of them."""
    cells = 0
    rows, columns = _Span(), _Span()
    for row, column, _ in _cells_with_values(package, sheet):
        cells += 1
        rows.add(row)
        columns.add(column)
    return cells, rows.length() * columns.length()


class _Span:
    """The smallest and the largest of some numbers."""

    def __init__(self) -> None:
        self._first, self._last = 0, -1

    def add(self, number: int) -> None:
        if self._last < self._first:
            self._first = self._last = number
        self._first, self._last = min(self._first, number), max(self._last, number)

    def length(self) -> int:
        return self._last - self._first + 1


def _cells_with_values(package: Package, sheet: str) -> Iterator[tuple[int, int, Any]]:
    """Yield row and column of every cell that has a value, and it; without references, cells stand side by side."""
    row, column = 1, 0
    for element in package.events(sheet, ("{*}c", "{*}row")):
        if element.tag.endswith("row"):
            row, column = row + 1, 0
            _clear(element)
            continue
        found = re.fullmatch(r"\$?([A-Z]{1,7})\$?(\d{1,10})", (element.get("r") or "").upper())
        if found:
            column, row = column_number(found[1].encode()), int(found[2])
        else:
            column += 1
            number = (element.getparent().get("r") or "").strip()
            row = int(number) if number.isascii() and number.isdigit() else row
        if len(element):
            yield row, column, element
        element.clear()


def _clear(row: Any) -> None:
    row.clear()
    while row.getprevious() is not None:
        del row.getparent()[0]
