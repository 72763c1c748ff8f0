"""Text of PDF pages by PDFium. Only ever called in the extraction child: PDFium can abort a process.

Where a font draws lam and alef as one glyph, PDFium gives the two letters in visual order; they are put right.
"""

import ctypes
import re
from contextlib import suppress
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from files.extractors import pdf_notes, pdf_ocr
from files.extractors.base import PROPERTY_CHARACTERS, Extraction, ExtractionFailed, Limits, TextSink, short
from files.extractors.pdf_document import check_type, open_document

_ALEF_LAM = re.compile("([\u0627\u0623\u0625\u0622])(\u0644)")
# PDFium's marks for a hyphen at a line's end.
_MARKS = str.maketrans({"￾": "-", "\x02": "-"})
# Points, beyond every page: 14,400 are the most that a page may have.
_FAR = 1e7


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text of all pages; metadata: pdf_pages, title, author, pdf_attachments (names, if there are any)."""
    check_type(content)
    document = open_document(content)
    try:
        pages = len(document)
        if pages > limits.max_pdf_pages:
            raise ExtractionFailed("too_many_pages", f"{pages} pages; the limit is {limits.max_pdf_pages}")
        with suppress(pdfium.PdfiumError):  # damaged forms; the pages are read all the same
            document.init_forms()
        reading = _Reading(limits)
        reading.read(document, pages)
        metadata = {"extraction_method": "pdf", "pdf_pages": pages} | _properties(document)
    finally:
        document.close()
    sink = reading.text
    return Extraction(
        text=sink.text(), metadata=metadata, truncated=sink.truncated, scanned_pages=reading.scanned_pages
    )


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
    """Return the text of a page with what lies on top of it, and whether words are in a picture instead."""
    page = document[index]
    try:
        text = _text(page)
        is_scanned = pdf_ocr.is_scanned(page, text) or pdf_ocr.is_undecipherable(page, text)
        noted = pdf_notes.draw_in(page)
    finally:
        page.close()
    if noted is not None:
        text = _with_notes(document, index, text, noted)
    return text + ("\n" if text and is_scanned else ""), is_scanned


def _with_notes(document: Any, index: int, text: str, noted: list[str]) -> str:
    """Return the text of a page into which its annotations were drawn, and what `noted` says beside."""
    page = document[index]
    try:
        drawn = _text(page)
    finally:
        page.close()
    if not pdf_notes.without(text.split(), drawn):
        text = drawn  # seldom, the drawing takes the page's own letters away
    return "\n".join((text, *pdf_notes.without(noted, text))).strip("\n")


def _text(page: Any) -> str:
    """Return all text of an open page, also what the page's edge cuts off."""
    text_page = page.get_textpage()
    try:
        text = _reordered(text_page, text_page.get_text_bounded(-_FAR, -_FAR, _FAR, _FAR))
    finally:
        text_page.close()
    return text.replace("\r\n", "\n").translate(_MARKS)


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


def _properties(document: Any) -> dict[str, Any]:
    found = document.get_metadata_dict(skip_empty=True)
    properties: dict[str, Any] = short({key.lower(): found[key] for key in ("Title", "Author") if found.get(key)})
    if names := pdf_notes.attachments(document):
        properties["pdf_attachments"] = [name[:PROPERTY_CHARACTERS] for name in names]
    return properties
