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
    deleted: Sequence[tuple[int, int]] = (),
    modifier: int = 0,
    lists: Sequence[bytes] = (),
    flags: int = 0,
    wide: bool = True,
) -> bytes:
    """Return a Word 97 document by the characters of its parts.

    `row_ends` are positions of row marks in the body, `deleted` the first and last (exclusive) of deleted characters;
    `modifier` is what the one piece says of itself, `lists` are the properties to which it may point.
    """
    text = body + footnotes + headers
    width = 2 if wide else 1
    start = 1024
    encoded = text.encode("utf-16-le" if wide else "cp1252")
    page_number = (start + len(encoded)) // _SECTOR + 1
    header = bytearray(start)
    struct.pack_into("<6H", header, 0, 0xA5EC, 193, 0, 0x409, 0, flags)
    struct.pack_into("<8i", header, 0x4C, len(body), len(footnotes), len(headers), 0, 0, 0, 0, 0)
    at = start if wide else start * 2 | 0x40000000
    pieces = struct.pack("<II", 0, len(text)) + struct.pack("<HIH", 0, at, modifier)
    properties = b"".join(b"\1" + struct.pack("<H", len(changes)) + changes for changes in (*lists, b"\0\0"))
    clx = properties + b"\2" + struct.pack("<I", len(pieces)) + pieces
    pages = struct.pack("<III", start, start + len(encoded), page_number)
    runs = struct.pack("<III", start, start + len(encoded), page_number + 1)
    struct.pack_into("<II", header, 0x1A2, 0, len(clx))
    struct.pack_into("<II", header, 0x102, len(clx), len(pages))
    struct.pack_into("<II", header, 0xFA, len(clx + pages), len(runs))
    marks = _row_page([start + width * position for position in row_ends], width)
    marks += _run_page([(start + width * first, start + width * last, DELETED_97) for first, last in deleted])
    main = (bytes(header) + encoded).ljust(page_number * _SECTOR, b"\0") + marks
    table = clx + pages + runs
    return ole({"WordDocument": main, "0Table": table, "\x05SummaryInformation": summary("Report", "Ada")})


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


# Lists of properties that mark characters as deleted.
DELETED_97, DELETED_95 = struct.pack("<HB", 0x0800, 1), b"\x41\1"


def in_font(number: int) -> bytes:
    """Return the properties of Word 95 that set characters in a font, after some others of all kinds of sizes."""
    return b"\x55\1" + b"\x44\4abcd" + b"\x53" + b"\x5f\0\0\0" + b"\x5d" + struct.pack("<H", number)


def _run_page(runs: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Return a page of properties of characters (ChpxFkp) for runs by their first and last byte."""
    page, places, bounds, free = bytearray(_SECTOR), list[int](), [0], _SECTOR - 2
    for begin, end, changes in runs:
        free = (free - len(changes) - 1) // 2 * 2
        page[free : free + 1 + len(changes)] = bytes([len(changes)]) + changes
        places += [0, free // 2]
        bounds += [begin, end]
    struct.pack_into(f"<{len(bounds)}I", page, 0, *bounds)
    page[4 * len(bounds) : 4 * len(bounds) + len(places)] = bytes(places)
    page[_SECTOR - 1] = len(places)
    return bytes(page)


def word_95(
    body: str,
    *,
    language: int = 0x409,
    encoding: str = "cp1252",
    magic: int = 0xA5DC,
    flags: int = 0,
    of_macintosh: bool = False,
    fonts: Sequence[int] = (),
    default_font: int = 0,
    runs: Sequence[tuple[int, int, bytes]] = (),
) -> bytes:
    """Return a Word 95 document: its text in one run of bytes, no table stream.

    `fonts` are the character sets of its fonts; `runs` the first and last byte of characters and their properties.
    """
    encoded = body.encode(encoding)
    start, page_number = 1024, 2 + -(-len(encoded) // _SECTOR)
    header = bytearray(start)
    struct.pack_into("<6H", header, 0, magic, 104, 0, language, 0, flags)
    struct.pack_into("<H", header, 0x14, 0x100 if of_macintosh else 0)
    struct.pack_into("<II", header, 0x18, start, start + len(encoded))
    struct.pack_into("<8i", header, 0x34, len(body), 0, 0, 0, 0, 0, 0, 0)
    text = (bytes(header) + encoded).ljust(page_number * _SECTOR, b"\0")
    page = _run_page([(start + first, start + last, changes) for first, last, changes in runs])
    numbers = struct.pack("<IIH", start, start + len(encoded), page_number)
    styles = struct.pack("<H12xH", 14, default_font)
    named = [struct.pack("<BBHBB", 7, 0, 400, charset, 0) + b"F\0" for charset in fonts]
    table = struct.pack("<H", 2 + sum(map(len, named))) + b"".join(named)
    main = text + page
    for place, data in ((0xB8, numbers), (0x60, styles), (0xD0, table)):
        main = main[:place] + struct.pack("<II", len(main), len(data)) + main[place + 8 :] + data
    return ole({"WordDocument": main})


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
