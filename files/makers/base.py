"""What every maker takes and gives. Imports no Django and no parser: the parent knows it too."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from files.extractors.base import ExtractionFailed, Limits

# The bounds of what may be asked for, both ends included.
QUALITIES = (1, 100)
SIDES = (1, 10_000)
RESOLUTIONS = (10, 300)
USUAL_QUALITY = 85
USUAL_RESOLUTION = 150


@dataclass(frozen=True)
class Made:
    """One file that was made.

    `label` tells the files of one source apart (a page's number, a sheet's name); `facts` are for its metadata.
    """

    extension: str
    content: bytes
    label: str = ""
    facts: dict[str, Any] | None = None


@dataclass(frozen=True)
class Work:
    """What a maker works on: the bytes, the extension of their name, and the act's options.

    Options: convert {target, sheet?, pages?, dpi}; optimize {quality}; resize {width, height, keep_ratio}.
    """

    content: bytes
    extension: str
    options: dict[str, Any]
    limits: Limits


# Raises ExtractionFailed with a code and a sentence, or anything else on a damaged file.
Maker = Callable[[Work], Iterator[Made]]


def check_length(length: int, limits: Limits) -> None:
    """Refuse to go on with a file that has become too long."""
    if length > limits.max_made_bytes:
        message = f"The file to be made is over {limits.max_made_bytes // 1024**2} MiB, the limit"
        raise ExtractionFailed("too_large", message)
