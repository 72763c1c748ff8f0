"""Damage to ZIP containers: their parts are damaged and packed again, or the directory lies about them."""

import io
import struct
import zipfile
from random import Random

from tests.fuzz import damage, damage_text
from tests.fuzz.damage import Damage

_DIRECTORY = b"PK\x01\x02"
# Where the directory keeps flags, method, CRC, sizes, lengths of names, the offset of the part.
_FIELDS = ((8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (42, "<I"))
_INNER: tuple[Damage, ...] = (*damage.ANY, *damage_text.MARKUP, damage_text.very_long_word)
_MOST_INFLATED = 20 * 1024**2


def change_part(content: bytes, dice: Random, other: bytes) -> bytes:
    """Damage what is inside a part; the container is whole and its CRC right."""
    parts = _parts(content)
    if not parts:
        return damage.flip_bits(content, dice, other)
    # Most damage is done where the text is: in the large parts.
    name = dice.choices(list(parts), [len(data) + 200 for data in parts.values()])[0]
    parts[name] = dice.choice(_INNER)(parts[name], dice, other)
    return _packed(list(parts.items()), dice)


def lose_part(content: bytes, dice: Random, other: bytes) -> bytes:
    """Leave a part out, rename it, or swap it with another."""
    parts = list(_parts(content).items())
    if not parts:
        return content
    at, beside = dice.randrange(len(parts)), dice.randrange(len(parts))
    (name, data), (_, swapped) = parts[at], parts[beside]
    names = (name.upper(), f"../{name}", f"/{name}", name.replace("/", "\\"), name + "\0x", "\u202e" + name, "")
    parts[at : at + 1] = dice.choice(([], [(dice.choice(names), data)], [(name, swapped)], [(name, data)] * 2))
    return _packed(parts, dice)


def lie_in_directory(content: bytes, dice: Random, other: bytes) -> bytes:
    """Change sizes, methods, offsets and flags in the central directory."""
    places = [at for at in range(len(content)) if content.startswith(_DIRECTORY, at)] if len(content) < 10**6 else []
    data = bytearray(content)
    for at in dice.sample(places, min(len(places), dice.choice((1, 3)))):
        offset, layout = dice.choice(_FIELDS)
        if at + offset + 4 <= len(data):
            number = dice.choice((0, 1, 0xFFFF, 2**26, 2**31, 2**32 - 1))
            struct.pack_into(layout, data, at + offset, number & (0xFFFF if layout == "<H" else 0xFFFFFFFF))
    return bytes(data)


def nest(content: bytes, dice: Random, other: bytes) -> bytes:
    """Put the file into itself, or another one in place of a part."""
    parts = list(_parts(content).items())
    place = dice.randrange(len(parts) + 1)
    name = parts[place - 1][0] if parts and dice.random() < 0.5 else "word/embeddings/inner.docx"
    return _packed([*parts[:place], (name, dice.choice((content, other))), *parts[place:]], dice)


def bomb(content: bytes, dice: Random, other: bytes) -> bytes:
    """Add a part that inflates a thousand times, or thousands of parts."""
    parts = list(_parts(content).items())
    if dice.random() < 0.5:
        return _packed([*parts, ("word/media/bomb.bin", bytes(dice.choice((10**6, 10**7, 7 * 10**7))))], dice)
    return _packed([*parts, *((f"word/media/{number}", b"") for number in range(dice.choice((500, 2_500))))], dice)


def _parts(content: bytes) -> dict[str, bytes]:
    """Return what can be unpacked; nothing of a broken container, nor of a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(item.file_size for item in archive.infolist()) > _MOST_INFLATED:
                return {}
            return {item.filename: archive.read(item) for item in archive.infolist()}
    except Exception:  # noqa: BLE001  (whatever zipfile raises over bytes that are broken already)
        return {}


def _packed(parts: list[tuple[str, bytes]], dice: Random) -> bytes:
    buffer = io.BytesIO()
    method = dice.choice((zipfile.ZIP_DEFLATED,) * 6 + (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in parts:
            # Written by entry and not by name: two of the same name are meant, and no warning.
            entry = zipfile.ZipInfo(name or "x")
            entry.compress_type = method
            archive.NameToInfo.pop(entry.filename, None)
            archive.writestr(entry, data)
    return buffer.getvalue()


ZIP: tuple[Damage, ...] = (change_part, change_part, change_part, lose_part, lie_in_directory, nest, bomb)
