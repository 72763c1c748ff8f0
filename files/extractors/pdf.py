"""Text of PDF pages by PDFium. Only ever called in the extraction child: PDFium can abort a process.

Where a font draws lam and alef as one glyph, PDFium gives the two letters in visual order; they are put right.
"""

import ctypes
import re
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from files import filetypes
from files.extractors import pdf_ocr
from files.extractors.base import Extraction, ExtractionFailed, Limits, TextSink, short

_ALEF_LAM = re.compile("([\u0627\u0623\u0625\u0622])(\u0644)")
# PDFium's marks for a hyphen at a line's end.
_MARKS = str.maketrans({"￾": "-", "\x02": "-"})


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text of all pages; metadata: pdf_pages, title, author."""
    check_type(content)
    document = open_document(content)
    try:
        pages = len(document)
        if pages > limits.max_pdf_pages:
            raise ExtractionFailed("too_many_pages", f"{pages} pages; the limit is {limits.max_pdf_pages}")
        reading = _Reading(limits)
        reading.read(document, pages)
        metadata = {"extraction_method": "pdf", "pdf_pages": pages} | short(_properties(document))
    finally:
        document.close()
    sink = reading.text
    return Extraction(
        text=sink.text(), metadata=metadata, truncated=sink.truncated, scanned_pages=reading.scanned_pages
    )


def check_type(content: bytes) -> None:
    """Refuse what is no PDF. Raises ExtractionFailed: type_mismatch."""
    if not filetypes.is_pdf(content[: filetypes.HEAD_BYTES]):
        found = filetypes.describe(content[: filetypes.HEAD_BYTES])
        raise ExtractionFailed("type_mismatch", f"The name says pdf, the content is {found}")


def open_document(content: bytes) -> Any:
    """Return PDFium's document. Raises ExtractionFailed: encrypted, corrupt."""
    try:
        document = pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if error.err_code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise ExtractionFailed("encrypted", "The PDF needs a password") from error
        raise ExtractionFailed("corrupt", "The PDF cannot be parsed") from error
    if not len(document):
        raise ExtractionFailed("corrupt", "The PDF has no pages")
    return document


class _Reading:
    """What has been read so far."""

    def __init__(self, limits: Limits) -> None:
        self.text = TextSink(limits.max_characters)
        self.scanned_pages: list[tuple[int, int]] = []

    def read(self, document: Any, pages: int) -> None:
        """Add the text of all pages. Raises ExtractionFailed: corrupt (no page can be read)."""
        unreadable = 0
        for index in range(pages):
            try:
                text, is_scanned = _page_text(document, index)
            except pdfium.PdfiumError:
                unreadable += 1
                continue
            if not self.text.add(("\n\n" if index else "") + text):
                break
            if is_scanned:
                self.scanned_pages.append((index + 1, self.text.length))
        if unreadable == pages:
            raise ExtractionFailed("corrupt", "No page of the PDF can be read")


def _page_text(document: Any, index: int) -> tuple[str, bool]:
    """Return the text of a page, and whether its words are in a picture instead."""
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            text: str = _reordered(text_page, text_page.get_text_bounded())
        finally:
            text_page.close()
        is_scanned = pdf_ocr.is_scanned(page, text)
    finally:
        page.close()
    return text.replace("\r\n", "\n").translate(_MARKS), is_scanned


def _reordered(text_page: Any, text: str) -> str:
    """Turn alef and lam round where both stand at one point, which only the letters of one glyph do."""
    if not _ALEF_LAM.search(text):
        return text
    letters = "".join(
        chr(raw.FPDFText_GetUnicode(text_page, index)) for index in range(raw.FPDFText_CountChars(text_page))
    )
    turned = [
        _origin(text_page, pair.start()) == _origin(text_page, pair.end() - 1) for pair in _ALEF_LAM.finditer(letters)
    ]
    if len(turned) != len(_ALEF_LAM.findall(text)):
        return text  # the two readings of the page differ, so the pairs cannot be told
    order = iter(turned)
    return _ALEF_LAM.sub(lambda pair: pair[2] + pair[1] if next(order) else pair[0], text)


def _origin(text_page: Any, index: int) -> tuple[float, float]:
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(text_page, index, x, y)
    return x.value, y.value


def _properties(document: Any) -> dict[str, str]:
    found = document.get_metadata_dict(skip_empty=True)
    return {key.lower(): found[key] for key in ("Title", "Author") if found.get(key)}
