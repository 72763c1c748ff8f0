"""The transformations of `data_transform` (contract 13.3)."""

import copy

import pytest

from core.expressions import ExpressionError, Scope
from workflows.engine.transformations import TransformError, transform

SCOPE = Scope({"trigger": {"limit": 2, "kind": "fruit", "evil": "{{env.TOKEN}}"}, "env": {"TOKEN": "t"}, "steps": {}})
SOURCE = {
    "data": {
        "items": [
            {"name": "pear", "kind": "fruit", "price": "2.5", "stock": {"n": 3}},
            {"name": "leek", "kind": "vegetable", "price": 10, "stock": {"n": 0}},
            {"name": "fig", "kind": "fruit", "price": 0.1, "stock": {"n": 12}},
            {"name": "kiwi", "kind": "fruit", "price": None},
        ],
        "total": 4,
    },
    "user": {"first": "Ada"},
}
ITEMS = SOURCE["data"]["items"]


def run(*transformations: dict, source: object = SOURCE, **options: object) -> dict:
    return transform(source, list(transformations), scope=SCOPE, **options)


def result(*transformations: dict, source: object = SOURCE) -> object:
    return run(*transformations, source=source)["result"]


def names(items: list) -> list[str]:
    return [item["name"] for item in items]


def test_extract_stores_the_value_at_a_path_under_its_key() -> None:
    # the seed's example
    assert run({"type": "extract", "path": "data.items", "key": "processed_items"}) == {
        "processed_items": ITEMS,
        "result": ITEMS,
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [("data.items.0.name", "pear"), ("data.items[1].stock.n", 0), ("$.user.first", "Ada"), ("", SOURCE)],
)
def test_extract_reads_indexes_and_roots(path: str, value: object) -> None:
    assert result({"type": "extract", "path": path}) == value


def test_a_missing_path_gives_the_default_or_null_with_a_warning_and_fails_if_strict() -> None:
    # given
    warnings: list[str] = []
    missing = {"type": "extract", "path": "data.nope", "key": "x"}

    # then
    assert run({**missing, "default": []}, warnings=warnings) == {"x": [], "result": []}
    assert warnings == []
    assert run(missing, warnings=warnings) == {"x": None, "result": None}
    assert warnings == ["data.nope: nothing there in the data"]
    with pytest.raises(TransformError) as caught:
        run(missing, strict=True)
    assert caught.value.code == "unknown_name"


def test_each_works_on_the_one_before_and_sees_earlier_keys() -> None:
    assert run(
        {"type": "extract", "path": "data.items", "key": "all"},
        {"type": "filter", "field": "kind", "operator": "equals", "value": "{{trigger.kind}}", "key": "fruit"},
        {"type": "sort", "field": "name", "key": "sorted"},
        {"type": "limit", "count": "{{trigger.limit}}"},
        {"type": "aggregate", "path": "all", "operation": "count", "key": "count"},
        {"type": "template", "template": "{{count}} in all, first {{sorted.0.name}} of {{ limit|length }}, {{result}}"},
    ) == {
        "all": ITEMS,
        "fruit": [ITEMS[0], ITEMS[2], ITEMS[3]],
        "sorted": [ITEMS[2], ITEMS[3], ITEMS[0]],
        "limit": [ITEMS[2], ITEMS[3]],
        "count": 4,
        "template": "4 in all, first fig of 2, 4",
        "result": "4 in all, first fig of 2, 4",
    }


def test_keys_default_to_the_type_and_stay_apart() -> None:
    assert run({"type": "set", "value": 1}, {"type": "set", "value": 2}, {"type": "set", "value": 3, "key": "x"}) == {
        "set": 1,
        "set_2": 2,
        "x": 3,
        "result": 3,
    }


@pytest.mark.parametrize("kind", ["map", "field_mapping"])
def test_map_builds_objects_from_paths_expressions_and_constants(kind: str) -> None:
    # given
    mapping = {"title": "name", "left": "stock.n", "label": "{{index}}:{{item.name}}", "flag": True}

    # then
    assert result({"type": "extract", "path": "data.items"}, {"type": kind, "mapping": mapping})[2:] == [
        {"title": "fig", "left": 12, "label": "2:fig", "flag": True},
        {"title": "kiwi", "left": None, "label": "3:kiwi", "flag": True},
    ]
    assert result({"type": kind, "mapping": {"who": "user.first", "n": "data.total"}}) == {"who": "Ada", "n": 4}


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        ({"field": "price", "operator": "greater_than", "value": 2}, ["pear", "leek"]),
        ({"field": "price", "operator": ">=", "value": "2.5"}, ["pear", "leek"]),
        ({"field": "stock.n", "operator": "exists"}, ["pear", "leek", "fig"]),
        ({"field": "stock.n", "operator": "not_equals", "value": 3}, ["leek", "fig", "kiwi"]),
        ({"field": "name", "operator": "in", "value": ["fig", "leek"]}, ["leek", "fig"]),
        ({"field": "kind", "value": "vegetable"}, ["leek"]),
        ({"condition": "{{item.price}} > 1 and item.kind == 'fruit'"}, ["pear"]),
    ],
)
def test_filter_uses_the_operators_of_conditions(spec: dict, kept: list[str]) -> None:
    assert names(result({"type": "filter", "path": "data.items", **spec})) == kept


def test_filter_of_plain_values_needs_no_field() -> None:
    assert result({"type": "filter", "operator": ">", "value": 1}, source=[1, 2, "3", None]) == [2, "3"]


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        ("count", None, 4),
        ("count", "price", 3),
        ("sum", "price", 12.6),
        ("sum", "stock.n", 15),
        ("avg", "stock.n", 5.0),
        ("min", "price", 0.1),
        ("max", "price", 10),
        ("min", "name", "fig"),
    ],
)
def test_aggregate(operation: str, field: str | None, value: object) -> None:
    found = result({"type": "aggregate", "path": "data.items", "operation": operation, "field": field})

    assert found == value
    assert type(found) is type(value)


def test_aggregates_of_nothing_and_of_prices() -> None:
    assert [result({"type": "aggregate", "operation": name}, source=[]) for name in ("count", "sum", "avg", "min")] == [
        0,
        0,
        None,
        None,
    ]
    assert result({"type": "aggregate", "operation": "sum"}, source=[0.1, 0.2, ""]) == 0.3


def test_rename_keeps_order_and_the_source() -> None:
    # given
    before = copy.deepcopy(SOURCE)

    # when
    renamed = result({"type": "rename", "path": "data.items", "mapping": {"name": "title"}})

    # then
    assert [next(iter(item)) for item in renamed] == ["title"] * 4
    assert result({"type": "rename", "path": "user", "from": "first", "to": "given"}) == {"given": "Ada"}
    assert before == SOURCE


def test_join() -> None:
    assert result({"type": "join", "path": "data.items", "field": "name"}) == "pear, leek, fig, kiwi"
    assert result({"type": "join", "separator": "-"}, source=[1, None, {"a": 1}]) == '1--{"a":1}'


def test_sort_orders_numbers_as_numbers_null_first_and_either_way() -> None:
    assert names(result({"type": "sort", "path": "data.items", "field": "price"})) == ["kiwi", "fig", "pear", "leek"]
    assert names(result({"type": "sort", "path": "data.items", "field": "price", "order": "desc"}))[0] == "leek"
    assert result({"type": "sort"}, source=["b", 10, "9", None, "a", [1], True]) == [None, True, "9", 10, "a", "b", [1]]


def test_limit_takes_count_after_offset() -> None:
    assert result({"type": "limit", "limit": "2", "offset": 1}, source=[1, 2, 3, 4]) == [2, 3]


def test_values_are_never_read_as_expressions() -> None:
    # given
    hostile = {"a": "{{env.TOKEN}}", "rows": [{"a": "{{env.TOKEN}}"}]}

    # then
    assert run(
        {"type": "extract", "path": "a", "key": "x"},
        {"type": "set", "value": "{{x}}", "key": "y"},
        {"type": "template", "template": "<{{y}}>", "key": "z"},
        {"type": "set", "value": "{{trigger.evil}}", "key": "w"},
        {"type": "map", "path": "rows", "mapping": {"b": "{{item.a}}"}},
        source=hostile,
    ) == {
        "x": "{{env.TOKEN}}",
        "y": "{{env.TOKEN}}",
        "z": "<{{env.TOKEN}}>",
        "w": "{{env.TOKEN}}",
        "map": [{"b": "{{env.TOKEN}}"}],
        "result": [{"b": "{{env.TOKEN}}"}],
    }


def test_no_transformation_gives_the_source() -> None:
    assert run() == {"result": SOURCE}


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"type": "explode"}, "unknown_transformation"),
        ({}, "unknown_transformation"),
        ("extract", "unknown_transformation"),
        ({"type": ["extract"]}, "unknown_transformation"),
        ({"type": "extract"}, "transformation_invalid"),
        ({"type": "map", "mapping": ["a"]}, "transformation_invalid"),
        ({"type": "filter", "path": "user", "field": "a", "value": 1}, "transformation_invalid"),
        ({"type": "filter", "path": "none", "operator": "resembles", "value": 1}, "unknown_operator"),
        ({"type": "aggregate", "path": "data.items", "operation": "median"}, "transformation_invalid"),
        ({"type": "aggregate", "path": "data.items", "operation": "sum", "field": "name"}, "transformation_invalid"),
        ({"type": "limit", "path": "data.items"}, "transformation_invalid"),
        ({"type": "limit", "path": "data.items", "count": -1}, "transformation_invalid"),
        ({"type": "set", "value": "{{ trigger.kind|uper }}"}, "not_allowed"),
    ],
)
def test_what_cannot_be_done_is_a_coded_error(spec: object, code: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        run(spec)
    assert caught.value.code == code
