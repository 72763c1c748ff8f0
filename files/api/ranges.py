"""Range requests of one part (RFC 9110, section 14). Knows no framework."""

import re
from dataclasses import dataclass

# More digits than any size has.
_ONE_RANGE = re.compile(r"bytes=[ \t]*(?P<first>\d{0,18})-(?P<last>\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """The bytes `first` to `last`, both inclusive, of `size_bytes`."""

    first: int
    last: int
    size_bytes: int

    @property
    def content_range(self) -> str:
        """Return what Content-Range says."""
        return f"bytes {self.first}-{self.last}/{self.size_bytes}"

    @property
    def length_bytes(self) -> int:
        """Return how many bytes it has."""
        return self.last - self.first + 1


class NotSatisfiable(Exception):
    """The range begins behind the end."""


def parse(header: str, *, size_bytes: int) -> Range | None:
    """Return the part that a Range header asks for; None where the whole has to be given.

    That is so without a header, for other units, for several parts at once, and for what cannot be read: a server
    may ignore these. Raises: NotSatisfiable.
    """
    found = _ONE_RANGE.fullmatch(header)
    if found is None or not (found["first"] or found["last"]):
        return None
    if not found["first"]:
        return _suffix(int(found["last"]), size_bytes)
    first = int(found["first"])
    last = int(found["last"]) if found["last"] else size_bytes - 1
    if found["last"] and last < first:
        return None
    if first >= size_bytes:
        raise NotSatisfiable
    return Range(first, min(last, size_bytes - 1), size_bytes)


def _suffix(length: int, size_bytes: int) -> Range:
    if length == 0 or size_bytes == 0:
        raise NotSatisfiable
    return Range(max(0, size_bytes - length), size_bytes - 1, size_bytes)
