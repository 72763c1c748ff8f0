"""Conditions as text and as objects (contract 13.4)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.expressions import (
    MISSING,
    ExpressionError,
    Scope,
    check_condition,
    compare,
    condition_references,
    evaluate_condition,
)

SCOPE = Scope(
    {
        "trigger": {
            "count": "12",
            "status": "active",
            "tags": ["a", "b", 3],
            "user": {"email": "x@y"},
            "zero": 0,
            "yes": True,
            "nothing": None,
            "quote": "' or true or '",
            "version": "10",
        },
        "variables": {"limit": 10},
        "steps": {"extract_text": {"word_count": 150}},
    }
)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{{steps.extract_text.word_count}} > 10", True),  # seed 004
        ("{{steps.extract_text.word_count}} <= 149.5", False),
        ("{{trigger.count}} > 9", True),
        ("9 < {{trigger.count}}", True),
        ("{{trigger.count}} == 12.0", True),
        ("{{trigger.count}} == '12'", True),
        ("{{trigger.version}} > '9'", True),
        ("{{trigger.status}} > 5", False),
        ("{{trigger.status}} == 'active'", True),
        ('"{{trigger.status}}" == "active"', True),
        ("{{trigger.status}} == active", True),
        ("trigger.status != 'active'", False),
        ("{{trigger.yes}} == true", True),
        ("{{trigger.yes}} == 1", False),
        ("{{trigger.nothing}} == null", True),
        ("{{trigger.missing}} == null", True),
        ("{{trigger.missing}} > 1", False),
        ("{{trigger.tags}} contains 'a'", True),
        ("{{trigger.tags}} contains '3'", True),
        ("{{trigger.tags}} not contains 'z'", True),
        ("'act' in {{trigger.status}}", True),
        ("{{trigger.status}} in ['active', 'paused']", True),
        ("{{trigger.status}} not in []", True),
        ("{{trigger.user}} contains 'email'", True),
        ("{{trigger.status}} contains ''", True),
        ("{{trigger.zero}}", False),
        ("not {{trigger.zero}}", True),
        ("{{trigger.tags}}", True),
        ("true and false or true", True),
        ("true or true and false", True),
        ("(true or true) and false", False),
        ("not true or true", True),
        ("not (true or true)", False),
        ("NOT {{trigger.zero}} AND {{trigger.yes}}", True),
        ("({{limit}} >= 10) == true", True),
        ("{{ trigger.tags|length > 2 and limit == 10 }}", True),
        ("{{ trigger.tags|length }} == 3", True),
        ("-1 < 0 and 1e3 == 1000", True),
        ("'it\\'s' == \"it's\"", True),
        ("{{trigger.user.email}} exists and {{trigger.x}} not_exists", True),
        ("{{trigger.user.email}} not exists", False),
        ("{{limit}} greater_or_equal 10", True),
    ],
)
def test_text_conditions(condition: str, holds: bool) -> None:
    assert evaluate_condition(condition, SCOPE) is holds
    assert check_condition(condition) == []


@pytest.mark.parametrize(
    "condition", ["{{trigger.quote}} == 'x'", "'{{trigger.quote}}' == 'x'", "{{trigger.quote}} == ''"]
)
def test_a_value_never_becomes_part_of_the_grammar(condition: str) -> None:
    assert evaluate_condition(condition, SCOPE) is False


def test_an_expression_in_a_value_is_not_run() -> None:
    names = Scope({"trigger": {"a": "{{env.TOKEN}}"}, "env": {"TOKEN": "t"}})

    assert evaluate_condition("{{trigger.a}} == 't'", names) is False
    assert evaluate_condition({"left": "{{trigger.a}}", "operator": "equals", "right": "t"}, names) is False


def test_later_parts_are_not_looked_at_once_the_answer_is_known() -> None:
    warnings: list[str] = []

    assert evaluate_condition("false and {{trigger.nope}}", SCOPE, warnings=warnings) is False
    assert evaluate_condition("true or {{trigger.nope}}", SCOPE, warnings=warnings) is True
    assert warnings == []
    assert evaluate_condition("true and {{trigger.stats}}", SCOPE, warnings=warnings) is False
    assert warnings == ["trigger.stats: nothing called 'stats' in trigger; did you mean trigger.status?"]


def test_a_strict_condition_refuses_unknown_names() -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate_condition("{{trigger.stats}} == 1", SCOPE, strict=True)
    assert caught.value.code == "unknown_name"


@pytest.mark.parametrize(
    ("condition", "code", "column"),
    [
        ("{{limit}} === 3", "unknown_operator", 11),
        ("{{limit}} = 3", "unknown_operator", 11),
        ("{{limit}} resembles 3", "unknown_operator", 11),
        ("{{limit}} not like 3", "unknown_operator", 11),
        ("{{limit}} >", "bad_expression", 12),
        ("", "bad_expression", 1),
        ("{{limit}} 3", "bad_expression", 11),
        ("1 < 2 < 3", "bad_expression", 7),
        ("(1 == 1", "bad_expression", 8),
        ("1 == 1)", "bad_expression", 7),
        ("1 in [1 2]", "bad_expression", 9),
        ("'open == 1", "bad_expression", 1),
        ("{{limit == 1", "bad_expression", 1),
        ("1 == {{ 1 + }}", "bad_expression", 11),
        ("1 == '{{ a|uper }}'", "not_allowed", 12),
        ("1 == $", "bad_expression", 6),
        ("(" * 60 + "1" + ")" * 60, "too_large", 51),
        ("not " * 60 + "1", "too_large", 201),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_column(condition: str, code: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate_condition(condition, SCOPE)
    assert (caught.value.code, caught.value.column) == (code, column)
    [problem] = check_condition(condition)
    assert (problem.path, problem.column, problem.code) == ((), column, code)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"left": "{{trigger.count}}", "operator": "greater_than", "right": 9}, True),
        ({"field": "trigger.status", "operator": "equals", "value": "active"}, True),
        ({"field": "status", "operator": "==", "value": "{{trigger.status}}"}, True),
        ({"field": "{{trigger.status}}", "operator": "not_equals", "value": "x"}, True),
        ({"type": "less_than", "left": 1, "right": "2"}, True),
        ({"type": "field_check", "field": "trigger.tags", "operator": "contains", "value": "b"}, True),
        ({"left_value": "{{limit}}", "operator": "less_or_equal", "right_value": "10"}, True),
        ({"field": "trigger.user.email", "operator": "exists"}, True),
        ({"field": "trigger.nope", "operator": "not_exists"}, True),
        ({"field": "trigger.nope", "operator": "not_equals", "value": None}, True),
        ({"field": "trigger.nope", "operator": "equals", "value": None}, False),
        ({"field": "trigger.nope", "operator": "not_in", "value": []}, False),
        ({"field": "trigger.tags", "operator": "not_contains", "value": "a"}, False),
        ({"left": "a", "operator": "in", "right": ["{{trigger.status}}", "a"]}, True),
        ({"all": [True, {"any": [False, "{{limit}} == 10"]}, {"not": "{{trigger.zero}}"}]}, True),
        ({"all": []}, True),
        ({"any": []}, False),
        (True, True),
    ],
)
def test_object_conditions(condition: object, holds: bool) -> None:
    assert evaluate_condition(condition, SCOPE) is holds
    assert check_condition(condition) == []


@pytest.mark.parametrize(
    ("condition", "code", "path"),
    [
        ({"left": 1, "operator": "resembles", "right": 1}, "unknown_operator", ()),
        ({"left": 1}, "unknown_operator", ()),
        ({"operator": "equals", "right": 1}, "bad_expression", ()),
        ({"all": [True, {"not": "1 =="}]}, "bad_expression", ("all", 1, "not")),
        (7, "bad_expression", ()),
    ],
)
def test_wrong_objects_are_coded_errors(condition: object, code: str, path: tuple) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate_condition(condition, SCOPE)
    assert caught.value.code == code
    assert [(problem.path, problem.code) for problem in check_condition(condition)] == [(path, code)]


def test_an_unknown_operator_is_refused_even_for_a_missing_value() -> None:
    with pytest.raises(ExpressionError, match="did you mean 'equals'"):
        compare("equal", MISSING, 1)


def test_references_of_conditions() -> None:
    assert condition_references("{{steps.a.x}} > 1 and steps.b.y == pdf and '{{trigger.z}}' == ''") == [
        ("steps", "steps.a.x"),
        ("trigger", "trigger.z"),
        ("steps", "steps.b.y"),
    ]
    assert condition_references({"all": [{"field": "steps.c.x", "operator": "exists", "value": "{{steps.d}}"}]}) == [
        ("steps", "steps.d"),
        ("steps", "steps.c.x"),
    ]
    assert condition_references("((") == []


@given(st.text(alphabet="{}'\"\\()[],=!<> andortxi.1-\n", max_size=40))
def test_any_text_is_decided_or_a_coded_error(text: str) -> None:
    problems = check_condition(text)

    if not problems:
        with contextlib.suppress(ExpressionError):  # 1 / 0 in braces, which only running shows
            assert evaluate_condition(text, SCOPE) in {True, False}
    else:
        with pytest.raises(ExpressionError) as caught:
            evaluate_condition(text, SCOPE)
        assert [(caught.value.code, caught.value.column)] == [(item.code, item.column) for item in problems]


NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False))


@given(NUMBERS, NUMBERS)
def test_numbers_compare_as_numbers_when_one_side_is_text(left: float, right: float) -> None:
    assert compare(">", str(left), right) is (left > right)
    assert compare("==", left, str(right)) is (left == right)
    assert compare("<=", str(left), str(right)) is (left <= right)
