"""Pictures (PNG, JPEG, TIFF, BMP, WebP, GIF): their letters, by OCR. Only ever called in the extraction child.

A picture's size is read from its header, before anything is decoded. No decoder but
the one that its first bytes call for is tried.
Of an animation the first frame is read, of a TIFF the first pages, as many as of a scanned PDF (PDF_OCR_PAGES).
"""

import io
import math
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from files import filetypes
from files.extractors.base import Extraction, ExtractionFailed, Limits, TextSink
from files.extractors.ocr import PictureReader, Reading, mean_confidence

_MEGA = 1_000_000
# A4 at 400 dots per inch; more only costs time.
_MOST_READ_PIXELS = 16_000_000
# Narrower letters than Tesseract was trained on are read better when doubled.
_DOUBLED_BELOW_PIXELS = 1_000_000
_SURE = 0.9
_REDUCIBLE = frozenset({"L", "LA", "RGB", "RGBA", "CMYK"})
_LIKELY_RESOLUTIONS = range(70, 2401)

# What Pillow raises on damaged pictures.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, AttributeError, OverflowError)


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text; metadata: image_format, image_width, image_height, image_pages, ocr_confidence, ocr_language.

    Raises ExtractionFailed: type_mismatch, corrupt, too_large, ocr_unavailable, ocr_language_unknown.
    """
    with open_picture(content, limits) as picture:
        pages = _pages(picture)
        metadata = {
            "extraction_method": "ocr",
            "image_format": (picture.format or "").lower(),
            "image_width": picture.width,
            "image_height": picture.height,
            "image_pages": pages,
        }
        reader = PictureReader(limits.ocr_language)
        readings = list(_readings(picture, min(pages, max(limits.ocr_pages, 1)), reader, limits))
    sink = TextSink(limits.max_characters)
    sink.add("\n\n".join(reading.text for reading in readings))
    metadata |= {"ocr_confidence": mean_confidence(readings), "ocr_language": reader.language}
    left_out = pages - len(readings)
    warnings = [f"{left_out} pages were not read; the limit is {limits.ocr_pages} (PDF_OCR_PAGES)"] if left_out else []
    return Extraction(text=sink.text(), metadata=metadata, truncated=sink.truncated, warnings=warnings)


def open_picture(content: bytes, limits: Limits) -> Any:
    """Open a picture without decoding it. Raises ExtractionFailed: type_mismatch, corrupt, too_large."""
    # Pillow's own guard is a warning at half of its limit; ours is exact and an error.
    Image.MAX_IMAGE_PIXELS = None
    found = filetypes.describe(content[: filetypes.HEAD_BYTES])
    if found not in filetypes.IMAGE_FORMATS:
        raise ExtractionFailed("type_mismatch", f"The name says picture, the content is {found}")
    try:
        picture = Image.open(io.BytesIO(content), formats=[filetypes.IMAGE_FORMATS[found]])
    except UnidentifiedImageError as error:
        raise ExtractionFailed("corrupt", f"The {found} picture cannot be read") from error
    except DAMAGE as error:
        raise ExtractionFailed("corrupt", f"The {found} picture cannot be read: {error}"[:300]) from error
    check_size(picture, limits)
    return picture


def _pages(picture: Any) -> int:
    """Return how many pages a TIFF has; only the first where the directory of a later one is damaged."""
    try:
        return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
    except DAMAGE:
        picture.seek(0)
        return 1


def check_size(picture: Any, limits: Limits) -> None:
    """Refuse a picture, or a frame of it, with too many pixels."""
    if picture.width * picture.height > limits.max_image_pixels:
        size = f"{picture.width} x {picture.height} pixels"
        raise ExtractionFailed("too_large", f"{size}; the limit is {limits.max_image_pixels / _MEGA:g} megapixels")


def _readings(picture: Any, pages: int, reader: PictureReader, limits: Limits) -> Iterator[Reading]:
    for page in range(pages):
        try:
            if page:
                picture.seek(page)
                check_size(picture, limits)
            grey, dots_per_inch = _grey(picture)
        except DAMAGE as error:
            raise ExtractionFailed("corrupt", f"The picture cannot be decoded: {error}"[:300]) from error
        yield _read(grey, dots_per_inch, reader)


def _read(grey: Any, dots_per_inch: int, reader: PictureReader) -> Reading:
    """Read a picture as it is, and doubled where it is small, which is better for small letters and worse for large."""
    reading = reader.read(grey.tobytes(), width=grey.width, height=grey.height, dots_per_inch=dots_per_inch)
    if reading.confidence >= _SURE or grey.width * grey.height >= _DOUBLED_BELOW_PIXELS:
        return reading
    large = grey.resize((grey.width * 2, grey.height * 2), Image.Resampling.BICUBIC)
    other = reader.read(large.tobytes(), width=large.width, height=large.height, dots_per_inch=dots_per_inch * 2)
    return max(reading, other, key=lambda one: one.worth)


def _grey(picture: Any) -> tuple[Any, int]:
    """Return the picture as shown (turned as its EXIF data say, on white where transparent) in greys, and its dpi."""
    resolution = resolution_of(picture)
    picture.draft("L", None)
    factor = math.ceil(math.sqrt(picture.width * picture.height / _MOST_READ_PIXELS))
    # Made smaller first where that can be done: what follows takes several times the picture's memory.
    smaller = picture.reduce(factor) if factor > 1 and picture.mode in _REDUCIBLE else picture
    grey = _flattened(ImageOps.exif_transpose(smaller))
    if factor > 1 and smaller is picture:
        grey = grey.reduce(factor)
    return grey, resolution // factor


def _flattened(picture: Any) -> Any:
    if picture.mode.startswith(("I", "F")):
        return scaled_to_bytes(picture)
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("L")
    return picture.convert("L")


def scaled_to_bytes(picture: Any) -> Any:
    """Return 16-bit, 32-bit or floating greys as bytes: Pillow would cut them off at 255."""
    low, high = picture.getextrema()
    scale = 255 / max(high - low, 1e-9)
    return picture.convert("F").point(lambda value: value * scale - low * scale).convert("L")


def resolution_of(picture: Any) -> int:
    """Return the dots per inch that the file says, 0 where that is missing or unlikely."""
    try:
        said = round(float(picture.info.get("dpi", (0,))[0]))
    except (TypeError, ValueError, IndexError, OverflowError, ZeroDivisionError):
        return 0
    return said if said in _LIKELY_RESOLUTIONS else 0
