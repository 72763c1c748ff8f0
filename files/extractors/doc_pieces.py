"""Where a Word document of before 2007 keeps its text: the header (FIB) and the piece table, as MS-DOC describes them.

Text is addressed by character positions (CP) that run through all parts of the document, one after the other; the piece
table says at which bytes of the main stream they stand and how many bytes a character has.
Source: MS-DOC 2.4.1 (Retrieving Text), 2.5 (FIB), 2.8.35 (PlcPcd), 2.9.23 (BxPap); for Word 6 and 95 the layout of
their FIB as it was published for Word 6.
"""

import re
import struct
from bisect import bisect_left
from dataclasses import dataclass

from files.extractors import doc_runs
from files.extractors.base import ExtractionFailed
from files.extractors.marked_text import ROW_END
from files.extractors.ole import Container

MAIN = "WordDocument"
_TABLE_STREAMS = ("0Table", "1Table")
_WORD_97 = 0xA5EC
# The latter three were written in East Asia.
_WORD_6 = (0xA5DC, 0xA697, 0xA698, 0xA699)
_FIRST_UNICODE_FIB = 105
_ENCRYPTED, _SECOND_TABLE, _COMPLEX = 0x0100, 0x0200, 0x0004
# In Word 95 of East Asia, all characters have two bytes.
_WIDE_6 = 0x1000
# The parts of a document in the order of their characters.
PARTS = ("text", "footnotes", "headers", "macros", "comments", "endnotes", "boxes", "header_boxes")
_COUNTS_97, _COUNTS_6 = 0x4C, 0x34
_CLX_97, _CLX_6 = 0x1A2, 0x160
_PARAGRAPH_PAGES_97 = 0x102
_FIRST_TEXT, _LAST_TEXT = 0x18, 0x1C
_PAGE_BYTES, _PAGE_NUMBER_BITS = 512, 0x3FFFFF
_IN_8_BITS = 0x40000000
_WIDE = 2
_PROPERTIES, _PIECE_TABLE = 1, 2
_ROW_END_CODE = 0x2417
# Properties too long for the page stand elsewhere; only those of table rows are.
_FAR_PROPERTIES = {0x6645, 0x6646}
_CELL_MARK = 7
_CODE_PAGES = {
    0x01: "cp1256",
    0x02: "cp1251",
    0x04: "gbk",
    0x05: "cp1250",
    0x08: "cp1253",
    0x0D: "cp1255",
    0x0E: "cp1250",
    0x11: "cp932",
    0x12: "cp949",
    0x15: "cp1250",
    0x18: "cp1250",
    0x19: "cp1251",
    0x1A: "cp1250",
    0x1B: "cp1250",
    0x1E: "cp874",
    0x1F: "cp1254",
    0x22: "cp1251",
    0x23: "cp1251",
    0x24: "cp1250",
    0x25: "cp1257",
    0x26: "cp1257",
    0x27: "cp1257",
    0x29: "cp1256",
}
_CHARACTER_SET, _MACINTOSH = 0x14, 0x100
_PRIMARY_LANGUAGE, _TAIWAN = 0x3FF, 0x404


# What stays of deleted characters, to hold tables and fields together.
_DELETED_WORDS = re.compile(f"[^\x07\x13-\x15{ROW_END}]+")


@dataclass(frozen=True)
class Piece:
    """Characters `first_cp` to `last_cp` (exclusive), from byte `offset` on, `width` bytes each."""

    first_cp: int
    last_cp: int
    offset: int
    width: int
    is_deleted: bool = False


class WordText:
    """The text of a document by its parts. Raises ExtractionFailed: encrypted, type_mismatch, corrupt."""

    def __init__(self, container: Container) -> None:
        self._data = container.read(MAIN)
        try:
            self._read_header(container)
        except (struct.error, ValueError, IndexError) as error:
            raise ExtractionFailed("corrupt", f"The Word document's header is damaged: {error}"[:300]) from error

    def _read_header(self, container: Container) -> None:
        magic, version, _, language, _, flags = struct.unpack_from("<6H", self._data)
        if magic not in {_WORD_97, *_WORD_6}:
            raise ExtractionFailed("type_mismatch", "The name says Word document, the content is none")
        if flags & _ENCRYPTED:
            raise ExtractionFailed("encrypted", "The Word document needs a password")
        self._encoding = "cp1252"
        self._row_ends: list[int] | None = None
        if version >= _FIRST_UNICODE_FIB:
            self._read_97(container, second=bool(flags & _SECOND_TABLE))
        else:
            self._read_6(flags, language=language)

    def _read_97(self, container: Container, *, second: bool) -> None:
        counts = struct.unpack_from("<8i", self._data, _COUNTS_97)
        names = (_TABLE_STREAMS[second], _TABLE_STREAMS[not second])
        table = next((container.read(name) for name in names if container.has(name)), None)
        if table is None:
            raise ExtractionFailed("corrupt", "The Word document has no table stream")
        start, length = struct.unpack_from("<II", self._data, _CLX_97)
        self._pieces = _pieces(table[start : start + length])
        self._ranges = _ranges(counts, self._pieces)
        self._row_ends = _row_ends(self._data, table)
        self._runs = doc_runs.runs_97(self._data, table)

    def _read_6(self, flags: int, *, language: int) -> None:
        counts = struct.unpack_from("<8i", self._data, _COUNTS_6)
        self._encoding = doc_runs.default_encoding_6(self._data) or self._encoding_of(language)
        self._runs = doc_runs.runs_6(self._data)
        width = _WIDE if flags & _WIDE_6 else 1
        if flags & _COMPLEX:
            start, length = struct.unpack_from("<II", self._data, _CLX_6)
            self._pieces = _pieces(self._data[start : start + length], width=width)
        else:
            first, last = struct.unpack_from("<II", self._data, _FIRST_TEXT)
            self._pieces = [Piece(0, max(min(last, len(self._data)) - first, 0) // width, first, width)]
        self._ranges = _ranges(counts, self._pieces)

    def _encoding_of(self, language: int) -> str:
        """Return the encoding of text in a font that tells none."""
        if struct.unpack_from("<H", self._data, _CHARACTER_SET)[0] == _MACINTOSH:
            return "mac-roman"
        return "big5" if language == _TAIWAN else _CODE_PAGES.get(language & _PRIMARY_LANGUAGE, "cp1252")

    def part(self, name: str) -> str:
        """Return the characters of one of PARTS, field codes and marks included; ROW_END ends a table's row."""
        first, last = self._ranges[name]
        texts = [self._piece_text(piece, first, last) for piece in self._pieces]
        text = "".join(texts)
        # Word 6 says where rows end in another way; an empty cell after a cell is such an end.
        return text if self._row_ends is not None else text.replace("\x07\x07", f"\x07{ROW_END}")

    def _piece_text(self, piece: Piece, first: int, last: int) -> str:
        start, end = max(piece.first_cp, first), min(piece.last_cp, last)
        if start >= end:
            return ""
        begin = piece.offset + (start - piece.first_cp) * piece.width
        stop = begin + (end - start) * piece.width
        stop = min(stop, len(self._data))
        runs = self._runs.between(begin, stop)
        return "".join(self._run_text(run, piece) for run in runs)

    def _run_text(self, run: doc_runs.Run, piece: Piece) -> str:
        data = bytearray(self._data[run.begin : run.end])
        for offset in _between(self._row_ends or [], run.begin, run.end):
            position = offset - run.begin - piece.width
            if 0 <= position < len(data) and data[position] == _CELL_MARK:
                data[position] = ord(ROW_END)
        encoding = "utf-16-le" if piece.width == _WIDE else run.encoding or self._encoding
        text = data.decode(encoding, errors="replace")
        return _DELETED_WORDS.sub("", text) if run.is_deleted or piece.is_deleted else text


def _pieces(clx: bytes, *, width: int | None = None) -> list[Piece]:
    """Read the piece table; without a `width` of all, each piece tells its own. Raises ValueError: there is none."""
    position, changes = 0, []
    while position < len(clx) and clx[position] == _PROPERTIES:
        end = position + 3 + struct.unpack_from("<H", clx, position + 1)[0]
        changes.append(clx[position + 3 : end])
        position = end
    if position >= len(clx) or clx[position] != _PIECE_TABLE:
        raise ValueError("no piece table")
    length = struct.unpack_from("<I", clx, position + 1)[0]
    count = (min(length, len(clx) - position - 5) - 4) // 12
    positions = struct.unpack_from(f"<{count + 1}I", clx, position + 5)
    pieces = []
    for index in range(count):
        at, change = struct.unpack_from("<IH", clx, position + 5 + 4 * (count + 1) + 8 * index + 2)
        first, last = positions[index], positions[index + 1]
        if first > last:
            raise ValueError("pieces out of order")
        is_deleted = doc_runs.deletes_piece(change, changes, is_97=width is None)
        if width is not None:
            pieces.append(Piece(first, last, at, width, is_deleted))
        elif at & _IN_8_BITS:
            pieces.append(Piece(first, last, (at & ~_IN_8_BITS) // 2, 1, is_deleted))
        else:
            pieces.append(Piece(first, last, at, _WIDE, is_deleted))
    return pieces


def _ranges(counts: tuple[int, ...], pieces: list[Piece]) -> dict[str, tuple[int, int]]:
    """Return the first and last CP of each part. Raises ValueError: a count that no text has."""
    if min(counts) < 0 or not pieces:
        raise ValueError("a part has no length")
    ranges, start = {}, 0
    for name, count in zip(PARTS, counts, strict=True):
        ranges[name] = (start, start + count)
        start += count
    return ranges


def _row_ends(data: bytes, table: bytes) -> list[int]:
    """Return, sorted, the byte offsets at which paragraphs end that are the end of a table's row."""
    start, length = struct.unpack_from("<II", data, _PARAGRAPH_PAGES_97)
    plc = table[start : start + length]
    count = (len(plc) - 4) // 8
    if count <= 0:
        return []
    numbers = struct.unpack_from(f"<{count}I", plc, 4 * (count + 1))
    found: set[int] = set()
    for number in dict.fromkeys(number & _PAGE_NUMBER_BITS for number in numbers):
        page = data[number * _PAGE_BYTES : (number + 1) * _PAGE_BYTES]
        if len(page) == _PAGE_BYTES:
            found.update(_row_ends_of_page(page))
    return sorted(found)


def _row_ends_of_page(page: bytes) -> list[int]:
    """Read a page of paragraph properties (PapxFkp)."""
    count = page[_PAGE_BYTES - 1]
    if 4 * (count + 1) + 13 * count >= _PAGE_BYTES:
        return []
    ends = struct.unpack_from(f"<{count + 1}I", page)[1:]
    return [end for index, end in enumerate(ends) if _is_row_end(page, 2 * page[4 * (count + 1) + 13 * index])]


def _is_row_end(page: bytes, position: int) -> bool:
    """Walk through a paragraph's properties (PapxInFkp) to the one that makes it the end of a row."""
    if not 0 < position < _PAGE_BYTES - 2:
        return False
    size, start = page[position], position + 1
    length = 2 * size - 1
    if size == 0:
        length, start = 2 * page[position + 1], position + 2
    properties = page[start + 2 : start + length]
    at = 0
    while at + 2 < len(properties):
        code = properties[at] | properties[at + 1] << 8
        if code in _FAR_PROPERTIES:
            return True
        if code == _ROW_END_CODE:
            return properties[at + 2] != 0
        at += 2 + _operand_bytes(code, properties, at + 2)
    return False


_OPERAND_BYTES = {0: 1, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2, 7: 3}
_TABLE_DEFINITION, _TAB_CHANGES, _LONGEST_TAB_CHANGES = 0xD608, 0xC615, 255


def _operand_bytes(code: int, properties: bytes, at: int) -> int:
    """Return how many bytes follow a property's code (MS-DOC 2.2.5.1)."""
    fixed = _OPERAND_BYTES.get(code >> 13)
    if fixed is not None:
        return fixed
    if code == _TABLE_DEFINITION:
        return int.from_bytes(properties[at : at + 2], "little") + 1
    if code == _TAB_CHANGES and properties[at] == _LONGEST_TAB_CHANGES:
        return len(properties)
    return 1 + properties[at]


def _between(offsets: list[int], begin: int, stop: int) -> list[int]:
    """Return the sorted offsets that end a character of [begin, stop)."""
    return offsets[bisect_left(offsets, begin + 1) : bisect_left(offsets, stop + 1)]
