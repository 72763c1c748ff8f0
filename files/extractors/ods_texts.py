"""What calamine does not give of an OpenDocument spreadsheet: its error cells, headers and footers, notes, shapes,
the titles of its charts."""

import re
from collections.abc import Iterator
from typing import Any

from files.extractors import sheet_errors
from files.extractors.base import ExtractionFailed
from files.extractors.ooxml import Package, elements
from files.extractors.sheet_errors import Errors

_CONTENT, _STYLES = "content.xml", "styles.xml"
_SPACE = "urn:oasis:names:tc:opendocument:xmlns:"
TABLE = f"{{{_SPACE}table:1.0}}"
_TEXT, _STYLE, _CHART = f"{{{_SPACE}text:1.0}}", f"{{{_SPACE}style:1.0}}", f"{{{_SPACE}chart:1.0}}"
_CELLS = frozenset({f"{TABLE}table-cell", f"{TABLE}covered-table-cell"})
# LibreOffice writes it; programs that keep to the standard have no mark for errors.
_ERROR = re.compile(rb"value-type\s*=\s*[\"']error[\"']")
_BESIDE = re.compile(rb"<(?:office:annotation|draw:)")
_CHART_PART = re.compile(r"Object[^/]*/content\.xml")
_PAGE_TEXTS = tuple(f"{_STYLE}{place}{pages}" for place in ("header", "footer") for pages in ("", "-left", "-first"))
_TITLES = tuple(f"{_CHART}{name}" for name in ("title", "subtitle", "footer"))
_RUNS = frozenset({f"{_TEXT}span", f"{_TEXT}a"})
_BLANKS = frozenset({f"{_TEXT}s", f"{_TEXT}tab", f"{_TEXT}line-break"})
_MOST_DIGITS = 12
# No sheet is larger.
_MOST_REPEATED, _MOST_ROWS = 16_384, 1_048_576


class OdsTexts:
    """The spreadsheet's `errors` by its sheets' places, and its `texts` in their order."""

    def __init__(self, package: Package) -> None:
        self.errors: Errors = {}
        self.texts: list[str] = list(_page_texts(package))
        self._sheet = self._row = 0
        data = package.read(_CONTENT)
        if _ERROR.search(data) or _BESIDE.search(data):
            self._read(package)
        self.texts += _chart_titles(package)

    def _read(self, package: Package) -> None:
        for item in package.events(_CONTENT, (f"{TABLE}table-row", f"{TABLE}table")):
            self.texts += (_words(part) for part in item.iter(f"{_TEXT}p") if part.getparent().tag not in _CELLS)
            if item.tag == f"{TABLE}table":
                self._sheet, self._row = self._sheet + 1, 0
            else:
                self._add_errors(item)
                self._repeat(times(item, "number-rows-repeated"))
            item.clear()

    def _repeat(self, count: int) -> None:
        """Go on to the next row; the errors of this one stand in as many."""
        sheet = self.errors.get(self._sheet, {})
        if self._row in sheet:
            sheet.update(dict.fromkeys(range(self._row, self._row + min(count, _MOST_ROWS)), sheet[self._row]))
        self._row += count

    def _add_errors(self, row: Any) -> None:
        column = 0
        for cell in elements(row):
            count = times(cell, "number-columns-repeated")
            if any(value == "error" and name.endswith("}value-type") for name, value in cell.attrib.items()):
                text = "\n".join(_words(part) for part in elements(cell) if part.tag == f"{_TEXT}p")
                for place in range(column, column + min(count, _MOST_REPEATED)):
                    sheet_errors.add(self.errors.setdefault(self._sheet, {}), self._row, place, text)
            column += count


def times(element: Any, name: str) -> int:
    """Return how often a cell or a row says that it stands there."""
    said = (element.get(f"{TABLE}{name}") or "1").strip()
    return int(said[:_MOST_DIGITS]) if said.isascii() and said.isdigit() else 1


def _page_texts(package: Package) -> Iterator[str]:
    for item in _found(package, _STYLES, _PAGE_TEXTS):
        if item.get(f"{_STYLE}display") != "false":
            yield from (_words(part) for part in item.iter(f"{_TEXT}p"))


def _chart_titles(package: Package) -> Iterator[str]:
    for part in filter(_CHART_PART.fullmatch, package.names()):
        for item in _found(package, part, _TITLES):
            yield from (_words(line) for line in item.iter(f"{_TEXT}p"))


def _found(package: Package, part: str, tags: tuple[str, ...]) -> list[Any]:
    """Return elements of a small part; an unreadable one has none, since the cells are what counts."""
    try:
        return list(package.tree(part).iter(*tags)) if package.has(part) else []
    except ExtractionFailed:
        return []


def _words(paragraph: Any) -> str:
    """Return a paragraph's words without its fields (page, date, sheet); none where only signs are left."""
    text = "".join(_pieces(paragraph))
    return text if any(map(str.isalnum, text)) else ""


def _pieces(element: Any) -> Iterator[str]:
    yield element.text or ""
    for child in elements(element):
        if child.tag in _RUNS:
            yield from _pieces(child)
        elif child.tag in _BLANKS:
            yield " "
        yield child.tail or ""
