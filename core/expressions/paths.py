"""Dotted paths and the names they start from (contract 13.1)."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any

from core.expressions.values import MISSING, nearest

ROOTS = frozenset(
    {
        "execution_id",
        "workflow_id",
        "trigger",
        "input",
        "variables",
        "steps",
        "item",
        "index",
        "env",
        "secrets",
        "now",
        "workflow",
    }
)
Segments = tuple[str, ...]

_PATH = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_NUMBER = re.compile(r"[\d_]+(\.\d+)?([eE]\d+)?")
_LETTER = re.compile(r"[^\W\d]")
_INDEX = re.compile(r"\[(\d+)\]")
_WORDS = frozenset({"true", "false", "none", "null", "True", "False", "None"})
_MOST_NAMES_LISTED = 500

# Keys come before attributes, and only these attributes exist at all: plain data, never a method.
_ATTRIBUTES: dict[type, frozenset[str]] = {
    datetime: frozenset({"year", "month", "day", "hour", "minute", "second", "microsecond"}),
    date: frozenset({"year", "month", "day"}),
    timedelta: frozenset({"days", "seconds"}),
}


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Segments | None:
    """Return the segments of a plain dotted path, or None if the text is something else.

    Hyphens belong to names and numbers are indexes; a text without any letter, and true, false and null, are values.
    """
    if not _PATH.fullmatch(text) or _NUMBER.fullmatch(text) or text in _WORDS or not _LETTER.search(text):
        return None
    return tuple(text.split("."))


def parse_data_path(text: str) -> Segments:
    """Return the segments of a path into given data: `a.b`, `a[0].b` and `$.a` alike; empty means the data itself."""
    dotted = _INDEX.sub(r".\1", text.strip()).removeprefix("$").strip(".")
    return tuple(segment for segment in dotted.split(".") if segment)


def member(value: Any, segment: str) -> Any:
    """Return what `value` holds under a key or index, or MISSING."""
    if isinstance(value, Mapping):
        try:
            return value[segment]
        except KeyError:
            return MISSING
    if isinstance(value, list | tuple):
        position = int(segment) if segment.isdecimal() and len(segment) < 10 else len(value)  # noqa: PLR2004
        return value[position] if position < len(value) else MISSING
    if segment in _ATTRIBUTES.get(type(value), ()):
        return getattr(value, segment)
    return MISSING


def read(value: Any, segments: Sequence[str]) -> Any:
    """Follow segments into a value; MISSING where one does not exist."""
    for segment in segments:
        value = value.get(segment, MISSING) if type(value) is dict else member(value, segment)
        if value is MISSING:
            return MISSING
    return value


class Scope:
    """The names that expressions can see: root name -> value.

    Values are JSON, points in time, or mappings that load their entries when asked. A root wins over a bare name;
    a bare name is looked up in `variables`, then in `trigger`, then among the outputs in `steps` (`/api` dialect,
    where `output` after the node's id may be left out or written).
    """

    __slots__ = ("_roots",)

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._roots = dict(roots)

    def extended(self, **roots: Any) -> "Scope":
        """Return a scope with more (or other) roots, as the `item` and `index` of a loop."""
        return Scope({**self._roots, **roots})

    def with_variables(self, variables: Mapping[str, Any]) -> "Scope":
        """Return a scope whose bare names see `variables` first."""
        known = self._roots.get("variables")
        return self.extended(variables={**(known if isinstance(known, Mapping) else {}), **variables})

    def find(self, segments: Segments) -> Any:
        """Return the value at a path, or MISSING."""
        first = segments[0]
        if first in self._roots:
            return read(self._roots[first], segments[1:])
        value, used = self._bare(segments)
        return MISSING if value is MISSING else read(value, segments[used:])

    def knows(self, root: str) -> bool:
        """Return whether a path that starts with `root` is one of ours, found or not."""
        return root in ROOTS or self.find((root,)) is not MISSING

    def explain(self, segments: Segments) -> str:
        """Say where a missing path ends, and the nearest name that exists there."""
        dotted = ".".join(segments)
        if not self.knows(segments[0]):
            near = nearest(segments[0], self._names())
            return f"{dotted}: unknown name {segments[0]!r}{_hint(near)}"
        for count in range(1, len(segments)):
            value = self.find(segments[:count])
            if value is not MISSING and self.find(segments[: count + 1]) is MISSING:
                return f"{dotted}: {describe_missing(value, segments[count], where='.'.join(segments[:count]))}"
        return f"{dotted}: {segments[0]!r} has no value here"

    def _bare(self, segments: Segments) -> tuple[Any, int]:
        first = segments[0]
        for root in ("variables", "trigger"):
            if (value := member(self._roots.get(root), first)) is not MISSING:
                return value, 1
        node = member(self._roots.get("steps"), first)
        if segments[1:2] == ("output",) and node is not MISSING and member(node, "output") is MISSING:
            return node, 2
        return node, 1

    def _names(self) -> list[str]:
        places = (self._roots, *(self._roots.get(root) for root in ("variables", "trigger", "steps")))
        return [
            str(name) for place in places if isinstance(place, Mapping) for name in islice(place, _MOST_NAMES_LISTED)
        ]


def describe_missing(value: Any, segment: str, *, where: str) -> str:
    """Say that `value`, found at `where`, has nothing called `segment`."""
    place = f" in {where}" if where else ""
    if isinstance(value, Mapping):
        near = nearest(segment, islice(value, _MOST_NAMES_LISTED))
        prefix = f"{where}." if where else ""
        return f"nothing called {segment!r}{place}{_hint(prefix + near if near else None)}"
    if isinstance(value, list | tuple):
        return f"no item {segment}{place}, which has {len(value)}"
    kind = "null" if value is None else type(value).__name__
    return f"nothing called {segment!r}{place}, which is {kind}"


def _hint(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""
