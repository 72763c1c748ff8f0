"""Opening PDFs by PDFium, and by qpdf (pikepdf) what PDFium gives up on. Only ever called in the child."""

import io
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from files import filetypes
from files.extractors.base import ExtractionFailed

_LOOKED_AT_PAGES = 10


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
        return _mended(content)
    if not len(document):
        raise ExtractionFailed("corrupt", "The PDF has no pages")
    return document


def _mended(content: bytes) -> Any:
    """Return PDFium's document of what qpdf finds in a damaged file. Raises ExtractionFailed: encrypted, corrupt."""
    import pikepdf  # 60 ms that whole PDFs need not wait for

    try:
        with pikepdf.open(io.BytesIO(content)) as found:
            written = io.BytesIO()
            found.save(written)
        document = pdfium.PdfDocument(written.getvalue())
    except pikepdf.PasswordError as error:
        raise ExtractionFailed("encrypted", "The PDF needs a password") from error
    except (pikepdf.PdfError, pdfium.PdfiumError, RuntimeError, ValueError) as error:
        raise ExtractionFailed("corrupt", "The PDF cannot be parsed") from error
    # Whatever has the word `obj` in it has pages for qpdf.
    if not any(_shows_anything(document, index) for index in range(min(len(document), _LOOKED_AT_PAGES))):
        raise ExtractionFailed("corrupt", "The PDF cannot be parsed")
    return document


def _shows_anything(document: Any, index: int) -> bool:
    try:
        page = document[index]
    except pdfium.PdfiumError:
        return False
    try:
        return bool(raw.FPDFPage_CountObjects(page) > 0)
    finally:
        page.close()
