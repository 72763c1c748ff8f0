"""Pictures of PDF pages. Only ever called in the child: PDFium can abort a process."""

import re
from collections.abc import Iterator
from typing import Any

import pypdfium2 as pdfium

from files.extractors.base import ExtractionFailed, Limits
from files.extractors.pdf_document import check_type, open_document
from files.makers.base import USUAL_QUALITY, Made, Work
from files.makers.pictures import encoded, kind_of

_POINTS_PER_INCH = 72
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


def convert(work: Work) -> Iterator[Made]:
    """Make a picture of each page, or of those that the option `pages` names ("1-3,5"), at `dpi` dots per inch.

    Raises ExtractionFailed: encrypted, corrupt, page_not_found, too_many_pages, too_large (a page's pixels).
    """
    check_type(work.content)
    document = open_document(work.content)
    try:
        count = len(document)
        wanted = str(work.options.get("pages") or "")
        pages = numbers(wanted, count) if wanted else range(1, count + 1)
        if len(pages) > work.limits.max_made_files:
            raise ExtractionFailed("too_many_pages", f"{len(pages)} pages; the limit is {work.limits.max_made_files}")
        for number in pages:
            yield _page(document, number, work, label=str(number) if count > 1 else "")
    finally:
        document.close()


def numbers(wanted: str, count: int) -> list[int]:
    """Return the page numbers of "1-3,5", each once, in the order given. Raises ExtractionFailed: page_not_found."""
    found: dict[int, None] = {}
    for part in wanted.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= count:
            raise ExtractionFailed("page_not_found", f"There are no pages {part.strip()!r}; the PDF has {count}")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def _page(document: Any, number: int, work: Work, *, label: str) -> Made:
    target = work.options["target"]
    scale = work.options["dpi"] / _POINTS_PER_INCH
    try:
        page = document[number - 1]
    except pdfium.PdfiumError as error:
        raise ExtractionFailed("corrupt", f"Page {number} of the PDF cannot be read") from error
    try:
        _check_size(page.get_size(), number, scale, work.limits)
        bitmap = page.render(scale=scale)
        try:
            picture = bitmap.to_pil()
            facts = {"image_width": picture.width, "image_height": picture.height}
            return Made(target, encoded(picture, kind_of(target), quality=USUAL_QUALITY), label=label, facts=facts)
        finally:
            bitmap.close()
    except pdfium.PdfiumError as error:
        raise ExtractionFailed("corrupt", f"Page {number} of the PDF cannot be drawn") from error
    finally:
        page.close()


def _check_size(points: tuple[float, float], number: int, scale: float, limits: Limits) -> None:
    width, height = round(points[0] * scale), round(points[1] * scale)
    if width * height > limits.max_page_pixels:
        most = f"the limit is {limits.max_page_pixels / 1_000_000:g} megapixels"
        raise ExtractionFailed(
            "too_large", f"Page {number} would have {width} x {height} pixels; {most}; ask for less dpi"
        )
