"""Excel workbooks (XLSX, XLSM), transitional and ISO strict: cells by calamine, notes and shapes from their XML.

What would make calamine ask for gigabytes is refused by `sheet_guard` before it is called.
"""

from files.extractors import sheet_guard
from files.extractors.base import Extraction, ExtractionFailed, Limits, TextSink
from files.extractors.ooxml import Package, open_package
from files.extractors.workbook_cells import WorkbookReading

_NOTE_KINDS = ("comments", "threadedComment", "drawing")


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the cells' text sheet by sheet, cells apart by tabs, each sheet headed by its name.

    Metadata: excel_sheets, excel_sheet_names, excel_total_rows (rows that have values), title, author.
    """
    package, sheets = checked(content, limits)
    reading = WorkbookReading(limits)
    names = reading.read(content)
    _add_notes(reading.text, package, sheets)
    return reading.extraction(names, package.properties())


def checked(content: bytes, limits: Limits) -> tuple[Package, list[str]]:
    """Return the package of a workbook that is safe to give to calamine, and the parts of its sheets."""
    package = open_package(content, limits, kind="Excel workbook")
    main = package.main_part("xl/workbook.xml")
    if not package.has(main):
        raise ExtractionFailed("type_mismatch", "The name says Excel workbook, the content is another ZIP")
    sheets = [link.target for link in package.relations(main) if link.kind == "worksheet" and package.has(link.target)]
    sheet_guard.check(package, main, list(dict.fromkeys(sheets)), limits)
    return package, sheets


def _add_notes(text: TextSink, package: Package, sheets: list[str]) -> None:
    """Add the texts of comments and shapes; unreadable ones are left out, since the cells are what counts."""
    links = [link for sheet in dict.fromkeys(sheets) for link in package.relations(sheet)]
    parts = [link.target for kind in _NOTE_KINDS for link in links if link.kind == kind and package.has(link.target)]
    for part in dict.fromkeys(parts):
        try:
            words = [item.text for item in package.events(part, ("{*}t", "{*}text")) if item.text]
        except ExtractionFailed:
            continue
        if words and not text.add("".join(f"{word}\n" for word in words)):
            return
