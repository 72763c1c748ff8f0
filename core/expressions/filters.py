"""The filters, tests and functions that expressions may use: pure, over JSON values, each with a bound.

Jinja2's own are not used: some run Python's `%` on text, some grow without limit, some read attributes.
"""

import functools
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from jinja2 import Undefined

from core.expressions.errors import ExpressionError
from core.expressions.paths import parse_data_path, read
from core.expressions.values import MAX_OUTPUT_CHARS, MISSING, number_of, sort_key, text_of

FILTERS: dict[str, Callable[..., Any]] = {}

_MOST_RANGE_ITEMS = 1000
_WIDEST_CENTER = 1000
_LONGEST_DATE_FORMAT = 100
_FORMAT_FIELD = re.compile(r"%([-+ 0]?\d{0,2}(\.\d{1,2})?[sdifeEgGxXo]|%)")
_DATE_FIELD = re.compile(r"%[YmdHMSjaAbBpyIfzZu%]|[^%]")


def too_large(what: str) -> ExpressionError:
    return ExpressionError(f"{what} would be larger than allowed", code="too_large")


def bounded(value: Any) -> Any:
    """Return the value unless it is text over the bound."""
    if isinstance(value, str) and len(value) > MAX_OUTPUT_CHARS:
        raise too_large("the text")
    return value


def refuse_missing(*values: Any) -> None:
    """Raise Jinja2's UndefinedError if a value is missing."""
    for value in values:
        if isinstance(value, Undefined):
            str(value)


def _filter(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def guarded(*values: Any, **named: Any) -> Any:
            refuse_missing(*values, *named.values())
            return bounded(function(*values, **named))

        FILTERS.update(dict.fromkeys(names, guarded))
        return guarded

    return add


def _list_of(value: Any) -> list[Any]:
    if isinstance(value, Mapping | str):
        return list(value)
    if isinstance(value, list | tuple | range):
        return list(value)
    raise TypeError(f"a list is needed, not {type(value).__name__}")


def _number(value: Any) -> int | float:
    if (number := number_of(value)) is None:
        raise TypeError("a number is needed")
    return number


def _attribute(item: Any, attribute: str | int | None) -> Any:
    if attribute is None:
        return item
    found = read(item, parse_data_path(str(attribute)))
    return None if found is MISSING else found


def default(value: Any, other: Any = "", boolean: bool = False) -> Any:
    if isinstance(value, Undefined) or value is None or (boolean and not value):
        return other
    return value


FILTERS["default"] = FILTERS["d"] = default


@_filter("string")
def string(value: Any) -> str:
    return text_of(value)


@_filter("tojson", "json")
def to_json(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return json.dumps(value, ensure_ascii=False)
    return text_of(value)


@_filter("fromjson")
def from_json(value: Any) -> Any:
    return json.loads(bounded(text_of(value)))


@_filter("int")
def integer(value: Any, default: int = 0) -> int:
    number = number_of(value)
    return default if number is None else int(number)


@_filter("float")
def floating(value: Any, default: float = 0.0) -> float:
    number = number_of(value)
    return default if number is None else float(number)


@_filter("length", "count")
def length(value: Any) -> int:
    return len(value)


@_filter("upper")
def upper(value: Any) -> str:
    return text_of(value).upper()


@_filter("lower")
def lower(value: Any) -> str:
    return text_of(value).lower()


@_filter("title")
def title(value: Any) -> str:
    return text_of(value).title()


@_filter("capitalize")
def capitalize(value: Any) -> str:
    return text_of(value).capitalize()


@_filter("trim")
def trim(value: Any, chars: str | None = None) -> str:
    return text_of(value).strip(chars)


@_filter("replace")
def replace(value: Any, old: str, new: str) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    # An empty `old` is found before every character and at the end: count says so too.
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_OUTPUT_CHARS:
        raise too_large("the text")
    return text.replace(old, new)


@_filter("split")
def split(value: Any, separator: str | None = None, maxsplit: int = -1) -> list[str]:
    return text_of(value).split(separator, maxsplit)


@_filter("truncate")
def truncate(value: Any, length: int = 255, end: str = "...") -> str:
    text = text_of(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


@_filter("center")
def center(value: Any, width: int = 80) -> str:
    if width > _WIDEST_CENTER:
        raise too_large("the text")
    return text_of(value).center(width)


@_filter("format")
def format_text(value: Any, *values: Any) -> str:
    pattern = text_of(value)
    if "%" in _FORMAT_FIELD.sub("", pattern):
        raise ValueError("format fields are %s, %d, %f, %e, %g, %x, %o, with a width of at most two digits")
    return pattern % tuple(item if isinstance(item, int | float) else text_of(item) for item in values)


@_filter("urlencode")
def url_encode(value: Any) -> str:
    return quote(bounded(text_of(value)), safe="")


@_filter("date")
def format_date(value: Any, pattern: str = "%Y-%m-%d") -> str:
    """Format a point in time, or its ISO 8601 text."""
    if len(pattern) > _LONGEST_DATE_FORMAT or _DATE_FIELD.sub("", pattern):
        raise ValueError("date fields are %Y %m %d %H %M %S %f %j %a %A %b %B %p %y %I %z %Z %u")
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(text_of(value))
    return moment.strftime(pattern)


# --- Numbers ---------------------------------------------------------------------------------


@_filter("abs")
def absolute(value: Any) -> int | float:
    return abs(_number(value))


@_filter("round")
def round_number(value: Any, precision: int = 0) -> int | float:
    if not -15 <= precision <= 15:  # noqa: PLR2004
        raise too_large("the precision")
    return round(_number(value), precision) if precision else round(_number(value))


# --- Lists and objects -----------------------------------------------------------------------


@_filter("first")
def first(value: Any) -> Any:
    return next(iter(_list_of(value)), None)


@_filter("last")
def last(value: Any) -> Any:
    return next(iter(_list_of(value)[-1:]), None)


@_filter("list")
def as_list(value: Any) -> list[Any]:
    return _list_of(value)


@_filter("keys")
def keys(value: Mapping[str, Any]) -> list[str]:
    return list(value.keys())


@_filter("values")
def values_of(value: Mapping[str, Any]) -> list[Any]:
    return list(value.values())


@_filter("items")
def items(value: Mapping[str, Any]) -> list[list[Any]]:
    return [[key, item] for key, item in value.items()]


@_filter("join")
def join(value: Any, separator: str = "", attribute: str | None = None) -> str:
    parts = [text_of(_attribute(item, attribute)) for item in _list_of(value)]
    return join_texts(parts, text_of(separator))


def join_texts(parts: list[str], separator: str = "") -> str:
    """Join texts, bounded before anything is built."""
    if sum(map(len, parts)) + len(separator) * max(0, len(parts) - 1) > MAX_OUTPUT_CHARS:
        raise too_large("the text")
    return separator.join(parts)


@_filter("map")
def map_items(value: Any, filter_name: str | None = None, *, attribute: str | None = None) -> list[Any]:
    found = [_attribute(item, attribute) for item in _list_of(value)]
    return found if filter_name is None else list(_bounded_each(FILTERS[filter_name], found))


def _bounded_each(function: Callable[[Any], Any], values: list[Any]) -> Iterable[Any]:
    size = 0
    for value in values:
        result = function(value)
        size += len(result) if isinstance(result, str | list) else 1
        if size > MAX_OUTPUT_CHARS:
            raise too_large("the list")
        yield result


@_filter("selectattr")
def select_attribute(value: Any, attribute: str, test: str | None = None, other: Any = None) -> list[Any]:
    return [item for item in _list_of(value) if _matches(_attribute(item, attribute), test, other)]


@_filter("rejectattr")
def reject_attribute(value: Any, attribute: str, test: str | None = None, other: Any = None) -> list[Any]:
    return [item for item in _list_of(value) if not _matches(_attribute(item, attribute), test, other)]


def _matches(value: Any, test: str | None, other: Any) -> bool:
    if test is None:
        return bool(value)
    # A test takes either just the value or the value and one more.
    return bool(TESTS[test](value) if test in _LONE_TESTS else TESTS[test](value, other))


@_filter("sort")
def sort(value: Any, reverse: bool = False, *, attribute: str | None = None) -> list[Any]:
    return sorted(_list_of(value), key=lambda item: sort_key(_attribute(item, attribute)), reverse=reverse)


@_filter("reverse")
def reverse_items(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else _list_of(value)[::-1]


@_filter("unique")
def unique(value: Any) -> list[Any]:
    kept: dict[str, Any] = {}
    for item in _list_of(value):
        kept.setdefault(to_json(item), item)
    return list(kept.values())


@_filter("sum")
def total(value: Any, attribute: str | None = None) -> int | float:
    return sum(_number(_attribute(item, attribute)) for item in _list_of(value))


@_filter("min")
def smallest(value: Any, attribute: str | None = None) -> Any:
    return min((_attribute(item, attribute) for item in _list_of(value)), key=sort_key, default=None)


@_filter("max")
def largest(value: Any, attribute: str | None = None) -> Any:
    return max((_attribute(item, attribute) for item in _list_of(value)), key=sort_key, default=None)


# Not a name that can be written: `~` in an expression is compiled to it, so that it gives JSON and is bounded.
CONCAT = "~"


@_filter(CONCAT)
def concat(parts: Any) -> str:
    refuse_missing(*parts)
    return join_texts([text_of(part) for part in parts])


# --- Tests and functions ---------------------------------------------------------------------


def _whole(value: Any, divisor: Any) -> bool:
    # Never `value % divisor` on text: that is Python's formatting, without bound.
    return isinstance(value, int) and isinstance(divisor, int) and value % divisor == 0


def _is_none(value: Any) -> bool:
    return value is None or isinstance(value, Undefined)


_LONE_TESTS: dict[str, Callable[[Any], bool]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "undefined": lambda value: isinstance(value, Undefined),
    "none": _is_none,
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "mapping": lambda value: isinstance(value, Mapping),
    "sequence": lambda value: isinstance(value, list | tuple | str),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "even": lambda value: _whole(value, 2),
    "odd": lambda value: isinstance(value, int) and not _whole(value, 2),
}
TESTS: dict[str, Callable[..., Any]] = {
    **_LONE_TESTS,
    "divisibleby": _whole,
    "in": lambda value, place: value in place,
    **dict.fromkeys(("eq", "equalto", "=="), operator.eq),
    **dict.fromkeys(("ne", "!="), operator.ne),
    **dict.fromkeys(("gt", "greaterthan", ">"), operator.gt),
    **dict.fromkeys(("ge", ">="), operator.ge),
    **dict.fromkeys(("lt", "lessthan", "<"), operator.lt),
    **dict.fromkeys(("le", "<="), operator.le),
}


def bounded_range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > _MOST_RANGE_ITEMS:
        raise too_large("the range")
    return list(numbers)


def _pick(choose: Callable[..., Any]) -> Callable[..., Any]:
    def pick(*values: Any) -> Any:
        refuse_missing(*values)
        return choose(values[0] if len(values) == 1 else list(values))

    return pick


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "range": bounded_range,
    "len": length,
    "min": _pick(smallest),
    "max": _pick(largest),
}
