"""Damage to OLE containers, PDFs and pictures: chains of sectors, objects and their tables, headers."""

import re
import struct
import zlib
from random import Random

from tests.fuzz.damage import Damage

_SECTOR = 512
_ENDS = (0, 1, 2, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0x7FFFFFFF)


def break_chains(content: bytes, dice: Random, other: bytes) -> bytes:
    """Let sectors of the allocation table point elsewhere: to themselves, in circles, out of the file."""
    data = bytearray(content)
    start = _SECTOR * (1 + int.from_bytes(content[0x4C:0x50], "little")) if len(content) > _SECTOR else 0
    for _ in range(dice.choice((1, 4, 30))):
        at = start + 4 * dice.randrange(_SECTOR // 4)
        if at + 4 <= len(data):
            struct.pack_into("<I", data, at, dice.choice((*_ENDS, dice.randrange(200))))
    return bytes(data)


def change_ole_header(content: bytes, dice: Random, other: bytes) -> bytes:
    """Change sector sizes, counts and beginnings in the container's header."""
    data = bytearray(content)
    if len(data) >= _SECTOR:
        at = dice.choice((0x18, 0x1A, 0x1C, 0x1E, 0x20, 0x2C, 0x30, 0x38, 0x3C, 0x40, 0x44, 0x48, 0x4C))
        layout = "<H" if at < 0x28 else "<I"
        struct.pack_into(layout, data, at, dice.choice((0, 1, 2, 5, 12, 30, 0xFFFE, 0xFFFF)))
    return bytes(data)


def change_entry(content: bytes, dice: Random, other: bytes) -> bytes:
    """Change an entry of the container's directory: kind, neighbours, first sector, size."""
    data = bytearray(content)
    names = ("R\0o\0o\0t\0", "W\0o\0r\0d\0", "W\0o\0r\0k\0", "0\0T\0a\0", "1\0T\0a\0", "\5\0S\0u\0")
    places = [content.find(name.encode("latin-1")) for name in names]
    found = [at for at in places if 0 <= at <= len(data) - 128]
    if found:
        at = dice.choice(found) + dice.choice((64, 66, 68, 72, 76, 116, 120))
        struct.pack_into("<I", data, at, dice.choice((*_ENDS, 5_000, 100_000)))
    return bytes(data)


def change_stream_start(content: bytes, dice: Random, other: bytes) -> bytes:
    """Change the first bytes of a stream, where Word and Excel keep their lengths and offsets."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 6))):
        sector = dice.randrange(1, max(len(data) // _SECTOR, 2))
        at = sector * _SECTOR + dice.choice((0, 2, 10, 0x4C, 0x102, 0x106, 0x1A2, 0x1A6, dice.randrange(_SECTOR)))
        if at + 4 <= len(data):
            struct.pack_into("<I", data, at, dice.choice((*_ENDS, 0x10000, 0x7FFF, dice.randrange(2**32))))
    return bytes(data)


_PDF_NUMBERS = re.compile(rb"/(Length|Count|Size|Width|Height|First|N|Predictor|Columns|Prev|Index|Rotate)\s+(-?\d+)")
_PDF_BOXES = re.compile(rb"/(MediaBox|CropBox|Matrix|Decode|W|D)\s*\[[^\]]{0,80}\]")
_PDF_LINKS = re.compile(rb"(\d+) (\d+) R")
_PDF_FILTERS = re.compile(rb"/Filter\s*(\[[^\]]{0,80}\]|/\w+)")
_FILTERS = (
    b"[" + b"/FlateDecode " * 20 + b"]",
    b"[/ASCIIHexDecode /ASCII85Decode /LZWDecode]",
    b"/RunLengthDecode",
    b"/JBIG2Decode",
    b"/JPXDecode",
    b"/CCITTFaxDecode",
    b"/DCTDecode",
    b"/Crypt",
    b"/NoSuchDecode",
)


def change_pdf_number(content: bytes, dice: Random, other: bytes) -> bytes:
    """Lie about lengths, counts and sizes."""
    return _one(_PDF_NUMBERS, content, dice, lambda found: b"/" + found[1] + b" " + dice.choice(_PDF_LIES))


_PDF_LIES = (b"0", b"-1", b"1", b"65536", b"2147483647", b"99999999999", b"1.5", b"null", b"1 0 R")


def change_pdf_box(content: bytes, dice: Random, other: bytes) -> bytes:
    """Make pages huge, tiny or inside out."""
    boxes = (b"[0 0 1e9 1e9]", b"[0 0 0 0]", b"[600 800 0 0]", b"[nan]", b"[]", b"[0 0 14400 14400]", b"[-1 -1 1e-9 1]")
    return _one(_PDF_BOXES, content, dice, lambda found: b"/" + found[1] + b" " + dice.choice(boxes))


def change_pdf_link(content: bytes, dice: Random, other: bytes) -> bytes:
    """Let a reference lead to another object: often round in a circle."""
    numbers = [found[1] for found in _PDF_LINKS.finditer(content)] or [b"1"]
    return _one(_PDF_LINKS, content, dice, lambda found: dice.choice((*numbers, b"0", b"99999")) + b" 0 R")


def change_pdf_filter(content: bytes, dice: Random, other: bytes) -> bytes:
    """Name filters that do not fit, or one twenty times."""
    return _one(_PDF_FILTERS, content, dice, lambda found: b"/Filter " + dice.choice(_FILTERS))


def break_pdf_table(content: bytes, dice: Random, other: bytes) -> bytes:
    """Lose or change the table of objects, which readers then build again."""
    at = content.rfind(dice.choice((b"xref", b"startxref", b"trailer", b"%%EOF")))
    if at < 0:
        return content
    return (
        content[:at]
        + dice.choice((b"", b"xref\n0 99999999\n", b"startxref\n0\n", b"startxref\n-5\n"))
        + content[at + 4 :]
    )


def change_pdf_stream(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write operators of our own into a page, packed as the stream was or not."""
    operators = (
        b"q " * 100_000,
        b"BT /F1 1e30 Tf 1e30 0 0 1e30 0 0 Tm (x) Tj ET ",
        b"/F9 12 Tf (no font) Tj " * 200,
        b"0 0 m 1 1 l S " * 50_000,
        b"BI /W 60000 /H 60000 /BPC 8 /CS /RGB ID x EI ",
        b"/X0 Do " * 500,
        b"(" * 5_000,
        b"[" * 5_000 + b"<<" * 5_000,
    )
    chosen = dice.choice(operators)
    packed = zlib.compress(chosen) if dice.random() < 0.5 else chosen
    places = [
        found.end() for found in re.finditer(rb"stream\r?\n", content) if content[found.start() - 3 :][:3] != b"end"
    ]
    if not places:
        return content
    at = dice.choice(places)
    return content[:at] + packed + content[at:]


def _one(pattern: re.Pattern[bytes], content: bytes, dice: Random, change) -> bytes:  # type: ignore[no-untyped-def]
    """Change one of the places where a pattern stands."""
    places = list(pattern.finditer(content))
    if not places:
        return content
    found = dice.choice(places)
    return content[: found.start()] + change(found) + content[found.end() :]


def change_picture_header(content: bytes, dice: Random, other: bytes) -> bytes:
    """Change the first bytes of a picture, where its sizes stand; a PNG's CRC is put right."""
    data = bytearray(content)
    at = dice.randrange(min(64, max(len(data) - 4, 1)))
    if len(data) > 68:
        struct.pack_into(dice.choice((">I", "<I", ">H", "<H")), data, at, dice.choice((0, 1, 5_000, 60_000, 65_535)))
        if data[1:4] == b"PNG":
            struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


OLE: tuple[Damage, ...] = (break_chains, change_ole_header, change_entry, change_stream_start, change_stream_start)
PDF: tuple[Damage, ...] = (
    change_pdf_number,
    change_pdf_box,
    change_pdf_link,
    change_pdf_filter,
    break_pdf_table,
    change_pdf_stream,
)
PICTURE: tuple[Damage, ...] = (change_picture_header, change_picture_header)
