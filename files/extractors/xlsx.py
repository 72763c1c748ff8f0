"""Excel workbooks (XLSX, XLSM), transitional and ISO strict: cells by calamine, notes and shapes from their XML.

What would make calamine ask for gigabytes is refused by `sheet_guard` before it is called.
"""

from collections.abc import Iterator

from files.extractors import drawn_texts, sheet_errors, sheet_guard
from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ooxml import Package, open_package
from files.extractors.sheet_errors import Errors
from files.extractors.sheet_guard import SheetXml
from files.extractors.workbook_cells import WorkbookReading

_SHEET_KINDS = ("worksheet", "chartsheet", "dialogsheet")
_MAIN = "xl/workbook.xml"


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the cells' text sheet by sheet, cells apart by tabs, each sheet headed by its name.

    Headers and footers, notes, shapes and charts follow.
    Metadata: excel_sheets, excel_sheet_names, excel_total_rows (rows that have values), title, author.
    """
    package, sheets = checked(content, limits)
    reading = WorkbookReading(limits)
    names = reading.read(content, errors(package, sheets))
    reading.add_texts(_beside_cells(package, sheets, limits))
    return reading.extraction(names, package.properties())


def checked(content: bytes, limits: Limits) -> tuple[Package, dict[str, SheetXml]]:
    """Return the package of a workbook that is safe to give to calamine, and what its sheets' parts hold."""
    package = open_package(content, limits, kind="Excel workbook")
    main = package.main_part(_MAIN)
    if not package.has(main):
        raise ExtractionFailed("type_mismatch", "The name says Excel workbook, the content is another ZIP")
    sheets = [link.target for link in package.relations(main) if link.kind == "worksheet" and package.has(link.target)]
    return package, sheet_guard.check(package, main, list(dict.fromkeys(sheets)), limits)


def errors(package: Package, sheets: dict[str, SheetXml]) -> Errors:
    """Return the error cells by the place of their sheets."""
    if not any(sheet.errors for sheet in sheets.values()):
        return {}
    parts = sheet_errors.sheet_parts(package, package.main_part(_MAIN))
    return {place: sheets[part].errors for place, part in enumerate(parts) if part in sheets}


def _beside_cells(package: Package, sheets: dict[str, SheetXml], limits: Limits) -> Iterator[str]:
    for sheet in sheets.values():
        yield from sheet.headers
    links = package.relations(package.main_part(_MAIN))
    parts = [link.target for link in links if link.kind in _SHEET_KINDS and package.has(link.target)]
    others = [part for part in parts if part not in sheets]
    for part in others:
        yield from sheet_guard.headers(package, part)
    yield from drawn_texts.of_sheets(package, list(dict.fromkeys(parts)))
