"""Masks secrets in values that are stored, shown or logged.

A secret is found as it is, in base64 at any place of a longer text, and URL-encoded, JSON-escaped or
HTML-escaped, whichever of its characters an encoder took and however often it was escaped.

What is known to be secret differs from one execution to the next: `knowing` says it for a block of code, and log
lines written inside are masked too.
"""

import base64
import html
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import quote

import orjson

MASK = "***"
SHORTEST_NEEDLE = 6
# A run of letters and digits that no encoder changes; shorter ones tell little about a text.
_SHORTEST_PROBE = 4
_PLAIN = re.compile(r"[A-Za-z0-9]+")
_ALPHABETS: tuple[Callable[[bytes], bytes], ...] = (base64.standard_b64encode, base64.urlsafe_b64encode)
_SHORT_ESCAPES = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


@dataclass(frozen=True)
class Needles:
    """What to look for: `literals` stand in texts as they are, `patterns` match a secret however it was escaped.

    Secrets shorter than SHORTEST_NEEDLE are in `whole` only: they are masked where they are the whole text, since
    inside texts they would mask half a document.
    """

    literals: tuple[str, ...] = ()
    patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
    whole: frozenset[str] = frozenset()

    @cached_property
    def probes(self) -> tuple[bytes, ...]:
        """Return what stands in the JSON of every value that holds a needle."""
        # A probe stands at the side of its pattern: literals hold nothing that JSON escapes.
        short = (orjson.dumps(text) for text in self.whole if len(text) < SHORTEST_NEEDLE)
        parts = {*self.literals, *(probe for probe, _ in self.patterns)}
        return (*(part.encode() for part in parts), *short)


class Source(Protocol):
    """Knows the secrets of what runs now."""

    def needles(self) -> Needles:
        """Return what to mask; may ask the database first."""

    def loaded(self) -> Needles:
        """Return what to mask as far as it is known already."""


class Nothing:
    """There is nothing to mask."""

    def needles(self) -> Needles:
        return Needles()

    loaded = needles


_source: ContextVar[Source] = ContextVar("masking.source")
_NOTHING = Nothing()


@contextmanager
def knowing(source: Source) -> Iterator[None]:
    """Let `source` say what is secret, in this thread and in the log lines it writes, until the block ends."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def source() -> Source:
    """Return who knows the secrets of what runs now."""
    return _source.get(_NOTHING)


def needles_of(secrets: Sequence[str]) -> Needles:
    """Return what to look for, given the secrets."""
    long = [secret for secret in dict.fromkeys(secrets) if len(secret) >= SHORTEST_NEEDLE]
    literals = {form for secret in long for form in _literals(secret)}
    patterns = [(_probe(secret), _pattern(secret)) for secret in sorted(long, key=len, reverse=True)]
    return Needles(
        tuple(sorted(literals, key=lambda text: (-len(text), text))),
        tuple((probe, pattern) for probe, pattern in patterns if pattern is not None),
        frozenset(secrets),
    )


def mask(value: Any, needles: Needles) -> Any:
    """Return a JSON value with every needle replaced by `***`, at any depth, in keys and numbers too."""
    if not needles.whole:
        return value
    if isinstance(value, str):
        return _mask_whole(value, needles)
    return _walk(value, needles) if _may_hold(value, needles) else value


def hide(value: Any) -> Any:
    """Return a JSON value without the secrets of what runs now."""
    return mask(value, source().needles())


def hide_in_log(line: str) -> str:
    """Return a log line without the secrets that are known by now; asks nobody."""
    needles = source().loaded()
    return _mask_text(line, needles) if needles.whole else line


def _walk(value: Any, needles: Needles) -> Any:
    if isinstance(value, str):
        return _mask_whole(value, needles)
    if isinstance(value, dict):
        return {_walk(key, needles): _walk(item, needles) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, needles) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        return value if _mask_text(text, needles) == text else MASK
    return value


def _may_hold(value: Any, needles: Needles) -> bool:
    """Tell whether a value may hold a needle: one search in its JSON instead of one in each of its strings."""
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return True
    return any(probe in text for probe in needles.probes)


def _mask_whole(text: str, needles: Needles) -> str:
    return MASK if text in needles.whole else _mask_text(text, needles)


def _mask_text(text: str, needles: Needles) -> str:
    # In this order nothing is masked within a longer secret, whose rest would stay.
    for probe, pattern in needles.patterns:
        if probe in text:
            text = pattern.sub(MASK, text)
    for literal in needles.literals:
        if literal in text:
            text = text.replace(literal, MASK)
    return text


def _literals(secret: str) -> set[str]:
    """Return a secret in base64, and as it is where no encoder would change it."""
    forms = {form for encode in _ALPHABETS for form in _base64_forms(secret.encode(), encode)}
    # Names of hosts are written in lower case.
    plain = {secret, secret.lower()} if _PLAIN.fullmatch(secret) else set()
    return forms | {quote(form, safe="") for form in forms} | plain


def _base64_forms(secret: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """Yield a secret's base64 on its own, and the part that every text around it leaves alone, at each alignment."""
    alone = encode(secret).decode()
    yield alone
    yield alone.rstrip("=")
    for before in range(3):
        encoded = encode(bytes(before) + secret).decode()
        first = -(-before * 8 // 6)
        yield encoded[first : (before + len(secret)) * 8 // 6]


def _probe(secret: str) -> str:
    """Return the longest run of a secret that every encoding leaves as it is."""
    longest = max(_PLAIN.findall(secret), key=len, default="")
    return longest if len(longest) >= _SHORTEST_PROBE else ""


def _pattern(secret: str) -> re.Pattern[str] | None:
    """Return a pattern for a secret with characters that encoders change; None for letters and digits alone."""
    if _PLAIN.fullmatch(secret):
        return None
    return re.compile("".join(char if _PLAIN.fullmatch(char) else _any_form(char) for char in secret))


def _any_form(char: str) -> str:
    """Return a pattern of one character: as it is, escaped for JSON (also again and again), for a URL, for HTML."""
    units = char.encode("utf-16-be")
    points = (units[index : index + 2].hex() for index in range(0, len(units), 2))
    escaped = "".join(rf"\\{{1,16}}u(?i:{point})" for point in points)
    percent = "".join(f"%(?:25)*(?i:{byte:02x})" for byte in char.encode())
    forms = [escaped, percent, f"&#(?:{ord(char)}|[xX]0*(?i:{ord(char):x}));"]
    if char in _SHORT_ESCAPES:
        forms.append(rf"\\{{1,16}}{_SHORT_ESCAPES[char]}")
    if char == " ":
        forms.append(r"\+")
    if (entity := html.escape(char)) != char:
        forms.append(re.escape(entity))
    # The character itself, behind any number of backslashes; a backslash comes doubled, and doubled again.
    forms.append(r"\\{1,16}" if char == "\\" else r"\\{0,16}" + re.escape(char))
    return f"(?:{'|'.join(forms)})"
