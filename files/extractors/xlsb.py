"""Excel's binary workbooks (XLSB): a ZIP with the limits of every other, cells by calamine."""

from files.extractors import binary_sheet_guard, xlsb_texts
from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ooxml import Package, open_package
from files.extractors.sheet_errors import Errors
from files.extractors.workbook_cells import WorkbookReading

_MAIN = "xl/workbook.bin"


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the cells' text sheet by sheet, then what stands beside them; metadata as of XLSX."""
    package = checked(content, limits)
    reading = WorkbookReading(limits)
    names = reading.read(content, errors(package))
    reading.add_texts(xlsb_texts.beside_cells(package, package.main_part(_MAIN)))
    return reading.extraction(names, package.properties())


def checked(content: bytes, limits: Limits) -> Package:
    """Return the package of a workbook that is safe to give to calamine."""
    package = open_package(content, limits, kind="Excel binary workbook")
    main = package.main_part(_MAIN)
    if not (main.endswith(".bin") and package.has(main)):
        raise ExtractionFailed("type_mismatch", "The name says Excel binary workbook, the content is another ZIP")
    binary_sheet_guard.check_xlsb(package, main, limits)
    return package


def errors(package: Package) -> Errors:
    """Return the error cells by the place of their sheets."""
    return xlsb_texts.errors(package, package.main_part(_MAIN))
