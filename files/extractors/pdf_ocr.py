"""Scanned PDF pages, read after the text is safely told: each page is told by itself, so a crash costs only the rest.

A page is scanned when it has fewer than five characters of text and an image, or next to no text, such as a stamp or
a page number, and an image all over it; not where a recognition before has laid invisible text over that image.
So is a page whose fonts do not say what most of its letters are: what PDFium gives then are numbers of glyphs.
The most pages is a setting, PDF_OCR_PAGES, and 0 reads none.
"""

import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from files.extractors.base import Extraction, Limits
from files.extractors.ocr import PictureReader, Reading
from files.extractors.pdf_document import open_document

_DOTS_PER_INCH = 200
_POINTS_PER_INCH = 72
_FEWEST_CHARACTERS = 5
_FEWEST_BESIDE_A_SCAN = 100
_SCANNED_SHARE = 0.9
_IMAGE_DEPTH = 4
_LOOKED_AT_CHARACTERS = 200
_CONTROLS_SHARE = 0.05
# Neither blanks nor PDFium's mark for a hyphen.
_CONTROLS = re.compile("[\x01\x03-\x08\x0e-\x1f]")


def is_scanned(page: Any, text: str) -> bool:
    """Tell whether an open page shows its words as a picture."""
    characters = len("".join(text.split()))
    if characters >= _FEWEST_BESIDE_A_SCAN:
        return False
    images = page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=_IMAGE_DEPTH)
    if characters < _FEWEST_CHARACTERS:
        return next(iter(images), None) is not None
    return any(map(partial(_covers, page), images)) and not _has_invisible_text(page)


def is_undecipherable(page: Any, text: str) -> bool:
    """Tell whether the letters of an open page can only be told by their looks."""
    # Among the first numbers of glyphs, which look like control characters, is the space. Ligatures are fewer.
    if len(_CONTROLS.findall(text)) < max(_CONTROLS_SHARE * len(text), 1):
        return False
    text_page = page.get_textpage()
    try:
        count = raw.FPDFText_CountChars(text_page)
        looked_at = range(0, count, count // _LOOKED_AT_CHARACTERS + 1)
        unknown = sum(raw.FPDFText_HasUnicodeMapError(text_page, index) == 1 for index in looked_at)
    finally:
        text_page.close()
    return bool(unknown * 2 > len(looked_at))


def _covers(page: Any, image: Any) -> bool:
    left, bottom, right, top = image.get_bounds()
    page_left, page_bottom, page_right, page_top = page.get_bbox()
    width = min(right, page_right) - max(left, page_left)
    height = min(top, page_top) - max(bottom, page_bottom)
    area = (page_right - page_left) * (page_top - page_bottom)
    return bool(width > 0 and height > 0 and width * height >= _SCANNED_SHARE * area)


def _has_invisible_text(page: Any) -> bool:
    texts = page.get_objects(filter=(raw.FPDF_PAGEOBJ_TEXT,), max_depth=_IMAGE_DEPTH)
    return any(raw.FPDFTextObj_GetTextRenderMode(item) == raw.FPDF_TEXTRENDERMODE_INVISIBLE for item in texts)


def read_later(content: bytes, limits: Limits, extraction: Extraction) -> Iterator[dict[str, Any]]:
    """Yield {"page": {number, offset, text, confidence, language}} for each scanned page, or {"warning"}.

    `offset` counts characters of the text that was told before. Raises what PictureReader raises.
    """
    pages = extraction.scanned_pages[: limits.ocr_pages]
    if left_out := len(extraction.scanned_pages) - len(pages):
        message = f"{left_out} scanned pages were not read; the limit is {limits.ocr_pages} (PDF_OCR_PAGES)"
        yield {"warning": message}
    if not pages:
        return
    reader = PictureReader(limits.ocr_language)
    document = open_document(content)
    try:
        for number, offset in pages:
            yield _page(document, number, offset, reader, limits)
    finally:
        document.close()


def _page(document: Any, number: int, offset: int, reader: PictureReader, limits: Limits) -> dict[str, Any]:
    try:
        reading = _read(document, number - 1, reader, limits)
    except (pdfium.PdfiumError, ValueError, MemoryError) as error:
        return {"warning": f"Page {number} was not read: {type(error).__name__}: {error}"[:300]}
    found = {"number": number, "offset": offset, "text": reading.text, "confidence": reading.confidence}
    return {"page": found | {"language": reader.language}}


def _read(document: Any, index: int, reader: PictureReader, limits: Limits) -> Reading:
    page = document[index]
    try:
        scale = _scale(page.get_size(), limits.max_page_pixels)
        bitmap = page.render(scale=scale, grayscale=True, may_draw_forms=False)
        try:
            pixels = _rows(bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride)
            dots_per_inch = round(scale * _POINTS_PER_INCH)
            return reader.read(pixels, width=bitmap.width, height=bitmap.height, dots_per_inch=dots_per_inch)
        finally:
            bitmap.close()
    finally:
        page.close()


def _scale(size: tuple[float, float], max_pixels: int) -> float:
    """Return pixels a point: 200 dots per inch, fewer where the page would have too many."""
    return min(_DOTS_PER_INCH / _POINTS_PER_INCH, math.sqrt(max_pixels / max(size[0] * size[1], 1.0)))


def _rows(data: bytes, width: int, height: int, stride: int) -> bytes:
    """Return the pixels without the bytes that fill up each row."""
    if stride == width:
        return data
    return b"".join(data[row * stride : row * stride + width] for row in range(height))
