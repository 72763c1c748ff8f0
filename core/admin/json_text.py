"""Reading JSON that a person typed, with every value in it that JSON or the database cannot keep."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LARGEST_UNSIGNED, SMALLEST_SIGNED = 2**64 - 1, -(2**63)
# No integer of 64 bits is longer; reading a longer one is not even tried.
LONGEST_INTEGER = 20
LONGEST_SHOWN = 40
# A text can hold millions of them, and nobody reads so many.
MOST_FOUND = 20


@dataclass(frozen=True)
class Finding:
    """One place in the text, as a JSON pointer, and what is wrong with it."""

    pointer: str
    message: str


@dataclass(frozen=True)
class Read:
    """The value, what of it would be lost or changed, and which keys are written twice.

    `value` holds markers in the places of `losses`: it is of use only if there are none.
    """

    value: Any
    losses: tuple[Finding, ...]
    doubled: tuple[Finding, ...]


@dataclass(frozen=True)
class _Lost:
    reason: str


class _Object(dict[str, Any]):
    doubled: tuple[str, ...] = ()


def read(text: str) -> Read:
    """Parse JSON. Raises json.JSONDecodeError, RecursionError."""
    value = json.loads(
        text, parse_int=_integer, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object
    )
    losses: list[Finding] = []
    doubled: list[Finding] = []
    for pointer, item in _walk(value):
        if reason := _reason_against(item):
            losses.append(Finding(pointer, reason))
        elif isinstance(item, _Object):
            losses += [Finding(f"{pointer}/{key!a}", f"this key {found}") for key in item if (found := _odd_text(key))]
            doubled += [Finding(f"{pointer}/{key}", _twice(key)) for key in item.doubled]
        if max(len(losses), len(doubled)) >= MOST_FOUND:
            break
    return Read(value, tuple(losses[:MOST_FOUND]), tuple(doubled[:MOST_FOUND]))


def _twice(key: str) -> str:
    return f"{_short(repr(key))} is written twice here: only the last one counts"


def _reason_against(item: Any) -> str:
    if isinstance(item, _Lost):
        return item.reason
    return f"the text {found}" if isinstance(item, str) and (found := _odd_text(item)) else ""


def _odd_text(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return ""
    if "\x00" in text:
        return "holds U+0000, which cannot be stored"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    return ""


def _integer(text: str) -> int | _Lost:
    if len(text) <= LONGEST_INTEGER and SMALLEST_SIGNED <= (value := int(text)) <= LARGEST_UNSIGNED:
        return value
    return _Lost(f"{_short(text)} is a whole number beyond 64 bits; write it as text, in quotes")


def _number(text: str) -> float | _Lost:
    value = float(text)
    return (
        value if math.isfinite(value) else _Lost(f"{_short(text)} is too large a number; write it as text, in quotes")
    )


def _constant(text: str) -> _Lost:
    return _Lost(f"{text} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        made.doubled = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return made


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every value with its pointer, in the text's order, without recursion."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        pointer, item = pending.pop()
        yield pointer, item
        if isinstance(item, dict):
            pending += [(f"{pointer}/{key}", child) for key, child in reversed(item.items())]
        elif isinstance(item, list):
            pending += [(f"{pointer}/{index}", child) for index, child in reversed(list(enumerate(item)))]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
