"""Writes an Excel workbook row by row: only the packed bytes are kept, and no file is written beside them.

XlsxWriter and openpyxl hold all cells in memory or put them into temporary files, which the child may not write.
Texts stand inline in their cells and numbers only where the source had numbers; equal tables give equal bytes.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from files.extractors.base import ExtractionFailed, Limits
from files.makers.base import check_length
from files.makers.cells import Cell, Number, Table, harmless, text_of

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 1_048_576, 16_384, 32_767
_LONGEST_NAME = 31
# Excel keeps 15 digits; a longer number stays whole as a text.
_MOST_DIGITS = 15
_FORBIDDEN_IN_NAMES = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
# Excel reads such five letters and digits as one character, unless the underscore is written so itself.
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_LINE_ENDS = {"\r": "&#13;"}
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def write_workbook(tables: list[Table], limits: Limits) -> bytes:
    """Return a workbook with a sheet for each table. Raises ExtractionFailed: too_large."""
    packed = io.BytesIO()
    names = list(_names(table.name for table in tables))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in _frame(names):
            archive.writestr(_entry(name), xml)
        for number, table in enumerate(tables, 1):
            with archive.open(_entry(f"xl/worksheets/sheet{number}.xml"), "w", force_zip64=True) as part:
                for xml in _sheet(table.rows):
                    part.write(xml.encode())
                    check_length(packed.tell(), limits)
    return packed.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    """Return an entry without the time of day, which would make equal workbooks differ."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _sheet(rows: Iterable[list[Cell]]) -> Iterator[str]:
    yield f'{_HEAD}<worksheet xmlns="{_SHEETS}"><sheetData>'
    letters: list[str] = []
    for number, row in enumerate(rows, 1):
        if number > MOST_ROWS or len(row) > MOST_COLUMNS:
            raise ExtractionFailed("too_large", f"An XLSX sheet holds {MOST_ROWS} rows of {MOST_COLUMNS} columns")
        letters += map(_letters, range(len(letters) + 1, len(row) + 1))
        # Empty cells of the first row are written, so that the sheet is as wide and begins where the table does.
        cells = [
            _cell(f"{letters[column]}{number}", cell) for column, cell in enumerate(row) if number == 1 or cell != ""
        ]
        yield f'<row r="{number}">{"".join(cells)}</row>'
    yield "</sheetData></worksheet>"


def _cell(reference: str, value: Cell) -> str:
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b"><v>{int(value)}</v></c>'
    if _is_number(value):
        return f'<c r="{reference}"><v>{text_of(value)}</v></c>'
    text = harmless(value)
    if len(text) > MOST_CHARACTERS:
        message = f"Cell {reference} has {len(text)} characters; an XLSX cell holds {MOST_CHARACTERS}"
        raise ExtractionFailed("too_large", message)
    return f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{_written(text)}</t></is></c>'


def _is_number(value: Cell) -> bool:
    if isinstance(value, Number):
        return sum(map(str.isdigit, value.lower().partition("e")[0])) <= _MOST_DIGITS
    return isinstance(value, (int, float))


def _written(text: str) -> str:
    if "_x" in text:
        text = _ESCAPE.sub("_x005F_", text)
    if not text.isprintable():
        text = _NOT_XML.sub("", text)
    return escape(text, _LINE_ENDS)


def _letters(number: int) -> str:
    """Return the name of a column, from 1: A, ..., Z, AA, ..."""
    name = ""
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def _names(wanted: Iterable[str]) -> Iterator[str]:
    """Yield names that Excel allows: 31 characters, none of []:*?/\\, none twice in any case."""
    taken: set[str] = set()
    for number, name in enumerate(wanted, 1):
        plain = _FORBIDDEN_IN_NAMES.sub(" ", name).strip(" '")[:_LONGEST_NAME] or f"Sheet{number}"
        unique, count = plain, 2
        while unique.lower() in taken:
            suffix = f" {count}"
            unique, count = plain[: _LONGEST_NAME - len(suffix)] + suffix, count + 1
        taken.add(unique.lower())
        yield unique


def _frame(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the parts beside the sheets."""
    numbered = list(enumerate(names, 1))
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{_TYPES}.worksheet+xml"/>'
        for number, _ in numbered
    )
    types = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPES}.sheet.main+xml"/>{overrides}'
    )
    yield "[Content_Types].xml", f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types">{types}</Types>'
    yield "_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")])
    sheets = "".join(
        f'<sheet name={quoteattr(_NOT_XML.sub("", name))} sheetId="{number}" r:id="rId{number}"/>'
        for number, name in numbered
    )
    yield (
        "xl/workbook.xml",
        f'{_HEAD}<workbook xmlns="{_SHEETS}" xmlns:r="{_LINKS}"><sheets>{sheets}</sheets></workbook>',
    )
    links = [("worksheet", f"worksheets/sheet{number}.xml") for number, _ in numbered]
    yield "xl/_rels/workbook.xml.rels", _relations(links)


def _relations(links: list[tuple[str, str]]) -> str:
    items = "".join(
        f'<Relationship Id="rId{number}" Type="{_LINKS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(links, 1)
    )
    return f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">{items}</Relationships>'
