"""Pictures in another size. Only ever called in the child."""

from collections.abc import Iterator
from typing import Any

from PIL import Image

from files.extractors.base import ExtractionFailed
from files.makers.base import USUAL_QUALITY, Made, Work
from files.makers.pictures import as_shown, check_area, encoded, kind_of, pages_of


def resize(work: Work) -> Iterator[Made]:
    """Make the picture of exactly this width and height, or as large as fits into them with `keep_ratio`.

    Raises ExtractionFailed: unsupported_type (an animation, several pages), too_large, corrupt.
    """
    _, picture, _ = next(pages_of(work))
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise ExtractionFailed("unsupported_type", f"A file of {frames} pictures cannot be resized")
    shown = as_shown(picture)
    size = _size(shown, work.options)
    check_area(size[0] * size[1], work.limits)
    profile = shown.info
    # Dots of black and white have nothing between them.
    smooth = shown.convert("L") if shown.mode == "1" else shown
    resized = smooth.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    resized.info = profile
    content = encoded(resized, kind_of(work.extension), quality=USUAL_QUALITY)
    facts = {"image_width": size[0], "image_height": size[1]}
    yield Made(work.extension, content, label=f"{size[0]}x{size[1]}", facts=facts)


def _size(picture: Any, options: dict[str, Any]) -> tuple[int, int]:
    width, height = options["width"], options["height"]
    if not options["keep_ratio"]:
        return width, height
    scale = min(width / picture.width, height / picture.height)
    return max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
