"""Damage that any bytes can take. Every kind of damage is (content, dice, another document) -> content."""

import struct
from collections.abc import Callable
from random import Random

Damage = Callable[[bytes, Random, bytes], bytes]

_MOST_BLOCK = 4096
_TELLING_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def flip_bits(content: bytes, dice: Random, other: bytes) -> bytes:
    """Turn round a few bits, or one in a thousand."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 3, 8, len(data) // 1000 + 1)) if data else 0):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def cut_short(content: bytes, dice: Random, other: bytes) -> bytes:
    """Lose the end."""
    return content[: dice.randrange(len(content) + 1)]


def lose_beginning(content: bytes, dice: Random, other: bytes) -> bytes:
    """Lose some of the first bytes, or put others before them."""
    count = dice.randrange(1, 64)
    return content[count:] if dice.random() < 0.5 else dice.randbytes(count) + content


def splice(content: bytes, dice: Random, other: bytes) -> bytes:
    """Go on with another document somewhere in the middle."""
    return content[: dice.randrange(len(content) + 1)] + other[dice.randrange(len(other) + 1) :]


def append(content: bytes, dice: Random, other: bytes) -> bytes:
    """Put another document, or rubbish, behind the end."""
    return content + dice.choice((other, dice.randbytes(500), bytes(5000)))


def double_block(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write a block several times."""
    start, stop = _block(content, dice)
    times = dice.choice((2, 3, 50))
    return content[:start] + content[start:stop] * times + content[stop:]


def remove_block(content: bytes, dice: Random, other: bytes) -> bytes:
    """Leave a block out."""
    start, stop = _block(content, dice)
    return content[:start] + content[stop:]


def overwrite_block(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write zeros, ones or rubbish over a block."""
    start, stop = _block(content, dice)
    length = stop - start
    return content[:start] + dice.choice((bytes(length), b"\xff" * length, dice.randbytes(length))) + content[stop:]


def change_number(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write numbers of which lengths and counts are afraid over two or four bytes somewhere."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 4))):
        layout = dice.choice(("<H", ">H", "<I", ">I"))
        if len(data) > 4:
            number = dice.choice(_TELLING_NUMBERS) & (0xFFFF if layout.endswith("H") else 0xFFFFFFFF)
            struct.pack_into(layout, data, dice.randrange(len(data) - 4), number)
    return bytes(data)


def change_digits(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write another number where digits stand."""
    places = [at for at, byte in enumerate(content[:200_000]) if 0x30 <= byte <= 0x39]
    if not places:
        return content
    at = dice.choice(places)
    return (
        content[:at] + dice.choice((b"0", b"-1", b"65536", b"2147483648", b"99999999999", b"1e9")) + content[at + 1 :]
    )


def _block(content: bytes, dice: Random) -> tuple[int, int]:
    start = dice.randrange(len(content) + 1)
    return start, min(start + dice.randrange(1, _MOST_BLOCK), len(content))


ANY: tuple[Damage, ...] = (
    flip_bits,
    cut_short,
    lose_beginning,
    splice,
    append,
    double_block,
    remove_block,
    overwrite_block,
    change_number,
    change_digits,
)
