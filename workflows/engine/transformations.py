"""The transformations of `data_transform` (contract 13.3): pure functions from values to values."""

from collections.abc import Callable
from typing import Any

from core.expressions import MISSING, Scope, as_text, compare, lookup, resolve

Spec = dict[str, Any]


class TransformError(Exception):
    """A transformation cannot be applied; `code` says which way."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def transform(source: Any, transformations: list[Spec], *, scope: Scope) -> dict[str, Any]:
    """Apply transformations in order; each stores under its `key`, and the next sees earlier keys as bare names.

    `path` reads from the source; a first part that is an earlier key reads from there. The answer also has
    `result`, the last value (the source itself if there is no transformation).
    """
    made: dict[str, Any] = {}
    value = source
    for spec in transformations:
        kind = str(spec.get("type", ""))
        function = KINDS.get(kind)
        if function is None:
            raise TransformError("unknown_transformation", f"unknown transformation {kind!r}; known: {', '.join(KINDS)}")
        try:
            value = function(source, made, spec, scope)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise TransformError("transformation_failed", f"{kind}: {error}") from error
        made[str(spec.get("key") or kind)] = value
    return {**made, "result": value}


def _at(source: Any, made: dict[str, Any], path: Any) -> Any:
    """Return the value at a path in the source, or in what earlier transformations made; else None."""
    if path in (None, ""):
        return source
    found = lookup(source, str(path))
    if found is MISSING:
        found = lookup(made, str(path))
    return None if found is MISSING else found


def _rows(source: Any, made: dict[str, Any], spec: Spec) -> list[Any]:
    rows = _at(source, made, spec.get("path") or spec.get("source"))
    if not isinstance(rows, list):
        raise TransformError("transformation_failed", f"{spec.get('type')}: needs a list, got {type(rows).__name__}")
    return rows


def _field(row: Any, name: Any) -> Any:
    found = lookup(row, str(name)) if name not in (None, "") else row
    return None if found is MISSING else found


def _extract(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    return _at(source, made, spec.get("path"))


def _map(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    mapping = spec.get("mapping") or {}
    value = _at(source, made, spec.get("path"))
    if isinstance(value, list):
        return [{target: _field(row, path) for target, path in mapping.items()} for row in value]
    return {target: _field(value, path) for target, path in mapping.items()}


def _filter(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    wanted = resolve(spec.get("value"), _inner(scope, made)).value
    operator = str(spec.get("operator", "equals"))
    return [row for row in _rows(source, made, spec) if compare(_field(row, spec.get("field")), operator, wanted)]


def _aggregate(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    rows = _rows(source, made, spec)
    operation = spec.get("operation", "count")
    if operation == "count":
        return len(rows)
    values = [value for row in rows if (value := _as_number(_field(row, spec.get("field")))) is not None]
    if operation == "sum":
        return sum(values)
    if operation not in {"avg", "min", "max"}:
        raise TransformError("transformation_failed", f"aggregate: unknown operation {operation!r}")
    if not values:
        return None
    return sum(values) / len(values) if operation == "avg" else {"min": min, "max": max}[operation](values)


def _rename(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    names = spec.get("mapping") or spec.get("fields") or {}

    def renamed(row: dict[str, Any]) -> dict[str, Any]:
        return {names.get(key, key): value for key, value in row.items()}

    value = _at(source, made, spec.get("path"))
    return [renamed(row) for row in value] if isinstance(value, list) else renamed(value)


def _set(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    return resolve(spec.get("value"), _inner(scope, made)).value


def _template(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    return as_text(resolve(str(spec.get("template", "")), _inner(scope, made)).value)


def _join(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    values = [as_text(_field(row, spec.get("field"))) for row in _rows(source, made, spec)]
    return str(spec.get("separator", ", ")).join(values)


def _sort(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    descending = spec.get("order") == "desc" or bool(spec.get("descending"))

    def key(row: Any) -> tuple[int, float, str]:
        value = _field(row, spec.get("field"))
        number = _as_number(value)
        # Numbers first, then texts, then nothing: one order for mixed lists.
        return (2, 0.0, "") if value is None else (0, number, "") if number is not None else (1, 0.0, as_text(value))

    return sorted(_rows(source, made, spec), key=key, reverse=descending)


def _limit(source: Any, made: dict[str, Any], spec: Spec, scope: Scope) -> Any:
    offset = int(spec.get("offset", 0))
    return _rows(source, made, spec)[offset : offset + int(spec.get("count", spec.get("limit", 10)))]


def _as_number(value: Any) -> float | int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _inner(scope: Scope, made: dict[str, Any]) -> Scope:
    return Scope({**scope.roots, "variables": {**(scope.roots.get("variables") or {}), **made}})


KINDS: dict[str, Callable[[Any, dict[str, Any], Spec, Scope], Any]] = {
    "extract": _extract,
    "map": _map,
    "field_mapping": _map,
    "filter": _filter,
    "aggregate": _aggregate,
    "rename": _rename,
    "set": _set,
    "template": _template,
    "join": _join,
    "sort": _sort,
    "limit": _limit,
}
