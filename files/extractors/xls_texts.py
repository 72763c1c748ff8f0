"""What calamine does not give of an XLS workbook: its error cells, headers and footers, notes, text boxes, captions.

One walk over the workbook's records finds all of them (MS-XLS 2.4; of Excel 5 and 95 what is written the same way).
"""

import re
import struct
from collections.abc import Iterator

from files.extractors import header_codes, sheet_errors
from files.extractors.sheet_errors import Errors

_HEADER = struct.Struct("<HH")
_SHORT, _NUMBER = struct.Struct("<H"), struct.Struct("<I")
_FORMULAS = frozenset({0x06, 0x206, 0x406})
_VALUE, _CODE_PAGE, _SHEET, _BEGIN = 0x205, 0x42, 0x85, 0x809
_PAGE_TEXTS = frozenset({0x14, 0x15})
_NOTE, _BOX, _CONTINUE, _CAPTION = 0x1C, 0x1B6, 0x3C, 0x100D
_WANTED = _FORMULAS | _PAGE_TEXTS | {_VALUE, _CODE_PAGE, _SHEET, _BEGIN, _NOTE, _BOX, _CAPTION}
# Most of most sheets: numbers in eight bytes and in four, strings by number, blanks, each of one length, and short
# labels. They are passed over in one go: one by one that would take long next to reading the workbook.
_PLAIN_CELLS = frozenset({0x203, 0x27E, 0xFD, 0x201, 0x204})
_SHORT_LABELS = b"|".join(b"\\x%02x\0.{%d}" % (length, length) for length in range(8, 72))
_RUN_OF_PLAIN_CELLS = re.compile(
    rb"(?:\x03\x02\x0e\0.{14}|\x04\x02(?:"
    + _SHORT_LABELS
    + rb")|\x7e\x02\x0a\0.{10}|\xfd\0\x0a\0.{10}|\x01\x02\x06\0.{6})*+",
    re.DOTALL,
)
_EXCEL_97, _UTF_16, _MACINTOSH = 0x600, 1200, 10000
_BOX_LENGTH_AT = 10
# Of a caption: a number before its length. Of an old note: its cell and its length.
_CAPTION_AT, _NOTE_LENGTH_AT, _NOTE_TEXT_AT = 2, 4, 6


class XlsTexts:
    """The workbook's `errors` by its sheets' places, and its `texts` in their order."""

    def __init__(self, stream: bytes) -> None:
        self.errors: Errors = {}
        self.texts: list[str] = []
        self._stream = stream
        self._places: dict[int, int] = {}
        self._sheet = -1
        self._is_wide = True
        self._encoding = "cp1252"
        for kind, at, length in _records(stream):
            self._see(kind, at, stream[at : at + length])

    def _see(self, kind: int, at: int, data: bytes) -> None:
        if kind in _FORMULAS:
            self._add_error(sheet_errors.of_xls_formula(data))
        elif kind == _VALUE:
            self._add_error(sheet_errors.of_xls_value(data))
        elif kind == _BEGIN:
            self._begin(at, data)
        elif kind == _SHEET and len(data) >= _NUMBER.size:
            self._places.setdefault(_NUMBER.unpack_from(data)[0], len(self._places))
        elif kind == _CODE_PAGE and len(data) >= _SHORT.size:
            self._encoding = _codec(_SHORT.unpack_from(data)[0])
        else:
            self._add_text(kind, at, data)

    def _begin(self, at: int, data: bytes) -> None:
        """Note in which sheet we are; charts within it begin like it but are not in the list of sheets."""
        self._sheet = self._places.get(at - _HEADER.size, self._sheet)
        if len(data) >= _SHORT.size:
            self._is_wide = _SHORT.unpack_from(data)[0] >= _EXCEL_97

    def _add_error(self, found: tuple[int, int, str] | None) -> None:
        if found is not None:
            sheet_errors.add(self.errors.setdefault(self._sheet, {}), *found)

    def _add_text(self, kind: int, at: int, data: bytes) -> None:
        if kind in _PAGE_TEXTS:
            text = header_codes.plain(self._counted(data, is_long=self._is_wide))
        elif kind == _CAPTION:
            text = self._counted(data[_CAPTION_AT:], is_long=False)
        elif kind == _BOX:
            text = self._box(at + len(data), data)
        else:
            text = "" if self._is_wide else self._old_note(data)
        if text.strip():
            self.texts.append(text)

    def _counted(self, data: bytes, *, is_long: bool) -> str:
        """Return a text that its length precedes, in two bytes or in one, and in Excel 97 a byte of flags."""
        start = 2 if is_long else 1
        if len(data) <= start:
            return ""
        length = int.from_bytes(data[:start], "little")
        if self._is_wide:
            return _characters(data[start:], length)[0]
        return data[start : start + length].decode(self._encoding, errors="replace")

    def _old_note(self, data: bytes) -> str:
        length = int.from_bytes(data[_NOTE_LENGTH_AT:_NOTE_TEXT_AT], "little")
        return data[_NOTE_TEXT_AT : _NOTE_TEXT_AT + length].decode(self._encoding, errors="replace")

    def _box(self, position: int, data: bytes) -> str:
        """Return the text of a box or a note, which the records after it hold."""
        missing = int.from_bytes(data[_BOX_LENGTH_AT : _BOX_LENGTH_AT + 2], "little")
        pieces = []
        while missing > 0 and position + _HEADER.size < len(self._stream):
            kind, length = _HEADER.unpack_from(self._stream, position)
            if kind != _CONTINUE:
                break
            position += _HEADER.size
            piece, taken = _characters(self._stream[position : position + length], missing)
            pieces.append(piece)
            missing -= taken or missing
            position += length
        return "".join(pieces).replace("\r", "\n")


def _characters(data: bytes, length: int) -> tuple[str, int]:
    """Return at most `length` characters after a byte that says whether each takes two bytes, and how many."""
    if data[:1] and data[0] & 1:
        taken = min(length, (len(data) - 1) // 2)
        return data[1 : 1 + 2 * taken].decode("utf-16-le", errors="replace"), taken
    taken = min(length, max(0, len(data) - 1))
    return data[1 : 1 + taken].decode("latin-1"), taken


def _codec(page: int) -> str:
    name = {_UTF_16: "utf-16-le", _MACINTOSH: "mac-roman", 0x8000: "mac-roman", 0x8001: "cp1252"}.get(page, f"cp{page}")
    try:
        b"".decode(name)
    except LookupError:
        return "cp1252"
    return name


def _records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, place and length of the records that matter, sheet after sheet, up to the stream's padding."""
    position, end = 0, len(data) - _HEADER.size
    header, wanted, pass_over = _HEADER.unpack_from, _WANTED, _RUN_OF_PLAIN_CELLS.match
    while position <= end:
        kind, length = header(data, position)
        position += 4
        if kind in wanted:
            if position + length > len(data):
                return
            yield kind, position, length
        elif kind == length == 0:
            return
        position += length
        if kind in _PLAIN_CELLS and (run := pass_over(data, position)):
            position = run.end()
