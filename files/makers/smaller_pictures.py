"""Pictures in fewer bytes. Only ever called in the child.

JPEG and lossy WebP are encoded again with the quality asked for; PNG and lossless WebP keep every pixel. What does not
become smaller, and animations, are given back byte for byte.
"""

from collections.abc import Iterator
from typing import Any

from files.makers.base import Made, Work
from files.makers.pictures import as_shown, encoded, facts_of, kind_of, pages_of, saved

_MOST_PALETTE_COLOURS = 256


def optimize(work: Work) -> Iterator[Made]:
    """Make the smallest of the picture's encodings, at the worst its own bytes."""
    _, picture, _ = next(pages_of(work))
    facts = facts_of(picture)
    candidates = [work.content]
    if getattr(picture, "n_frames", 1) == 1:
        candidates += _encodings(picture, kind_of(work.extension), work)
    yield Made(work.extension, min(candidates, key=len), label="optimized", facts=facts)


def _encodings(picture: Any, kind: str, work: Work) -> Iterator[bytes]:
    shown = as_shown(picture)
    if kind == "WEBP" and _is_lossless_webp(work.content):
        yield saved(shown, kind, lossless=True, quality=100, method=4)
        return
    if kind == "PNG":
        if picture.mode not in {"1", "L", "LA", "P", "RGB", "RGBA"}:
            return  # more than eight bits a channel, which plain pictures have not
        palette = _with_palette(shown)
        yield saved(palette or shown, kind, optimize=True)
        return
    yield encoded(shown, kind, quality=work.options["quality"])


def _with_palette(picture: Any) -> Any:
    """Return the same pixels by numbers of at most 256 colours, or None where there are more."""
    if picture.mode != "RGB" or picture.getcolors(_MOST_PALETTE_COLOURS) is None:
        return None
    numbered = picture.quantize(_MOST_PALETTE_COLOURS, dither=0)
    # Pillow's search may merge near colours even where there is room for all.
    return numbered if numbered.convert("RGB").tobytes() == picture.tobytes() else None


def _is_lossless_webp(content: bytes) -> bool:
    """Tell by the chunk that holds the pixels; it stands behind the profile, if there is one."""
    lossless, lossy = content.find(b"VP8L"), content.find(b"VP8 ")
    return lossless >= 0 and (lossy < 0 or lossless < lossy)
