"""OpenDocument spreadsheets (ODS): cells by calamine, after a look at how far their XML says they repeat.

A cell and a row say how often they stand there, so a kilobyte can claim billions of cells. Programs use this for the
empty rest of a sheet, which costs nothing; anywhere else the grid is counted first.
"""

import re
from typing import Any

from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ods_texts import TABLE, OdsTexts, times
from files.extractors.ooxml import Package, elements, open_package
from files.extractors.workbook_cells import WorkbookReading

_KIND = "OpenDocument spreadsheet"
_CONTENT = "content.xml"
_MIMETYPE = b"application/vnd.oasis.opendocument.spreadsheet"
# calamine knows these names by this prefix only, so it is enough to look for it.
_REPEATED = re.compile(rb'-repeated\s*=\s*["\']\s*\d{4,}')
_VALUE = re.compile(rb"office:value-type|<text:p")
_SHEET_END = b"</table:table>"


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the cells' text sheet by sheet, then what stands beside them; metadata as of XLSX."""
    package = checked(content, limits)
    found = OdsTexts(package)
    reading = WorkbookReading(limits)
    names = reading.read(content, found.errors)
    reading.add_texts(found.texts)
    return reading.extraction(names, _properties(package))


def checked(content: bytes, limits: Limits) -> Package:
    """Return the package of a spreadsheet that is safe to give to calamine."""
    package = open_package(content, limits, kind=_KIND)
    if not package.has(_CONTENT) or not _is_spreadsheet(package):
        raise ExtractionFailed("type_mismatch", f"The name says {_KIND}, the content is another ZIP")
    if package.has("META-INF/manifest.xml") and b"encryption-data" in package.read("META-INF/manifest.xml"):
        raise ExtractionFailed("encrypted", f"The {_KIND} needs a password")
    if _repeats_values(package.read(_CONTENT)):
        _check_grid(package, limits)
    return package


def _is_spreadsheet(package: Package) -> bool:
    if package.has("mimetype"):
        return package.read("mimetype").strip().startswith(_MIMETYPE)
    return b"office:spreadsheet" in package.read(_CONTENT)


def _repeats_values(data: bytes) -> bool:
    """Tell whether anything repeats a thousand times before the last value of its sheet."""
    end = -1
    for found in _REPEATED.finditer(data):
        if found.start() < end:
            continue
        end = data.find(_SHEET_END, found.start())
        tail = data[data.rfind(b"<", 0, found.start()) : end if end >= 0 else len(data)]
        if _VALUE.search(tail):
            return True
    return False


def _check_grid(package: Package, limits: Limits) -> None:
    """Refuse a workbook with a sheet whose few cells are laid out over far more."""
    grid = _Grid()
    for item in package.events(_CONTENT, (f"{TABLE}table-row", f"{TABLE}table")):
        if item.tag == f"{TABLE}table":
            grid = _Grid()
        else:
            grid.add(item)
            grid.check(limits)
        item.clear()


class _Grid:
    """The rows and columns that a sheet's values reach, and how many cells have values."""

    def __init__(self) -> None:
        self.cells = self.rows = self.columns = self._next_row = 0

    def add(self, row: Any) -> None:
        self._next_row += times(row, "number-rows-repeated")
        column = 0
        for cell in elements(row):
            column += times(cell, "number-columns-repeated")
            if len(cell) or any(name.endswith("}value-type") for name in cell.attrib):
                self.cells += 1
                self.rows = self._next_row
                self.columns = max(self.columns, column)

    def check(self, limits: Limits) -> None:
        grid = self.rows * self.columns
        if grid > limits.max_grid_cells and grid > limits.max_grid_ratio * self.cells:
            most = f"the limit is {limits.max_grid_cells} cells when over {limits.max_grid_ratio} times those present"
            raise ExtractionFailed("too_large", f"A sheet spreads {self.cells} cells over {grid}; {most}")


def _properties(package: Package) -> dict[str, str]:
    try:
        root = package.tree("meta.xml") if package.has("meta.xml") else None
    except ExtractionFailed:
        return {}
    found: dict[str, str] = {}
    for item in [] if root is None else root.iter("{*}title", "{*}initial-creator", "{*}creator"):
        found.setdefault("title" if item.tag.endswith("title") else "author", (item.text or "").strip())
    return {key: value for key, value in found.items() if value}
