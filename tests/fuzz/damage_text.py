"""Damage to texts: markup, tables of values, JSON, RTF and mail."""

import re
from random import Random

from tests.fuzz.damage import Damage

_DEEP = 5_000
_ENTITIES = (
    b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;&x;&x;"><!ENTITY z "&y;&y;&y;&y;&y;&y;">]>',
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
)
_ENCODINGS = ("utf-16", "utf-16-be", "utf-32", "utf-7", "cp037", "shift_jis", "iso2022_jp", "cp1252")
_SAID = (b"utf-8", b"UTF-16", b"ebcdic-cp-us", b"x-unknown", b"utf-7", b"rot13", b"base64", b"zlib_codec", b"idna")
_TAG = re.compile(rb"<[\w:.-]+")
_NASTY = ("\0", "\ufeff", "\u202e", "\ud800", "\x1b$B", "\x85\u2028", "\U0010ffff", "a\u0301" * 500)


def nest_deeply(content: bytes, dice: Random, other: bytes) -> bytes:
    """Put elements, brackets or groups into each other, thousands deep; half of the time they never end."""
    begin, end = dice.choice(((b"<a>", b"</a>"), (b"<div>", b"</div>"), (b"[", b"]"), (b'{"a":', b"}"), (b"{", b"}")))
    depth = dice.choice((300, _DEEP, _DEEP * 10))
    at = _place(content, dice)
    return content[:at] + begin * depth + (end * depth if dice.random() < 0.5 else b"") + content[at:]


def declare_entities(content: bytes, dice: Random, other: bytes) -> bytes:
    """Declare entities, and name one."""
    at = content.find(b"?>") + 2 if content.startswith(b"<?xml") else 0
    middle = _place(content, dice)
    middle = max(middle, at)
    named = dice.choice((b"&z;", b"&x;", b"&undeclared;", b"&#0;", b"&#xD800;", b"&#x110000;"))
    return content[:at] + dice.choice((*_ENTITIES, b"")) + content[at:middle] + named + content[middle:]


def huge_attribute(content: bytes, dice: Random, other: bytes) -> bytes:
    """Give an element a very long attribute, or very many of them."""
    tags = list(_TAG.finditer(content[:200_000]))
    if not tags:
        return content
    at = dice.choice(tags).end()
    many = b"".join(b' a%d="%d"' % (number, number) for number in range(20_000))
    return (
        content[:at] + dice.choice((b' a="' + b"x" * 1_000_000 + b'"', many, b" a='<'", b' a="1" a="2"')) + content[at:]
    )


def lie_about_encoding(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write the text in another encoding, or name another one."""
    if dice.random() < 0.5:
        pattern = rb"""((?:encoding|charset)\s*=\s*["']?)[\w-]+"""
        return re.sub(pattern, lambda found: found[1] + dice.choice(_SAID), content, count=1)
    text = content.decode("utf-8", errors="replace")
    return text.encode(dice.choice(_ENCODINGS), errors="replace")


def nasty_characters(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write characters that few expect."""
    for _ in range(dice.choice((1, 20))):
        at = _place(content, dice)
        content = content[:at] + dice.choice(_NASTY).encode("utf-8", errors="surrogatepass") + content[at:]
    return content


def very_long_word(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write one word of a megabyte and more."""
    at = _place(content, dice)
    return content[:at] + dice.choice((b"x", b"\xc3\xa4", b"&amp;", b"\\'e4")) * 1_200_000 + content[at:]


def dialect_junk(content: bytes, dice: Random, other: bytes) -> bytes:
    """Change delimiters, quotes and line ends of some places."""
    for old in (b",", b";", b"\t", b'"', b"\n"):
        if dice.random() < 0.4:
            new = dice.choice((b"", b"\\", b'"', b"'", b"|", b"\r", b"\r\n", b"\x1f", b'""', b",,,,", b"\0", b"^"))
            content = content.replace(old, new, dice.choice((-1, 1, 5)))
    return content


def many_columns(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write a row of very many cells, or very many rows."""
    junk = (b"," * 20_000 + b"\n", b"a,b\n" * 300_000, b'"' * 9_999, b"=1+1,@x\n" * 50, b"\n" * 500_000)
    at = _place(content, dice)
    return content[:at] + dice.choice(junk) + content[at:]


def control_words(content: bytes, dice: Random, other: bytes) -> bytes:
    """Write words of RTF and headers of mail that lie."""
    junk = (
        rb"\bin2147483647 ",
        rb"\bin-5 ",
        rb"\u-999999999 ",
        rb"\uc999999 ",
        rb"\ansicpg99999 ",
        rb"\f999999999 ",
        rb"{\*\unknown ",
        b"\r\nContent-Transfer-Encoding: uuencode\r\n\r\nbegin 666 x\r\n",
        b"\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\r\n",
        b'\r\nContent-Type: multipart/mixed; boundary="edge"\r\n\r\n' + b"--edge\r\n" * 2_000,
        b"Subject: =?utf-16?b?2AA=?= =?x-no?q?=00?=\r\n",
        b"\r\nContent-Type: message/rfc822\r\n\r\n" * 400,
    )
    at = _place(content, dice)
    return content[:at] + dice.choice(junk) + content[at:]


def _place(content: bytes, dice: Random) -> int:
    return dice.randrange(len(content) + 1)


MARKUP: tuple[Damage, ...] = (nest_deeply, declare_entities, huge_attribute, lie_about_encoding, nasty_characters)
TEXT: tuple[Damage, ...] = (*MARKUP, very_long_word, dialect_junk, many_columns, control_words)
