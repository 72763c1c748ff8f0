"""Conditions, as text or as an object, decided over typed values (contract 13.4)."""

from collections.abc import Iterator, Mapping
from typing import Any

from core.expressions.errors import ExpressionError, ExpressionProblem
from core.expressions.grammar import Bare, parse_condition, placeholders_of, walk
from core.expressions.operators import LONE_OPERATORS, OPERATOR_NAMES, canonical_operator, compare
from core.expressions.paths import Scope, parse_data_path
from core.expressions.templates import OPEN, Reference, Run, check, references, resolve_within, to_references

_DEEPEST = 50
_LEFT = ("left", "left_value", "field")
_RIGHT = ("right", "right_value", "value")
_GROUPS = ("all", "any", "and", "or")


def evaluate_condition(
    condition: str | bool | dict[str, Any], scope: Scope, *, strict: bool = False, warnings: list[str] | None = None
) -> bool:
    """Decide a condition. Missing names are null and add a sentence to `warnings`.

    Text: the grammar of grammar.py. Objects: `{left|field|left_value, operator, right|value|right_value}`, where
    `field` is a dotted path and may be missing (then only not_equals, not_contains and not_exists hold);
    `{all: […]}`, `{any: […]}` and `{not: …}` nest.
    Raises ExpressionError: `bad_expression`, `unknown_operator`, `unknown_name` (strict), `evaluation_failed`.
    """
    run = Run(scope, strict, [] if warnings is None else warnings)
    return _decide(condition, run, 0)


def check_condition(condition: Any) -> list[ExpressionProblem]:
    """Return what is wrong with a condition, without deciding it. Text stops at its first problem."""
    return list(_problems(condition, (), 0))


def condition_references(condition: Any) -> list[Reference]:
    """Return the dotted paths that a condition uses. A text that cannot be read has none."""
    if isinstance(condition, dict):
        fields = [parse_data_path(text) for text in _fields(condition) if OPEN not in text]
        return [*references(condition), *to_references(iter(item for item in fields if item))]
    if not isinstance(condition, str):
        return []
    try:
        tree = parse_condition(condition)
    except ExpressionError:
        return []
    paths = [path for placeholder in placeholders_of(tree) for path in placeholder.references()]
    bare = [node.segments for node in walk(tree) if isinstance(node, Bare) and node.segments and len(node.segments) > 1]
    return to_references(iter([*paths, *bare]))


def _decide(condition: Any, run: Run, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ExpressionError("conditions are nested too deep", code="too_large")
    if isinstance(condition, bool):
        return condition
    if isinstance(condition, str):
        return bool(parse_condition(condition).value(run))
    if not isinstance(condition, dict):
        raise ExpressionError("a condition is text or an object", code="bad_expression")
    if (group := _group(condition)) is not None:
        name, parts = group
        results = (_decide(part, run, depth + 1) for part in parts)
        return all(results) if name in {"all", "and"} else any(results)
    if "not" in condition:
        return not _decide(condition["not"], run, depth + 1)
    return _compare(condition, run)


def _compare(condition: dict[str, Any], run: Run) -> bool:
    name = canonical_operator(_operator(condition))
    left = _left(condition, run)
    right = next((condition[key] for key in _RIGHT if key in condition), None)
    return compare(name, left, None if name in LONE_OPERATORS else resolve_within(right, run))


def _left(condition: dict[str, Any], run: Run) -> Any:
    for key in _LEFT:
        if key not in condition:
            continue
        value = condition[key]
        if key == "field" and isinstance(value, str) and OPEN not in value:
            segments = parse_data_path(value)
            return run.scope.find(segments) if segments else None
        return resolve_within(value, run)
    raise ExpressionError(f"a condition needs one of {', '.join(_LEFT)}", code="bad_expression")


def _operator(condition: Mapping[str, Any]) -> Any:
    """Return the operator as written: `operator`, or `type` where that is one (`{type, left, right}`)."""
    if "operator" in condition:
        return condition["operator"]
    kind = condition.get("type")
    return kind if isinstance(kind, str) and kind in OPERATOR_NAMES else condition.get("op", kind)


def _group(condition: dict[str, Any]) -> tuple[str, list[Any]] | None:
    for name in _GROUPS:
        if isinstance(parts := condition.get(name), list):
            return name, parts
    return None


def _problems(condition: Any, path: tuple[str | int, ...], depth: int) -> Iterator[ExpressionProblem]:
    try:
        if isinstance(condition, str):
            parse_condition(condition)
        elif not isinstance(condition, dict | bool):
            yield ExpressionProblem(path, 1, "a condition is text or an object", "bad_expression")
        elif depth > _DEEPEST:
            yield ExpressionProblem(path, 1, "conditions are nested too deep", "too_large")
        elif isinstance(condition, dict):
            yield from _object_problems(condition, path, depth)
    except ExpressionError as error:
        yield ExpressionProblem(path, error.column or 1, error.detail, error.code)


def _object_problems(condition: dict[str, Any], path: tuple[str | int, ...], depth: int) -> Iterator[ExpressionProblem]:
    if (group := _group(condition)) is not None:
        name, parts = group
        for index, part in enumerate(parts):
            yield from _problems(part, (*path, name, index), depth + 1)
    elif "not" in condition:
        yield from _problems(condition["not"], (*path, "not"), depth + 1)
    else:
        yield from (problem._replace(path=(*path, *problem.path)) for problem in check(condition))
        canonical_operator(_operator(condition))
        if not any(key in condition for key in _LEFT):
            raise ExpressionError(f"a condition needs one of {', '.join(_LEFT)}", code="bad_expression")


def _fields(condition: dict[str, Any]) -> Iterator[str]:
    if isinstance(field := condition.get("field"), str):
        yield field
    for part in (_group(condition) or ("", []))[1]:
        if isinstance(part, dict):
            yield from _fields(part)
