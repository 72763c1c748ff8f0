"""The one door through which values pass on their way into jsonb."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

MAX_DEPTH = 100


class NotJson(ValueError):
    """A value that JSON cannot hold, or one nested too deep."""


def clean(value: Any) -> tuple[Any, list[str]]:
    """Return `value` as PostgreSQL's jsonb can hold it, and one warning for each kind of change made.

    U+0000 is dropped, lone surrogates become U+FFFD, NaN and infinities become null; dates, UUIDs and
    decimals become text. Raises NotJson for anything else that JSON cannot hold.
    """
    warnings: set[str] = set()
    return _clean(value, warnings, 0), sorted(warnings)


def _clean(value: Any, warnings: set[str], depth: int) -> Any:  # noqa: PLR0911  (a case a kind of value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _clean_integer(value, warnings)
    if isinstance(value, str):
        return clean_text(value, warnings)
    if isinstance(value, float):
        return _clean_float(value, warnings)
    if depth >= MAX_DEPTH:
        raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {clean_text(_key(key), warnings): _clean(item, warnings, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, warnings, depth + 1) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise NotJson(f"a value of type {type(value).__name__} cannot be stored as JSON")


def clean_text(text: str, warnings: set[str]) -> str:
    """Return `text` without what PostgreSQL's text and jsonb refuse."""
    if text.isascii() and "\x00" not in text:
        return text
    if "\x00" in text:
        warnings.add("U+0000 was removed")
        text = text.replace("\x00", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        warnings.add("lone surrogates were replaced")
        text = text.encode("utf-8", "replace").decode()
    return text


def _clean_integer(value: int, warnings: set[str]) -> int | float | None:
    if -(2**63) <= value < 2**64:
        return value
    warnings.add("an integer beyond 64 bits lost precision")
    try:
        return float(value)
    except OverflowError:
        return None


def _clean_float(value: float, warnings: set[str]) -> float | None:
    if math.isfinite(value):
        return value
    warnings.add("NaN or infinity became null")
    return None


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool | int | float):
        return str(key)
    raise NotJson(f"a key of type {type(key).__name__} cannot be stored as JSON")
