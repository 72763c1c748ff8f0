"""The transformations of a `data_transform` step (contract 13.3): pure functions over JSON values."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core.expressions import (
    MISSING,
    ExpressionError,
    JsonValue,
    Scope,
    canonical_operator,
    compare,
    evaluate_condition,
    number_of,
    parse_data_path,
    read,
    resolve,
    sort_key,
    text_of,
)

DEFAULT_SEPARATOR = ", "


class TransformError(ExpressionError):
    """A transformation that cannot be done. Codes: `unknown_transformation`, `transformation_invalid`."""


@dataclass
class Data:
    """What a transformation works on. `current` is the value before it: the source, then each result."""

    source: Any
    scope: Scope
    strict: bool
    warnings: list[str]
    current: Any = None
    results: dict[str, Any] = field(default_factory=dict)

    def find(self, path: Any) -> Any:
        """Return the value at a path: an earlier key, else in the source; without a path the current value."""
        if path is None:
            return self.current
        segments = parse_data_path(text_of(path))
        if not segments:
            return self.current
        found = read(self.results, segments)
        return read(self.source, segments) if found is MISSING else found

    def found(self, path: Any) -> Any:
        """Return the value at a path; null with a warning where there is none."""
        value = self.find(path)
        if value is not MISSING:
            return value
        sentence = f"{path}: nothing there in the data"
        if self.strict:
            raise TransformError(sentence, code="unknown_name")
        self.warnings.append(sentence)
        return None

    def fill(self, value: Any, **roots: Any) -> Any:
        """Resolve the expressions of a setting; bare names see the earlier keys."""
        filled = resolve(value, self.seen(**roots), strict=self.strict)
        self.warnings += filled.warnings
        return filled.value

    def seen(self, **roots: Any) -> Scope:
        """Return the scope with the earlier keys as bare names, and `source` and `result` (the current value)."""
        return self.scope.with_variables(self.results).extended(source=self.source, result=self.current, **roots)


Spec = dict[str, Any]


def transform(
    source: JsonValue,
    transformations: list[dict[str, Any]],
    *,
    scope: Scope,
    strict: bool = False,
    warnings: list[str] | None = None,
) -> dict[str, Any]:
    """Apply transformations in turn; return one key per transformation, and `result`, the last value.

    `transformations` are as the author wrote them, their expressions NOT yet resolved: each is resolved here, once,
    when its turn comes, so that it sees earlier keys. Without `path` one works on the value of the one before it.
    The key is `key`, else the type (`extract`, `extract_2`, …).
    Raises TransformError, and ExpressionError of an expression in a setting.
    """
    data = Data(source, scope, strict, [] if warnings is None else warnings, current=source)
    for index, spec in enumerate(transformations):
        kind = spec.get("type") if isinstance(spec, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            known = ", ".join(KINDS)
            raise TransformError(
                f"transformation {index + 1} has the unknown type {kind!r}; known are {known}",
                code="unknown_transformation",
            )
        data.current = KINDS[kind](spec, data)
        data.results[_key(spec, kind, data.results)] = data.current
    return {**data.results, "result": data.current}


def extract(spec: Spec, data: Data) -> Any:
    """Return the value at `path`, else `default` (null with a warning)."""
    path = data.fill(_required(spec, "path"))
    found = data.find(path)
    if found is MISSING and "default" in spec:
        return data.fill(spec["default"])
    return data.found(path) if found is MISSING else found


def map_fields(spec: Spec, data: Data) -> Any:
    """Build objects by `mapping` {target: path}; a list gives a list, one object per item.

    A target's value may also be an expression (`item` is the item) or a constant that is not text.
    """
    mapping = _mapping(spec)
    values = data.found(_path(spec, data))
    if isinstance(values, list):
        return [_mapped(mapping, item, index, data) for index, item in enumerate(values)]
    return _mapped(mapping, values, 0, data)


def filter_items(spec: Spec, data: Data) -> list[Any]:
    """Keep the items for which `field operator value` holds, or the text in `condition` (with `item`, `index`)."""
    items = _items(spec, data)
    if "condition" in spec:
        condition = spec["condition"]
        return [item for index, item in enumerate(items) if _holds(condition, item, index, data)]
    operator, value = canonical_operator(spec.get("operator", "equals")), data.fill(spec.get("value"))
    segments = _segments(spec, "field", data)
    return [item for item in items if compare(operator, read(item, segments), value)]


def aggregate(spec: Spec, data: Data) -> Any:
    """Return count, sum, avg, min or max of the items' `field`; null and empty text do not count."""
    name = spec.get("operation", "count")
    segments = _segments(spec, "field", data)
    items = _items(spec, data)
    if name == "count" and not segments:
        return len(items)
    values = [value for item in items if (value := read(item, segments)) not in (MISSING, None, "")]
    if name not in AGGREGATES:
        raise _invalid(f"aggregate knows {', '.join(AGGREGATES)}, not {name!r}")
    return AGGREGATES[name](values)


def rename(spec: Spec, data: Data) -> Any:
    """Rename keys of an object, or of each object in a list: `mapping` {old: new}, or `from` and `to`."""
    names = {spec["from"]: spec.get("to")} if "from" in spec else _mapping(spec)
    names = {str(old): text_of(data.fill(new)) for old, new in names.items()}
    value = data.found(_path(spec, data))
    return [_renamed(item, names) for item in value] if isinstance(value, list) else _renamed(value, names)


def set_value(spec: Spec, data: Data) -> Any:
    """Return `value` as given."""
    return data.fill(_required(spec, "value"))


def template(spec: Spec, data: Data) -> str:
    """Return the text of `template`."""
    return text_of(data.fill(_required(spec, "template")))


def join(spec: Spec, data: Data) -> str:
    """Return the items (or their `field`) as one text, `separator` between them."""
    separator = text_of(data.fill(spec.get("separator", DEFAULT_SEPARATOR)))
    segments = _segments(spec, "field", data)
    values = [read(item, segments) for item in _items(spec, data)]
    return separator.join(text_of(None if value is MISSING else value) for value in values)


def sort(spec: Spec, data: Data) -> list[Any]:
    """Order items by `field`; `order` desc (or `descending` true) turns it round. Equal ones keep their order."""
    segments = _segments(spec, "field", data)
    descending = str(spec.get("order", "asc")).lower() in {"desc", "descending"}
    descending = descending or any(spec.get(name) is True for name in ("descending", "reverse"))
    return sorted(_items(spec, data), key=lambda item: sort_key(read(item, segments)), reverse=descending)


def limit(spec: Spec, data: Data) -> list[Any]:
    """Keep `count` (or `limit`) items after the first `offset`."""
    count = _whole(data.fill(spec.get("count", spec.get("limit"))), "count")
    offset = _whole(data.fill(spec.get("offset", 0)), "offset")
    return _items(spec, data)[offset : offset + count]


KINDS: dict[str, Callable[[Spec, Data], Any]] = {
    "extract": extract,
    "map": map_fields,
    "field_mapping": map_fields,
    "filter": filter_items,
    "aggregate": aggregate,
    "rename": rename,
    "set": set_value,
    "template": template,
    "join": join,
    "sort": sort,
    "limit": limit,
}


# --- Settings --------------------------------------------------------------------------------


def _key(spec: Spec, kind: str, taken: Iterable[str]) -> str:
    if isinstance(key := spec.get("key"), str) and key:
        return key
    names = set(taken)
    number = next(number for number in range(1, len(names) + 2) if _numbered(kind, number) not in names)
    return _numbered(kind, number)


def _numbered(kind: str, number: int) -> str:
    return kind if number == 1 else f"{kind}_{number}"


def _required(spec: Spec, name: str) -> Any:
    if name not in spec:
        raise _invalid(f"{spec['type']} needs {name!r}")
    return spec[name]


def _mapping(spec: Spec) -> dict[str, Any]:
    mapping = _required(spec, "mapping")
    if not isinstance(mapping, dict):
        raise _invalid("mapping must be an object")
    return mapping


def _path(spec: Spec, data: Data) -> Any:
    return data.fill(spec.get("path"))


def _segments(spec: Spec, name: str, data: Data) -> tuple[str, ...]:
    return parse_data_path(text_of(data.fill(spec.get(name))))


def _items(spec: Spec, data: Data) -> list[Any]:
    value = data.found(_path(spec, data))
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(f"{spec['type']} needs a list, not {type(value).__name__}")
    return value


def _whole(value: Any, name: str) -> int:
    number = number_of(value)
    if number is None or number != number // 1 or number < 0:
        raise _invalid(f"limit needs a whole number from 0 as {name!r}")
    return int(number)


def _invalid(message: str) -> TransformError:
    return TransformError(message, code="transformation_invalid")


# --- One item --------------------------------------------------------------------------------


def _mapped(mapping: dict[str, Any], item: Any, index: int, data: Data) -> dict[str, Any]:
    return {target: _mapped_value(wanted, item, index, data) for target, wanted in mapping.items()}


def _mapped_value(wanted: Any, item: Any, index: int, data: Data) -> Any:
    if not isinstance(wanted, str) or "{{" in wanted:
        return data.fill(wanted, item=item, index=index)
    found = read(item, parse_data_path(wanted))
    return None if found is MISSING else found


def _holds(condition: Any, item: Any, index: int, data: Data) -> bool:
    seen = data.seen(item=item, index=index)
    return evaluate_condition(condition, seen, strict=data.strict, warnings=data.warnings)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {names.get(key, key): item for key, item in value.items()}


# --- Aggregates ------------------------------------------------------------------------------


def _numbers(values: list[Any]) -> list[int | float]:
    numbers = [number_of(value) for value in values]
    wrong = next((value for value, number in zip(values, numbers, strict=True) if number is None), None)
    if wrong is not None:
        raise _invalid(f"aggregate needs numbers, not {type(wrong).__name__}")
    return [number for number in numbers if number is not None]


def _sum(values: list[Any]) -> int | float:
    numbers = _numbers(values)
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    # As decimals: 0.1 + 0.2 is 0.3 to whoever adds up prices.
    return float(sum(Decimal(str(number)) for number in numbers))


def _average(values: list[Any]) -> float | None:
    return _sum(values) / len(values) if values else None


def _extreme(choose: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    return lambda values: choose(values, key=sort_key, default=None)


AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": _sum,
    "avg": _average,
    "min": _extreme(min),
    "max": _extreme(max),
}
