"""Pictures from one format into another, and into a PDF. Only ever called in the child.

A picture is given as it is shown: turned as its EXIF data say, on white where the target knows no transparency.
Of what the file says beside the pixels (places, cameras, comments) only the colour profile stays.
Of an animation the first frame is taken; every page of a TIFF is.
"""

import io
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageOps

from files.extractors.base import ExtractionFailed, Limits
from files.extractors.image import DAMAGE, check_size, open_picture, resolution_of, scaled_to_bytes
from files.filetypes import IMAGE_EXTENSIONS, IMAGE_FORMATS
from files.makers.base import USUAL_QUALITY, Made, Work

_OPAQUE = frozenset({"JPEG", "BMP"})
_TRANSPARENT_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_LONGEST_SIDES = {"WEBP": 16_383, "JPEG": 65_500, "GIF": 65_535}
_SAVING: dict[str, dict[str, Any]] = {
    "PNG": {"optimize": True},
    "JPEG": {"optimize": True, "progressive": True},
    "TIFF": {"compression": "tiff_deflate"},
}
_WITH_QUALITY = frozenset({"JPEG", "WEBP"})


def convert(work: Work) -> Iterator[Made]:
    """Make a picture of the target's format out of each page."""
    target = work.options["target"]
    for number, picture, pages in pages_of(work):
        content = encoded(as_shown(picture), kind_of(target), quality=USUAL_QUALITY)
        yield Made(target, content, label=str(number) if pages > 1 else "", facts=facts_of(picture))


def bind(work: Work) -> Iterator[Made]:
    """Make one PDF with a page for each page of a picture."""
    dots_per_inch = 0
    sheets = []
    for _, picture, _ in pages_of(work):
        dots_per_inch = dots_per_inch or resolution_of(picture)
        sheets.append(on_white(as_shown(picture)))
        check_area(sum(sheet.width * sheet.height for sheet in sheets), work.limits)
    written = io.BytesIO()
    # Without the time of day equal pictures give equal documents.
    saving: dict[str, Any] = {"creationDate": None, "modDate": None}
    if any(sheet.mode != "1" for sheet in sheets):
        # Pages of dots alone are stored as a fax, which knows no quality: Pillow refuses it for them.
        saving["quality"] = USUAL_QUALITY
        sheets = [sheet.convert("L") if sheet.mode == "1" else sheet for sheet in sheets]
    resolution = dots_per_inch or 72
    sheets[0].save(written, "PDF", save_all=True, append_images=sheets[1:], resolution=resolution, **saving)
    yield Made("pdf", written.getvalue())


def pages_of(work: Work) -> Iterator[tuple[int, Any, int]]:
    """Yield the number of each page, its picture (decoded) and how many pages there are.

    Raises ExtractionFailed: type_mismatch, corrupt, too_large, too_many_pages.
    """
    with open_picture(work.content, work.limits) as picture:
        pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
        if pages > work.limits.max_made_files:
            raise ExtractionFailed("too_many_pages", f"{pages} pages; the limit is {work.limits.max_made_files}")
        for number in range(1, pages + 1):
            _turn_to(picture, number, work.limits)
            yield number, picture, pages


def _turn_to(picture: Any, number: int, limits: Limits) -> None:
    try:
        if number > 1:
            picture.seek(number - 1)
            check_size(picture, limits)
        picture.load()
    except DAMAGE as error:
        raise ExtractionFailed("corrupt", f"The picture cannot be decoded: {error}"[:300]) from error


def check_area(pixels: int, limits: Limits) -> None:
    """Refuse what would have too many pixels in all."""
    if pixels > limits.max_image_pixels:
        most = f"the limit is {limits.max_image_pixels / 1_000_000:g} megapixels"
        raise ExtractionFailed("too_large", f"{pixels} pixels in all; {most}")


def kind_of(extension: str) -> str:
    """Return Pillow's name of a format."""
    return IMAGE_FORMATS[IMAGE_EXTENSIONS[extension]]


def facts_of(picture: Any) -> dict[str, Any]:
    """Return the size of a picture as it is shown, by the names that the extraction gives it."""
    turned = picture.getexif().get(0x0112) in {5, 6, 7, 8}
    width, height = (picture.height, picture.width) if turned else picture.size
    return {"image_width": width, "image_height": height}


def as_shown(picture: Any) -> Any:
    """Return a picture as it is shown, in mode 1, L, RGB or RGBA, with nothing beside the pixels but a profile."""
    turned = ImageOps.exif_transpose(picture)
    plain = _in_plain_mode(turned)
    # A profile describes the channels it was made for, so it goes where they do.
    profile = turned.info.get("icc_profile") if plain.mode == turned.mode else None
    plain.info = {"icc_profile": profile} if profile else {}
    return plain


def _in_plain_mode(picture: Any) -> Any:
    if picture.mode in _TRANSPARENT_MODES or "transparency" in picture.info:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in {"1", "L", "RGB"}:
        return picture
    if picture.mode.startswith("I;16"):
        # 65535 is white, whatever the picture's own brightest grey is; the half rounds.
        return picture.convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if picture.mode in {"I", "F"}:
        return scaled_to_bytes(picture)
    return picture.convert("RGB")


def on_white(picture: Any) -> Any:
    """Return a picture without transparency."""
    if picture.mode != "RGBA":
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    white.info = picture.info
    return white


def encoded(picture: Any, kind: str, *, quality: int) -> bytes:
    """Return the bytes of a picture in one of Pillow's formats. Raises ExtractionFailed: too_large."""
    longest = _LONGEST_SIDES.get(kind)
    if longest is not None and max(picture.size) > longest:
        size = f"{picture.width} x {picture.height} pixels"
        raise ExtractionFailed("too_large", f"{size}; the longest side of a {kind} picture is {longest}")
    shown = on_white(picture) if kind in _OPAQUE else picture
    return saved(shown, kind, **_SAVING.get(kind, {}), **({"quality": quality} if kind in _WITH_QUALITY else {}))


def saved(picture: Any, kind: str, **saving: Any) -> bytes:
    """Return the bytes of a picture, with its colour profile where the format has room for one."""
    profile = picture.info.get("icc_profile")
    written = io.BytesIO()
    picture.save(written, kind, **saving, **({"icc_profile": profile} if profile else {}))
    return written.getvalue()
