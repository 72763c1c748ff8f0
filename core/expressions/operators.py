"""The operators of conditions over typed values (contract 13.4); filters of data use them too."""

import operator
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from core.expressions.errors import ExpressionError
from core.expressions.values import MISSING, is_number, nearest, number_of, text_of, time_text

LONE_OPERATORS = frozenset({"exists", "not_exists"})


def compare(name: str, left: Any, right: Any = None) -> bool:
    """Return whether `left <name> right` holds.

    A missing left side (MISSING, not null) satisfies only not_equals, not_contains and not_exists (contract 11).
    Raises ExpressionError `unknown_operator`.
    """
    key = canonical_operator(name)
    if left is MISSING:
        return key in {"!=", "not contains", "not_exists"}
    return _OPERATORS[key](left, right)


def canonical_operator(name: object) -> str:
    """Return the one spelling of an operator. Raises ExpressionError `unknown_operator`."""
    spelt = " ".join(name.lower().split()) if isinstance(name, str) else ""
    key = _ALIASES.get(spelt, spelt)
    if key not in _OPERATORS:
        near = nearest(spelt, [*_OPERATORS, *_ALIASES])
        hint = f"; did you mean {near!r}?" if near else ""
        raise ExpressionError(f"unknown operator {name!r}{hint}", code="unknown_operator")
    return key


def equals(left: Any, right: Any) -> bool:
    """Return whether two values are equal; numbers also against numeric text, booleans only with booleans."""
    left, right = _comparable(left), _comparable(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left) or is_number(right):
        numbers = number_of(left), number_of(right)
        return None not in numbers and numbers[0] == numbers[1]
    return bool(left == right)


def contains(whole: Any, part: Any) -> bool:
    """Return whether a text holds a text, a list an equal item, or an object a key."""
    if isinstance(whole, str):
        return part is not None and text_of(part) in whole
    if isinstance(whole, Mapping):
        return isinstance(part, str) and part in whole
    return isinstance(whole, list | tuple) and any(equals(item, part) for item in whole)


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Order numbers (also as text) as numbers and other texts as texts; nothing else is ordered."""

    def compare_ordered(left: Any, right: Any) -> bool:
        left, right = _comparable(left), _comparable(right)
        numbers = number_of(left), number_of(right)
        if None not in numbers:
            return holds(*numbers)
        return isinstance(left, str) and isinstance(right, str) and holds(left, right)

    return compare_ordered


def _comparable(value: Any) -> Any:
    return time_text(value) if isinstance(value, date) else value


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": equals,
    "!=": lambda left, right: not equals(left, right),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    "contains": contains,
    "not contains": lambda left, right: not contains(left, right),
    "in": lambda left, right: contains(right, left),
    "not in": lambda left, right: not contains(right, left),
    "exists": lambda left, _: left is not None,
    "not_exists": lambda left, _: left is None,
}
_ALIASES = {
    "equals": "==",
    "not_equals": "!=",
    "greater_than": ">",
    "greater_or_equal": ">=",
    "less_than": "<",
    "less_or_equal": "<=",
    "not_contains": "not contains",
    "not_in": "not in",
    "not exists": "not_exists",
}
OPERATOR_NAMES = frozenset({*_OPERATORS, *_ALIASES})
