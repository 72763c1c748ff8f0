"""How JSON values are read as text, as numbers and in order; shared by templates, conditions and filters."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any, Final, TypeAlias

from core.expressions.errors import ExpressionError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

MAX_OUTPUT_CHARS: Final = 1024 * 1024
_MOST_NAMES_COMPARED = 500
_LONGEST_NAME_COMPARED = 100
_LONGEST_NUMERIC_TEXT = 400

_NUMERIC_TEXT = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_JSON_TYPES = frozenset({dict, list, str, int, float, bool, type(None)})


class Missing(Enum):
    """The type of MISSING: no such name, as opposed to a name whose value is null."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def is_number(value: object) -> bool:
    """Return whether the value is a JSON number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_of(value: object) -> int | float | None:
    """Return a number, or the number that a numeric text spells; None for everything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or len(value) > _LONGEST_NUMERIC_TEXT:
        return None
    match = _NUMERIC_TEXT.fullmatch(value.strip())
    if match is None:
        return None
    if not match[1] and not match[2]:
        return int(match[0])
    number = float(match[0])
    return number if math.isfinite(number) else None


def text_of(value: object) -> str:
    """Return a value as it stands inside text: objects as compact JSON, null as nothing (contract 13.1)."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime | date):
        return time_text(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_json_default)
    except RecursionError as error:
        raise ExpressionError("the value is nested too deep", code="too_large") from error
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"a {type(value).__name__} has no JSON form", code="evaluation_failed") from error


def time_text(value: date) -> str:
    """Return a point in time as ISO 8601, UTC as `Z`."""
    return value.isoformat().replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: lazy mappings become dicts, points in time become text.

    Looks one level deep: what a scope holds below its lazily loaded entries is JSON already.
    """
    if type(value) is dict:
        if all(type(item) in _JSON_TYPES for item in value.values()):
            return value
        return {key: plain(item) for key, item in value.items()}
    if type(value) in _JSON_TYPES:
        return value
    if isinstance(value, Mapping):
        return plain(dict(value))
    return time_text(value) if isinstance(value, datetime | date) else value


def sort_key(value: object) -> tuple[int, Any]:
    """Return a key that orders any JSON values: null, booleans, numbers (also as text), text, the rest as JSON."""
    if value is None or value is MISSING:
        return (0, 0)
    if isinstance(value, bool):
        return (1, value)
    if (number := number_of(value)) is not None:
        return (2, number)
    return (3, value) if isinstance(value, str) else (4, text_of(value))


def nearest(name: str, names: Iterable[object]) -> str | None:
    """Return the existing name that looks most like `name`, or None."""
    candidates = [item for item in names if isinstance(item, str) and len(item) <= _LONGEST_NAME_COMPARED]
    close = difflib.get_close_matches(name[:_LONGEST_NAME_COMPARED], candidates[:_MOST_NAMES_COMPARED], n=1)
    return close[0] if close else None


def _json_default(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime | date):
        return time_text(value)
    raise TypeError(type(value).__name__)
