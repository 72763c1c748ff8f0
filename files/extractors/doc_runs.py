"""What a Word document of before 2007 says of runs of its characters: that they were deleted, and in which font they
stand.

Runs are told in pages of 512 bytes (ChpxFkp), by the bytes of the main stream at which they begin and end. Only what
differs from the document's style is said.
Source: MS-DOC 2.8.25 (PlcBteChpx), 2.9.33 (ChpxFkp), 2.6.1 (character properties); for Word 6 and 95 the one-byte codes
of properties and the font table as they were published for Word 6.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from files.extractors import font_charsets

_PAGE_BYTES, _PAGE_NUMBER_BITS = 512, 0x3FFFFF
_RUN_PAGES_97, _RUN_PAGES_6 = 0xFA, 0xB8
_STYLES_6, _FONTS_6 = 0x60, 0xD0
_DELETED_97, _DELETED_6, _FONT_6 = 0x0800, 65, 93
_DEFAULT_FONT = 14
# Bytes that follow a property's code in Word 6; the codes that are in neither table are not of characters.
_SIZES_6 = (
    dict.fromkeys((65, 66, 67, 71, 75, *range(85, 93), 94, 98, 100, 102, 104, 117, 118), 1)
    | dict.fromkeys((69, 72, 80, 93, 96, 97, 99, 101, 105, 106, 107, 109, 110), 2)
    | {70: 4, 73: 3, 83: 0, 95: 3}
)
_SIZED_6 = frozenset({68, 74, 81, 82, 103, 108})
_SIZES_97 = {0: 1, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2, 7: 3}


@dataclass(frozen=True)
class Run:
    """The bytes `begin` to `end` (exclusive); `encoding` is None where the document's own holds."""

    begin: int
    end: int
    is_deleted: bool
    encoding: str | None = None


class Runs:
    """The runs of a document that differ from its plain text, in the order of their bytes."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs: list[Run] = []
        for run in sorted(runs, key=lambda run: run.begin):
            if run.begin < run.end and (not self._runs or run.begin >= self._runs[-1].end):
                self._runs.append(run)
        self._ends = [run.end for run in self._runs]

    def between(self, begin: int, stop: int) -> Iterator[Run]:
        """Yield runs that cover [begin, stop) without a gap, those of plain text included."""
        index = bisect_left(self._ends, begin + 1)
        while begin < stop:
            run = self._runs[index] if index < len(self._runs) else None
            if run is None or run.begin >= stop:
                yield Run(begin, stop, is_deleted=False)
                return
            if begin < run.begin:
                yield Run(begin, run.begin, is_deleted=False)
            end = min(run.end, stop)
            yield Run(max(begin, run.begin), end, run.is_deleted, run.encoding)
            begin, index = end, index + 1


def runs_97(data: bytes, table: bytes) -> Runs:
    """Return the deleted runs of a document of Word 97 and later. Raises struct.error where the header is cut."""
    start, length = struct.unpack_from("<II", data, _RUN_PAGES_97)
    numbers = _page_numbers(table[start : start + length], width=4)
    found = _runs(data, numbers)
    return Runs(Run(begin, end, is_deleted=True) for begin, end, changes in found if _deletes_97(changes))


def deletes_piece(change: int, lists: list[bytes], *, is_97: bool) -> bool:
    """Tell whether what a piece says beside its runs (Prm) deletes it: one short property, or the number of a list."""
    if not change & 1:
        return (change >> 1) & 0x7F == _DELETED_6 and change >> 8 == 1
    changes = lists[change >> 1] if change >> 1 < len(lists) else b""
    return _deletes_97(changes) if is_97 else _properties_6(changes).get(_DELETED_6) == 1


def _deletes_97(changes: bytes) -> bool:
    """Tell whether a list of properties of Word 97 marks characters as deleted."""
    at, is_deleted = 0, False
    while at + 2 < len(changes):
        code = changes[at] | changes[at + 1] << 8
        if code == _DELETED_97:
            is_deleted = changes[at + 2] == 1
        at += 2 + _SIZES_97.get(code >> 13, 1 + changes[at + 2])
    return is_deleted


def runs_6(data: bytes) -> Runs:
    """Return the runs of a document of Word 6 or 95. Raises struct.error where the header is cut."""
    start, length = struct.unpack_from("<II", data, _RUN_PAGES_6)
    numbers = _page_numbers(data[start : start + length], width=2)
    encodings = _font_encodings(data)
    changed = ((begin, end, _properties_6(changes)) for begin, end, changes in _runs(data, numbers))
    runs = (
        Run(begin, end, properties.get(_DELETED_6) == 1, encodings.get(properties.get(_FONT_6, -1)))
        for begin, end, properties in changed
    )
    return Runs(run for run in runs if run.is_deleted or run.encoding)


def default_encoding_6(data: bytes) -> str | None:
    """Return the encoding of the font in which a document of Word 6 or 95 stands, if its font tells one."""
    start, length = struct.unpack_from("<II", data, _STYLES_6)
    font = int.from_bytes(data[start + _DEFAULT_FONT : start + _DEFAULT_FONT + 2], "little")
    return _font_encodings(data).get(font) if length > _DEFAULT_FONT else None


def _font_encodings(data: bytes) -> dict[int, str]:
    """Return the encodings of fonts by their numbers, as far as their character sets tell them."""
    start, length = struct.unpack_from("<II", data, _FONTS_6)
    fonts = data[start : start + length]
    found, at, number = {}, 2, 0
    while at + 4 < len(fonts):
        encoding = font_charsets.CODE_PAGES.get(fonts[at + 4])
        if encoding is not None:
            found[number] = encoding
        at, number = at + 1 + fonts[at], number + 1
    return found


def _properties_6(changes: bytes) -> dict[int, int]:
    """Return the properties of a run of Word 6 by their codes, as far as their sizes are known."""
    found, at = {}, 0
    while at + 1 < len(changes):
        code = changes[at]
        size = 1 + changes[at + 1] if code in _SIZED_6 else _SIZES_6.get(code)
        if size is None:
            break
        found[code] = int.from_bytes(changes[at + 1 : at + 1 + size], "little")
        at += 1 + size
    return found


def _page_numbers(plc: bytes, *, width: int) -> list[int]:
    """Return the numbers of the pages that tell runs; they are `width` bytes wide and follow one offset more."""
    count = max((len(plc) - 4) // (4 + width), 0)
    start = 4 * (count + 1)
    numbers = (plc[at : at + width] for at in range(start, start + width * count, width))
    return list(dict.fromkeys(int.from_bytes(number, "little") & _PAGE_NUMBER_BITS for number in numbers))


def _runs(data: bytes, numbers: list[int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield where the runs of these pages begin and end, with what is said of them."""
    for number in numbers:
        page = data[number * _PAGE_BYTES : (number + 1) * _PAGE_BYTES]
        count = page[-1] if len(page) == _PAGE_BYTES else 0
        if not 0 < 4 * (count + 1) + count < _PAGE_BYTES:
            continue
        bounds = struct.unpack_from(f"<{count + 1}I", page)
        for index, place in enumerate(page[4 * (count + 1) : 4 * (count + 1) + count]):
            if place:
                changes = page[2 * place + 1 : 2 * place + 1 + page[2 * place]]
                yield bounds[index], bounds[index + 1], changes
