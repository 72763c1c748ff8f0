"""Small documents of Office before 2007, written byte by byte: OLE containers with Word and Excel streams."""

import struct
from collections.abc import Mapping, Sequence

_SECTOR = 512
_SMALLEST_STREAM = 4096
# Sectors that one sector of the allocation table knows.
_IN_TABLE = 128
_FREE, _END_OF_CHAIN, _FAT, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def ole(streams: Mapping[str, bytes]) -> bytes:
    """Return an OLE file of these streams; each is filled up with zeros to 4 KiB, below which another layout begins."""
    padded = {name: data.ljust(_SMALLEST_STREAM, b"\0") for name, data in streams.items()}
    pieces = {name: [data[at : at + _SECTOR] for at in range(0, len(data), _SECTOR)] for name, data in padded.items()}
    count = _tables(1 + sum(map(len, pieces.values())))
    # The allocation table comes first, then the directory.
    fat = [*[_FAT] * count, _END_OF_CHAIN]
    entries = [_entry("Root Entry", kind=5, child=1, start=_END_OF_CHAIN, size=0)]
    sectors: list[bytes] = []
    for number, (name, data) in enumerate(padded.items(), 1):
        right = number + 1 if number < len(padded) else _NONE
        entries.append(_entry(name, kind=2, right=right, start=len(fat), size=len(data)))
        sectors += [piece.ljust(_SECTOR, b"\0") for piece in pieces[name]]
        fat += [*range(len(fat) + 1, len(fat) + len(pieces[name])), _END_OF_CHAIN]
    assert len(entries) <= 4
    free = [_FREE] * (count * _IN_TABLE - len(fat))
    table = struct.pack(f"<{count * _IN_TABLE}I", *fat, *free)
    return _header(count) + table + b"".join(entries).ljust(_SECTOR, b"\0") + b"".join(sectors)


def _tables(sectors: int) -> int:
    """Return how many sectors the allocation table needs, its own included; the header has room for 109."""
    count = 1
    while count * _IN_TABLE < sectors + count:
        count += 1
    assert count <= 109
    return count


def _header(tables: int) -> bytes:
    magic = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    versions = struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
    places = struct.pack("<9I", 0, tables, tables, 0, _SMALLEST_STREAM, _END_OF_CHAIN, 0, _END_OF_CHAIN, 0)
    return magic + versions + places + struct.pack("<109I", *range(tables), *[_FREE] * (109 - tables))


def _entry(name: str, *, kind: int, start: int, size: int, right: int = _NONE, child: int = _NONE) -> bytes:
    title = (name + "\0").encode("utf-16-le")
    head = title.ljust(64, b"\0") + struct.pack("<HBB3I", len(title), kind, 1, _NONE, right, child)
    return head + bytes(36) + struct.pack("<IQ", start, size)


def doc(
    body: str,
    *,
    headers: str = "",
    footnotes: str = "",
    row_ends: Sequence[int] = (),
    flags: int = 0,
    wide: bool = True,
) -> bytes:
    """Return a Word 97 document by the characters of its parts; `row_ends` are positions of row marks in the body."""
    text = body + footnotes + headers
    width = 2 if wide else 1
    start = 1024
    encoded = text.encode("utf-16-le" if wide else "cp1252")
    page_number = (start + len(encoded)) // _SECTOR + 1
    header = bytearray(start)
    struct.pack_into("<6H", header, 0, 0xA5EC, 193, 0, 0x409, 0, flags)
    struct.pack_into("<8i", header, 0x4C, len(body), len(footnotes), len(headers), 0, 0, 0, 0, 0)
    at = start if wide else start * 2 | 0x40000000
    pieces = struct.pack("<II", 0, len(text)) + struct.pack("<HIH", 0, at, 0)
    clx = b"\1\2\0\0\0\2" + struct.pack("<I", len(pieces)) + pieces
    pages = struct.pack("<III", start, start + len(encoded), page_number)
    struct.pack_into("<II", header, 0x1A2, 0, len(clx))
    struct.pack_into("<II", header, 0x102, len(clx), len(pages))
    marks = _row_page([start + width * position for position in row_ends], width)
    main = (bytes(header) + encoded).ljust(page_number * _SECTOR, b"\0") + marks
    return ole({"WordDocument": main, "0Table": clx + pages, "\x05SummaryInformation": summary("Report", "Ada")})


def _row_page(marks: Sequence[int], width: int) -> bytes:
    """Return a page of paragraph properties in which these marks end rows, and what lies between does not."""
    page = bytearray(_SECTOR)
    bounds = [0]
    for mark in marks:
        bounds += [mark, mark + width]
    count = len(bounds) - 1
    struct.pack_into(f"<{count + 1}I", page, 0, *bounds)
    for index in range(count):
        page[4 * (count + 1) + 13 * index] = 240 if index % 2 else 0
    # A style, the property "in a table", the property "end of a row".
    page[480:490] = b"\x05" + struct.pack("<HHBHB", 0, 0x2416, 1, 0x2417, 1) + b"\0"
    page[_SECTOR - 1] = count
    return bytes(page)


def word_95(body: str, *, language: int = 0x409, encoding: str = "cp1252") -> bytes:
    """Return a Word 95 document: its text in one run of bytes, no table stream."""
    encoded = body.encode(encoding)
    header = bytearray(1024)
    struct.pack_into("<6H", header, 0, 0xA5DC, 104, 0, language, 0, 0)
    struct.pack_into("<II", header, 0x18, 1024, 1024 + len(encoded))
    struct.pack_into("<8i", header, 0x34, len(encoded), 0, 0, 0, 0, 0, 0, 0)
    return ole({"WordDocument": bytes(header) + encoded})


def xls(*rows: Sequence[str | float], name: str = "Prices", encrypted: bool = False) -> bytes:
    """Return an Excel 97 workbook of one sheet."""
    cells = [_xls_cell(row, column, value) for row, line in enumerate(rows) for column, value in enumerate(line)]
    return xls_of(b"".join(cells), name=name, encrypted=encrypted)


def xls_of(records: bytes, *, name: str = "Prices", encrypted: bool = False) -> bytes:
    """Return an Excel 97 workbook of one sheet that holds these records."""
    begin = xls_record(0x809, struct.pack("<4HII", 0x600, 5, 0, 0, 0, 0))
    locked = xls_record(0x2F, bytes(54)) if encrypted else b""
    code_page, end = xls_record(0x42, struct.pack("<H", 1200)), xls_record(0x0A, b"")
    bound = 4 + 8 + len(name)
    offset = len(begin) + len(locked) + len(code_page) + bound + len(end)
    sheet = xls_record(0x85, struct.pack("<IHBB", offset, 0, len(name), 0) + name.encode("latin-1"))
    sheet_begin = xls_record(0x809, struct.pack("<4HII", 0x600, 0x10, 0, 0, 0, 0))
    stream = begin + locked + code_page + sheet + end + sheet_begin + records + end
    return ole({"Workbook": stream, "\x05SummaryInformation": summary("Prices of May", "Ada")})


def _xls_cell(row: int, column: int, value: str | float) -> bytes:
    place = struct.pack("<3H", row, column, 0)
    if isinstance(value, str):
        return xls_record(0x204, place + struct.pack("<HB", len(value), 1) + value.encode("utf-16-le"))
    return xls_record(0x203, place + struct.pack("<d", value))


def xls_record(kind: int, data: bytes) -> bytes:
    """Return one record of a workbook's stream."""
    return struct.pack("<HH", kind, len(data)) + data


def summary(title: str, author: str) -> bytes:
    """Return a stream of properties in UTF-8."""
    texts = [text.encode() + b"\0" for text in (title, author)]
    values = [struct.pack("<IH2x", 2, 65001)] + [struct.pack("<II", 30, len(text)) + text for text in texts]
    places, position = b"", 8 + 8 * len(values)
    for number, value in zip((1, 2, 4), values, strict=True):
        places += struct.pack("<II", number, position)
        position += len(value)
    section = struct.pack("<II", position, len(values)) + places + b"".join(values)
    return struct.pack("<HHI16xI16xI", 0xFFFE, 0, 0, 1, 48) + section
