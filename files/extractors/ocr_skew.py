"""Pictures of pages that lie askew, turned straight: Tesseract reads nothing sensible of lines that rise or fall.

A page lies straight when its rows of pixels (or columns, where it lies on its side) differ most from their neighbours:
lines of letters, then nothing, then lines. That is tried on a small copy, degree by degree.
"""

from itertools import pairwise

from PIL import Image, ImageOps

_LONGEST_SIDE = 800
_MOST_DEGREES = 20
# Tesseract copes with less.
_FEWEST_DEGREES = 0.5
# How many times clearer the lines have to become; photographs become a little clearer at any angle.
_CLEARER = 2


def straightened(pixels: bytes, width: int, height: int) -> tuple[bytes, int, int] | None:
    """Return a grey picture turned straight, with its new width and height; None where it does not lie askew."""
    picture = Image.frombytes("L", (width, height), pixels)
    degrees = _askew(picture)
    if degrees is None:
        return None
    straight = picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=255)
    return straight.tobytes(), straight.width, straight.height


def _askew(picture: Image.Image) -> float | None:
    """Return by how many degrees to turn a picture counter-clockwise, if that makes its lines clearer."""
    small = picture.copy()
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    # Dark corners come from turning; on white letters they would be the clearest lines.
    dark = ImageOps.autocontrast(ImageOps.invert(small))
    roughly = max(range(-_MOST_DEGREES, _MOST_DEGREES + 1), key=lambda degrees: _clearness(dark, degrees))
    best = max((roughly + quarter / 4 for quarter in range(-3, 4)), key=lambda degrees: _clearness(dark, degrees))
    if abs(best) < _FEWEST_DEGREES or _clearness(dark, best) < _CLEARER * _clearness(dark, 0):
        return None
    return best


def _clearness(picture: Image.Image, degrees: float) -> int:
    turned = picture.rotate(degrees, Image.Resampling.BILINEAR)
    return max(
        _steps(turned.resize((1, turned.height), Image.Resampling.BOX)),
        _steps(turned.resize((turned.width, 1), Image.Resampling.BOX)),
    )


def _steps(profile: Image.Image) -> int:
    """Return how much neighbouring values differ, the large steps first of all."""
    values = profile.tobytes()
    return sum((one - other) ** 2 for one, other in pairwise(values))
