"""Text of PDF pages by PDFium. Only ever called in the extraction child: PDFium can abort a process.

Known gap: where a font draws lam and alef as one glyph, PDFium gives the two letters in visual order.
"""

from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from files import filetypes
from files.extractors.base import Extraction, ExtractionFailed, Limits, TextSink

# PDFium's marks for a hyphen at a line's end.
_MARKS = str.maketrans({"￾": "-", "\x02": "-"})


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text of all pages; metadata: pdf_pages, title, author."""
    if not filetypes.is_pdf(content[: filetypes.HEAD_BYTES]):
        found = filetypes.describe(content[: filetypes.HEAD_BYTES])
        raise ExtractionFailed("type_mismatch", f"The name says pdf, the content is {found}")
    document = _open(content)
    try:
        pages = len(document)
        if pages > limits.max_pdf_pages:
            raise ExtractionFailed("too_many_pages", f"{pages} pages; the limit is {limits.max_pdf_pages}")
        sink = _read_pages(document, pages, limits)
        metadata = {"extraction_method": "pdf", "pdf_pages": pages} | _properties(document)
    finally:
        document.close()
    return Extraction(text=sink.text(), metadata=metadata, truncated=sink.truncated)


def _open(content: bytes) -> Any:
    try:
        document = pdfium.PdfDocument(content)
    except pdfium.PdfiumError as error:
        if error.err_code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise ExtractionFailed("encrypted", "The PDF needs a password") from error
        raise ExtractionFailed("corrupt", "The PDF cannot be parsed") from error
    if not len(document):
        raise ExtractionFailed("corrupt", "The PDF has no pages")
    return document


def _read_pages(document: Any, pages: int, limits: Limits) -> TextSink:
    sink = TextSink(limits.max_characters)
    unreadable = 0
    for index in range(pages):
        try:
            text = _page_text(document, index)
        except pdfium.PdfiumError:
            unreadable += 1
            continue
        if not sink.add(("\n\n" if index else "") + text):
            break
    if unreadable == pages:
        raise ExtractionFailed("corrupt", "No page of the PDF can be read")
    return sink


def _page_text(document: Any, index: int) -> str:
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            text: str = text_page.get_text_bounded()
        finally:
            text_page.close()
    finally:
        page.close()
    return text.replace("\r\n", "\n").translate(_MARKS)


def _properties(document: Any) -> dict[str, str]:
    found = document.get_metadata_dict(skip_empty=True)
    return {key.lower(): found[key] for key in ("Title", "Author") if found.get(key)}
