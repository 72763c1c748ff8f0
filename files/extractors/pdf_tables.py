"""Tables of PDF pages by pdfplumber, read in the extraction child after the text is safely told.

pdfplumber needs some 170 ms a page and can ask for a gigabyte over 2 KB of PDF, so three things hold it down. Only the
first pages are looked at, and of these only pages on which PDFium sees ruling lines (a page without any has no table
that pdfplumber's default strategy would find); the most pages is a setting, PDF_TABLE_PAGES, and 0 reads none. It has a
CPU limit of its own. And when it fails, or kills the child, the file keeps its text and gets a warning.
Thus a text-only PDF pays about a millisecond a page and one with tables has them without being asked for again.
"""

import io
import resource
from collections.abc import Iterator
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from files.extractors.base import Extraction, Limits, TableSink

_SEARCHED_PAGES = 10
# Segments of paths: the lines of two by two cells have these, plots and maps have more.
_FEWEST_SEGMENTS = 12
_MOST_SEGMENTS = 20_000
_FEWEST_ROWS = _FEWEST_COLUMNS = 2


def read_later(content: bytes, limits: Limits, extraction: Extraction) -> Iterator[dict[str, Any]]:
    """Yield {"tables": [{name, rows}]} of the ruled pages among the first; raises whatever pdfplumber raises."""
    yield {"tables": read_tables(content, limits)}


def read_tables(content: bytes, limits: Limits) -> list[dict[str, Any]]:
    """Return [{name, rows}] of the ruled pages among the first; raises whatever pdfplumber raises."""
    numbers = _ruled_pages(content, limits.pdf_table_pages)
    if not numbers:
        return []
    _limit_cpu(limits)
    import pdfplumber  # 60 ms that other PDFs need not wait for

    sink = TableSink()
    with pdfplumber.open(io.BytesIO(content), pages=numbers) as document:
        for page in document.pages:
            for rows in page.extract_tables():
                _add(sink, page.page_number, rows)
            page.close()
    return sink.tables


def _ruled_pages(content: bytes, most: int) -> list[int]:
    """Return the numbers, from 1, of the first pages with ruling lines."""
    document = pdfium.PdfDocument(content)
    found: list[int] = []
    try:
        for index in range(min(len(document), _SEARCHED_PAGES) if most else 0):
            if len(found) < most and _is_ruled(document, index):
                found.append(index + 1)
    finally:
        document.close()
    return found


def _is_ruled(document: Any, index: int) -> bool:
    try:
        page = document[index]
    except pdfium.PdfiumError:
        return False
    segments = 0
    try:
        for item in page.get_objects(filter=(raw.FPDF_PAGEOBJ_PATH,), max_depth=3):
            segments += max(raw.FPDFPath_CountSegments(item), 0)
            if segments > _MOST_SEGMENTS:
                return False
    finally:
        page.close()
    return segments >= _FEWEST_SEGMENTS


def _limit_cpu(limits: Limits) -> None:
    """Lower this process's soft CPU limit: nothing but tables is left to do, and they may not take all of it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + limits.pdf_table_seconds
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _add(sink: TableSink, page_number: int, rows: list[list[str | None]]) -> None:
    """Keep what looks like a table: frames around a page or a paragraph have one row or one column."""
    filled = [[cell or "" for cell in row] for row in rows if any(row)]
    if len(filled) < _FEWEST_ROWS or max(map(len, filled)) < _FEWEST_COLUMNS:
        return
    sink.begin(f"Page {page_number}, table {_count_of(sink, page_number) + 1}")
    for row in filled:
        sink.add(row)


def _count_of(sink: TableSink, page_number: int) -> int:
    return sum(table["name"].startswith(f"Page {page_number},") for table in sink.tables)
