"""Which events a `wait_for_event` step takes: the type's key, and its filter over the event (contract 13.4).

The filter is decided where the event is, long after the step's slice: what it uses of the execution is taken along.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson

from core import jsonsafe
from core.expressions import MISSING, Scope, condition_references, evaluate_condition
from core.expressions.grammar import Bare, parse_condition, walk
from core.expressions.paths import ROOTS
from workflows.engine.context import allowed_environment

# Given by the event, or by the process that decides.
NOT_TAKEN = frozenset({"event", "env", "secrets"})
MOST_NAMES_BYTES = 64 * 1024

_GROUPS = ("all", "any", "and", "or", "not")

Condition = str | bool | dict[str, Any]


def key_of(event_type: str) -> str:
    """Return what both spellings of a type have in common (contract 17, conflict 12)."""
    return event_type.replace(".", "_")


def names_of(condition: Condition, scope: Scope) -> dict[str, Any]:
    """Return what a filter uses of an execution, nested by path. Raises ValueError over 64 KiB."""
    found: dict[str, Any] = {}
    for path in sorted(set(_paths(condition))):
        if path[0] not in NOT_TAKEN:
            _take(found, path, scope)
    cleaned: dict[str, Any] = jsonsafe.clean(found)[0]
    if len(orjson.dumps(cleaned)) > MOST_NAMES_BYTES:
        raise ValueError(f"the filter uses more than {MOST_NAMES_BYTES} bytes of the execution's data")
    return cleaned


def holds(condition: Condition, names: dict[str, Any], event: dict[str, Any]) -> bool:
    """Tell whether an event `{id, type, data, at}` passes a filter; missing names are null.

    A bare name is looked up in the event's data, then among `names` (as contract 11's conditions do).
    Raises ExpressionError.
    """
    data = {key: value for key, value in event["data"].items() if key not in ROOTS}
    return evaluate_condition(condition, Scope({**names, **data, "env": allowed_environment(), "event": event}))


def _paths(condition: Any) -> Iterator[tuple[str, ...]]:
    """Yield the paths that a condition uses, through its groups; a word without a dot may be a name too."""
    if isinstance(condition, dict) and (parts := [condition[key] for key in _GROUPS if key in condition]):
        for part in chain.from_iterable(part if isinstance(part, list) else [part] for part in parts):
            yield from _paths(part)
        return
    yield from (tuple(reference.path.split(".")) for reference in condition_references(condition))
    if isinstance(condition, str):
        yield from (
            node.segments for node in walk(parse_condition(condition)) if isinstance(node, Bare) if node.segments
        )


def _take(found: dict[str, Any], path: tuple[str, ...], scope: Scope) -> None:
    """Put the value at a path into `found`; a list on the way is taken whole, since indexes are of lists only."""
    for length in range(1, len(path) + 1):
        value = scope.find(path[:length])
        if value is MISSING:
            return
        if isinstance(value, list) or length == len(path):
            _put(found, path[:length], value)
            return


def _put(found: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Paths come sorted, so that what is around a value comes before it and holds it already."""
    place = found
    for segment in path[:-1]:
        if segment in place and not isinstance(place[segment], _Taken):
            return
        place = place.setdefault(segment, _Taken())
    place.setdefault(path[-1], value)


class _Taken(dict[str, Any]):
    """An object made here, as opposed to one of the execution's."""
