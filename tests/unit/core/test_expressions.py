"""Filling in `{{ … }}` (contract 13.1)."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest

from core.expressions import ExpressionError, Scope, check, references, resolve


class Loaded(Mapping):
    """A mapping that reads its content when first asked, as spilled outputs do."""

    def __init__(self, content: dict) -> None:
        self.content = content
        self.loads = 0

    def __getitem__(self, key: str) -> object:
        self.loads += 1
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        self.loads += 1
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def scope(**roots: object) -> Scope:
    return Scope(
        {
            "execution_id": 789,
            "workflow_id": 123,
            "trigger": {"file_id": "123", "user": {"id": 5}, "items": [{"n": 1}, {"n": 2}], "nothing": None},
            "variables": {"api_endpoint": "https://api.example.com", "file_id": "from variables"},
            "steps": {"extract-text": {"word_count": 150}, "node_1": {"body": {"id": 9}}},
            "env": {"TOKEN": "t"},
            **roots,
        }
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{execution_id}}", 789),
        ("{{ trigger.user }}", {"id": 5}),
        ("{{trigger.items.1.n}}", 2),
        ("{{trigger.items}}", [{"n": 1}, {"n": 2}]),
        ("{{steps.extract-text.word_count}}", 150),
        ("{{trigger.nothing}}", None),
        ("{{api_endpoint}}", "https://api.example.com"),
        ("{{file_id}}", "from variables"),
        ("{{user.id}}", 5),
        ("{{node_1.body.id}}", 9),
        ("{{node_1.output.body.id}}", 9),
        ("{{true}}", True),
        ("{{null}}", None),
        ("{{1.5}}", 1.5),
    ],
)
def test_a_string_that_is_one_expression_gives_the_value_with_its_type(text: str, value: object) -> None:
    resolved = resolve(text, scope())

    assert resolved.value == value
    assert type(resolved.value) is type(value)
    assert resolved.warnings == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://x/{{trigger.user.id}}?e={{ execution_id }}", "https://x/5?e=789"),
        ("got {{trigger.user}}", 'got {"id":5}'),
        ("[{{trigger.nothing}}]", "[]"),
        (" {{true}}", " true"),
        ("{{execution_id}}{{execution_id}}", "789789"),
        ("{{ '{{' }} literal", "{{ literal"),
        ("no expression", "no expression"),
        ("{{ not closed", "{{ not closed"),
        ("{% if x %}", "{% if x %}"),
    ],
)
def test_text_takes_values_as_text(text: str, expected: str) -> None:
    assert resolve(text, scope()).value == expected


def test_every_string_at_any_depth_is_filled_in_and_keys_stay() -> None:
    value = {"a": [{"{{execution_id}}": "{{execution_id}}"}, 3, None], "b": True}

    assert resolve(value, scope()).value == {"a": [{"{{execution_id}}": 789}, 3, None], "b": True}


def test_values_that_look_like_expressions_or_numbers_are_not_read_again() -> None:
    # given
    names = scope(trigger={"a": "{{env.TOKEN}}", "phone": "4915112345678", "list": "[1,2]"})

    # then
    assert resolve("{{trigger.a}}", names).value == "{{env.TOKEN}}"
    assert resolve("x {{trigger.a}}", names).value == "x {{env.TOKEN}}"
    assert resolve("{{trigger.a|upper|lower}}", names).value == "{{env.token}}"
    assert resolve("{{trigger.phone}}", names).value == "4915112345678"
    assert resolve("{{trigger.list|trim}}", names).value == "[1,2]"


@pytest.mark.parametrize(
    ("text", "value", "warning"),
    [
        (
            "{{trigger.fil_id}}",
            None,
            "trigger.fil_id: nothing called 'fil_id' in trigger; did you mean trigger.file_id?",
        ),
        ("a{{trigger.user.nme}}b", "ab", "trigger.user.nme: nothing called 'nme' in trigger.user"),
        ("a{{trigger.items.7.n}}b", "ab", "trigger.items.7.n: no item 7 in trigger.items, which has 2"),
        ("{{trigger.nothing.x}}", None, "trigger.nothing.x: nothing called 'x' in trigger.nothing, which is null"),
        ("a{{item.x}}b", "ab", "item.x: 'item' has no value here"),
        ("{{tigger.x}}", None, "tigger.x: unknown name 'tigger'; did you mean trigger?"),
        ("a {{ zzz.x }} b", "a {{ zzz.x }} b", "zzz.x: unknown name 'zzz'"),
        ("{{ trigger.usr.id + 1 }}", None, "trigger.usr.id + 1: nothing called 'usr'; did you mean user?"),
        ("a{{ zzz|upper }}", "a{{ zzz|upper }}", "zzz|upper: zzz: unknown name 'zzz'"),
        ("Hi {{#each items}}", "Hi {{#each items}}", "{{#each items}}: unexpected char '#'"),
    ],
)
def test_an_unknown_name_leaves_a_warning_and_fails_only_if_strict(text: str, value: object, warning: str) -> None:
    resolved = resolve({"k": text}, scope())

    assert resolved.value == {"k": value}
    assert resolved.warnings == [warning]
    with pytest.raises(ExpressionError) as caught:
        resolve(text, scope(), strict=True)
    assert caught.value.code == ("bad_expression" if "#" in text else "unknown_name")


def test_keys_come_before_attributes_and_methods_do_not_exist() -> None:
    names = scope(now=datetime(2025, 1, 8, 10, tzinfo=UTC))

    assert resolve("{{trigger.items.0.n}}", names).value == 1
    assert resolve("{{now.year}}", names).value == 2025
    assert resolve("{{now}}", names).value == "2025-01-08T10:00:00Z"
    assert resolve("{{trigger.keys}}", names).value is None
    assert resolve("{{now.isoformat}}", names).value is None


def test_lazy_mappings_load_only_when_their_path_is_used() -> None:
    # given
    big, other = Loaded({"json": {"id": 1}}), Loaded({"x": 1})
    names = scope(steps={"big": big, "other": other})

    # when
    value = resolve("{{steps.big.json.id}}", names).value

    # then
    assert (value, big.loads, other.loads) == (1, 1, 0)
    assert resolve("{{steps.big}}", names).value == {"json": {"id": 1}}
    assert resolve("{{steps}}", names).value == {"big": {"json": {"id": 1}}, "other": {"x": 1}}
    assert resolve("x{{steps}}", names).value == 'x{"big":{"json":{"id":1}},"other":{"x":1}}'


def test_loop_roots_extend_a_scope_without_changing_it() -> None:
    outer = scope()
    inner = outer.extended(item={"n": 4}, index=2)

    assert resolve(["{{item.n}}", "{{index}}"], inner).value == [4, 2]
    assert resolve("{{item.n}}", outer).value is None


def test_text_over_one_mebibyte_is_refused_and_an_exact_value_is_not() -> None:
    names = scope(trigger={"big": "x" * (1024 * 1024)})

    assert len(resolve("{{trigger.big}}", names).value) == 1024 * 1024
    with pytest.raises(ExpressionError, match="over 1048576") as caught:
        resolve("{{trigger.big}}!", names)
    assert caught.value.code == "too_large"


def test_check_reports_every_problem_with_its_place() -> None:
    # given
    value = {
        "url": "ok {{trigger.a}}",
        "list": ["x {{ a | uper }}", "{{ trigger.a + }}"],
        "stmt": "ab{% for x in y %}",
        "open": "a {{ b",
        "call": "{{ trigger.a.replace('a', 'b') }}",
    }

    # when
    problems = check(value)

    # then
    assert [(p.path, p.column, p.message, p.code) for p in problems] == [
        (("list", 0), 10, "there is no filter 'uper'; did you mean 'upper'?", "not_allowed"),
        (("list", 1), 14, "unexpected end of the expression", "bad_expression"),
        (("stmt",), 3, "{% %} is not part of expressions", "not_allowed"),
        (("open",), 3, "{{ has no closing }}", "bad_expression"),
        (("call",), 21, "only listed functions can be called: range, len, min, max", "not_allowed"),
    ]


def test_references_are_the_dotted_paths_once_each_in_order() -> None:
    value = ["{{steps.a.x}} {{ steps['b'].y[0] ~ steps.a.x }}", "{{ range(3)|map('string') }}", "{{ null or user.id }}"]

    assert references(value) == [("steps", "steps.a.x"), ("steps", "steps.b.y.0"), ("user", "user.id")]
