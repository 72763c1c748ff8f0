"""Definitions that nobody should have sent: every one is refused in bounded time, with its place and its code."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DomainError, InvalidInput
from core.expressions import ExpressionError, Scope, evaluate_condition
from tests import factories
from workflows import services
from workflows.engine import definition, validation
from workflows.engine.program import compile_program
from workflows.models import Workflow, WorkflowVersion

# A body may hold thousands of everything; to judge it must never take long enough to hold a web thread. Counted in time
# of the processor, which nobody else takes away.
MOST_SECONDS = 5.0
WRONG_TYPES: list[Any] = [None, True, 0, -1, 1.5, 2**64, "", "text", [], [1], {}, {"a": 1}, [[]], "{{trigger.x}}"]
STEP_FIELDS = [
    *("name", "id", "type", "config", "when", "depends_on", "retry", "max_retries"),
    *("timeout_seconds", "on_error", "continue_on_error", "effect", "compensate"),
]
CONFIG_FIELDS = ["condition", "true_action", "false_action", "left", "operator", "right"]
ACTION_FIELDS = ["name", "type", "config", "steps", "skip_to_step", "effect"]


def judge(steps: Any, **config: Any) -> list[definition.DefinitionProblem]:
    """Return the problems of a definition; one without errors must also compile, as an execution will do."""
    workflow = Workflow(workflow_config={"steps": steps, **config})
    canonical = definition.canonical(workflow)
    problems = validation.problems_of(canonical)
    if not any(problem.severity == "error" for problem in problems):
        compile_program(canonical)
    return problems


def errors(steps: Any, **config: Any) -> list[tuple[str, str]]:
    return [(item.pointer, item.code) for item in judge(steps, **config) if item.severity == "error"]


def refusal_of(call: Callable[[], object]) -> InvalidInput | None:
    """Return the refusal of a call that may be refused, but must not fail in any other way."""
    try:
        call()
    except InvalidInput as refusal:
        return refusal
    return None


def conditional(action: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "type": "conditional", "config": {"condition": "true", "true_action": action}}]


@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("field", STEP_FIELDS)
def test_every_field_of_a_step_may_have_any_type_without_a_crash(field: str, value: Any) -> None:
    judge([{"name": "a", "type": "log", "config": {}, field: value}])


@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("field", CONFIG_FIELDS)
def test_every_field_of_a_condition_may_have_any_type_without_a_crash(field: str, value: Any) -> None:
    judge([{"name": "a", "type": "conditional", "config": {"condition": "true", field: value}}])


@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("field", ACTION_FIELDS)
def test_every_field_of_an_action_may_have_any_type_without_a_crash(field: str, value: Any) -> None:
    judge(conditional({"type": "log", "config": {}, field: value}))


@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("kind", ["parallel", "foreach"])
@pytest.mark.parametrize("place", ["steps", "parallel_steps", "items", "max_concurrency", "name", "inner"])
def test_every_field_of_a_loop_or_parallel_may_have_any_type_without_a_crash(place: str, kind: str, value: Any) -> None:
    config: dict[str, Any] = {"items": [1], "steps": [{"type": "log", "config": {}}]}
    if place == "name":
        config["steps"][0]["name"] = value
    elif place == "inner":
        config["steps"] = [{"name": "list", "steps": value}, value]
    else:
        config[place] = value
    judge([{"name": "a", "type": kind, "config": config}])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
STEPS: st.SearchStrategy[Any] = st.deferred(lambda: st.lists(STEP, max_size=4))
ACTIONS: st.SearchStrategy[Any] = st.deferred(
    lambda: JSON | st.fixed_dictionaries({}, optional={"steps": STEPS | JSON, "type": KINDS})
)
KINDS: st.SearchStrategy[Any] = (
    st.sampled_from(
        [*("log", "delay", "conditional", "data_transform", "http_request", "file_process"), *("parallel", "foreach")]
    )
    | JSON
)
STEP: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        **dict.fromkeys(("name", "id", "when", "retry", "effect", "timeout_seconds"), JSON),
        "on_error": ACTIONS | STEPS,
        "depends_on": st.lists(st.sampled_from(["step_0", "step_1", "x"])) | JSON,
        "config": st.fixed_dictionaries(
            {}, optional={"condition": JSON, "true_action": ACTIONS, "url": JSON, "steps": STEPS | JSON}
        )
        | JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS | JSON)
def test_no_definition_crashes_the_validation_and_what_it_accepts_compiles(steps: Any) -> None:
    judge(steps)


@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
@pytest.mark.parametrize("field", sorted(definition.WorkflowIn.model_fields))
@pytest.mark.django_db
def test_every_field_of_a_body_may_have_any_type_and_a_refusal_stores_nothing(field: str, value: Any) -> None:
    owner = factories.make_owner()
    bodies: list[dict[str, Any]] = [
        {"name": "x", "workflow_config": {"steps": []}},
        {"name": "x", "trigger_type": "scheduled", "steps": []},
        {"name": "x", "config": {"steps": []}, "triggers": [{"type": "file_upload"}]},
    ]

    for body in bodies:
        before = Workflow.objects.count()
        refusal = refusal_of(partial(services.create_workflow, owner=owner, body=body | {field: value}, actor="t"))
        made = 0 if refusal else 1
        assert refusal is None or (refusal.code == "VALIDATION_ERROR" and refusal.problems)
        assert (Workflow.objects.count(), WorkflowVersion.objects.count()) == (before + made, before + made)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"type": "log", "effect": []}], [("/steps/0/effect", "effect_invalid")]),
        ([{"type": "log", "effect": {"a": 1}}], [("/steps/0/effect", "effect_invalid")]),
        ([{"type": "log", "on_error": "retry"}], [("/steps/0/on_error", "on_error_invalid")]),
        ([{"type": "log", "on_error": []}], [("/steps/0/on_error", "on_error_invalid")]),
        ([{"type": "log", "on_error": {"steps": 5}}], [("/steps/0/on_error", "on_error_invalid")]),
        ([{"type": "log", "on_error": [1]}], [("/steps/0/on_error/steps/0", "type_error")]),
        ([{"type": "log", "on_error": {"type": "lgo"}}], [("/steps/0/on_error/steps/0/type", "unknown_type")]),
        ([{"type": "log", "on_error": {}}], [("/steps/0/on_error", "on_error_invalid")]),
        ([{"type": "log", "when": 5}], [("/steps/0/when", "type_error")]),
        ([{"type": "log", "when": [1]}], [("/steps/0/when", "type_error")]),
        ([{"type": "log", "when": "(" * 5000}], [("/steps/0/when", "bad_condition")]),
        ([{"type": "log", "when": "1 and " * 1700 + "1"}], [("/steps/0/when", "bad_condition")]),
        ([{"type": "log", "name": []}], [("/steps/0/name", "name_invalid")]),
        ([{"type": "log", "name": 0}], [("/steps/0/name", "name_invalid")]),
        ([{"type": "log", "name": "x" * 256}], [("/steps/0/name", "name_invalid")]),
        ([{"type": "log", "max_retries": 0.5}], [("/steps/0/max_retries", "type_error")]),
        ([{"type": "log", "max_retries": 10**30}], [("/steps/0/max_retries", "out_of_range")]),
        ([{"type": "log", "timeout_seconds": 1e308}], [("/steps/0/timeout_seconds", "out_of_range")]),
        ([{"type": "log", "retry": {"max_attempts": []}}], [("/steps/0/retry/max_attempts", "out_of_range")]),
        ([{"type": "log", "retry": 5}], [("/steps/0/retry", "type_error")]),
        ([{"type": "log", "depends_on": {"a": 1}}], [("/steps/0/depends_on", "type_error")]),
        ([{"type": "log", "depends_on": ["step_0"]}], [("/steps", "cycle")]),
        (conditional("{{trigger.x}}"), [("/steps/0/config/true_action", "config_invalid")]),
        (conditional({"type": "log", "steps": "x"}), [("/steps/0/config/true_action/steps", "type_error")]),
        (conditional({"steps": 5}), [("/steps/0/config/true_action/steps", "type_error")]),
        (conditional({"steps": [5]}), [("/steps/0/config/true_action/steps/0", "type_error")]),
        (conditional({"type": "log", "name": "a/b"}), [("/steps/0/config/true_action/name", "name_invalid")]),
        (conditional({"type": "log", "effect": []}), [("/steps/0/config/true_action/effect", "effect_invalid")]),
        (conditional({"skip_to_step": []}), [("/steps/0/config/true_action/skip_to_step", "unknown_step")]),
        ("none", [("/steps", "type_error")]),
        (None, [("/steps", "type_error")]),
        ({}, [("/steps", "type_error")]),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(steps: Any, expected: list[tuple[str, str]]) -> None:
    assert errors(steps) == expected


@pytest.mark.parametrize("variables", [[], 0, False, "", "text", 5])
def test_variables_that_are_no_object_are_refused(variables: Any) -> None:
    assert errors([], variables=variables) == [("/variables", "type_error")]


def test_a_conditional_as_the_action_of_a_conditional_is_checked_and_compiled() -> None:
    inner = {"type": "conditional", "config": {"condition": "true", "true_action": {"steps": [{"type": "log"}]}}}

    assert errors(conditional(inner)) == []


def test_an_action_without_a_config_keeps_the_keys_beside_its_type() -> None:
    [step] = definition.canonical(Workflow(workflow_config={"steps": conditional({"type": "log", "message": "m"})}))[
        "steps"
    ]

    assert step["config"]["true_action"] == {"type": "log", "config": {"message": "m"}}


def test_names_that_together_do_not_fit_their_column_are_refused() -> None:
    step: dict[str, Any] = {"name": "n" * 250, "type": "log"}
    for letter in "ab":
        action = {"steps": [step]}
        step = {"name": letter * 250, "type": "conditional", "config": {"condition": "true", "true_action": action}}

    place = "/steps/0/config/true_action/steps/0/config/true_action/steps/0/name"
    assert errors([step]) == [(place, "name_invalid")]


def test_steps_hidden_in_nested_actions_count() -> None:
    action = {"type": "conditional", "config": {"true_action": {"steps": [{"type": "log"}] * 1000}}}

    assert errors(conditional(action)) == [("/steps", "too_many_steps")]


def test_an_answer_names_at_most_a_hundred_problems_and_shows_values_cut_short() -> None:
    found = judge([{"name": f"s{index}", "type": "x" * 10_000} for index in range(1000)])

    assert len(found) == 100
    assert max(len(problem.message) for problem in found) < 200


def _chain(index: int) -> dict[str, Any]:
    return {"name": f"n{index}", "type": "log", "depends_on": [f"n{index + 1}"] if index < 999 else []}


def _everything_after(index: int) -> dict[str, Any]:
    return {"name": f"n{index}", "type": "log", "depends_on": [f"n{after}" for after in range(index + 1, 1000)]}


def _message(text: str) -> list[dict[str, Any]]:
    return [{"name": "a", "type": "log", "config": {"message": text}}]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"type": "log"}] * 60_000, [("/steps", "too_many_steps")]),
        ([_chain(index) for index in range(1000)], []),
        ([_everything_after(index) for index in range(1000)], [("/steps", "too_many_dependencies")]),
        ([*(_chain(index) for index in range(999)), {"name": "n999", "type": "log", "depends_on": ["n0"]}], "cycle"),
        (_message("{{" * 1_000_000), "bad_expression"),
        (_message("{{" + "(" * 1_000_000 + "}}"), "bad_expression"),
        (_message("".join(f"{{{{steps.q{index}.x}}}}" for index in range(30_000))), []),
        (
            [
                {"name": f"{index:03}" + "z" * 200, **_message(f"{{{{steps.{index}{'y' * 200}.x}}}}")[0]}
                for index in range(1000)
            ],
            "duplicate_name",
        ),
        ([{"type": "log", "when": "not " * 2400 + "true"}], "bad_condition"),
    ],
    ids=["count", "chain", "dense", "circle", "open", "brackets", "references", "names", "nots"],
)
def test_what_explodes_is_judged_in_bounded_time(steps: Any, expected: Any) -> None:
    started = time.thread_time()

    found = errors(steps)

    assert time.thread_time() - started < MOST_SECONDS
    assert len(found) <= 100
    if isinstance(expected, str):
        assert {code for _, code in found} <= {expected}
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ({"trigger_type": "scheduled", "trigger_config": {"cron": 5}}, ("body", "cron_schedule"), "value_error"),
        (
            {"trigger_type": "scheduled", "trigger_config": {"cron": "0," * 60 + "0 * * * *"}},
            ("body", "cron_schedule"),
            "value_error",
        ),
        (
            {"config": {"a": 1}, "triggers": [{"type": "file_upload", "file_extensions": 5}]},
            ("body", "triggers"),
            "list_type",
        ),
        (
            {"config": {"a": 1}, "triggers": [{"type": "file_upload", "file_extensions": [1]}]},
            ("body", "triggers"),
            "list_type",
        ),
        (
            {"config": {"a": 1}, "triggers": [{"type": "file_upload", "file_extensions": ["x" * 300]}]},
            ("body", "triggers"),
            "string_too_long",
        ),
        ({"trigger_type": "manual", "steps": [1] * 100_000}, ("body", "steps"), "dict_type"),
        ({"config": {"a": 1}, "triggers": [1] * 100_000}, ("body", "triggers"), "dict_type"),
        (
            {"workflow_config": {"a": 1}, "trigger_config": {"type": []}},
            ("body", "trigger_config", "type"),
            "string_type",
        ),
        ({"workflow_config": {"a": "x" * 1_048_576}}, ("body",), "document_too_large"),
        ({"workflow_config": {"steps": [{}] * 1_000_000}}, ("body",), "document_too_large"),
        ({"workflow_config": {"a": 1}, "name": "x" * 1_000_000}, ("body", "name"), "string_too_long"),
    ],
)
def test_a_wrong_field_of_a_body_is_named(body: dict[str, Any], place: tuple[str, ...], kind: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        definition.read({"name": "x", **body})

    assert [(problem.loc, problem.type) for problem in refusal.value.problems] == [(place, kind)]
    assert len(refusal.value.detail) < 1000


def test_extensions_written_as_one_text_are_split_at_commas() -> None:
    body = {"name": "x", "config": {"a": 1}, "triggers": [{"type": "file_upload", "file_extensions": ".pdf, txt"}]}

    assert definition.read(body).fields["trigger_file_extensions"] == "pdf,txt"


@pytest.mark.django_db
def test_an_update_cannot_empty_the_configuration() -> None:
    workflow = factories.make_workflow([{"name": "a", "type": "log"}])

    with pytest.raises(InvalidInput) as refusal:
        services.update_workflow(workflow, body={"workflow_config": {}}, actor="test")

    assert refusal.value.problems[0].loc == ("body", "workflow_config")
    assert Workflow.objects.get(pk=workflow.pk).workflow_config["steps"] == [{"name": "a", "type": "log"}]
    assert WorkflowVersion.objects.filter(workflow=workflow).count() == 1


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=40) | st.from_regex(r"[0-9*/,\-#LA-Za-z]{1,9}( [0-9*/,\-#LA-Za-z]{1,9}){4}", fullmatch=True)
)
def test_no_cron_text_crashes_the_check(text: str) -> None:
    refusal = refusal_of(lambda: definition.check_cron(text))

    assert refusal is None or refusal.detail == "Invalid cron schedule format"


EXPLODING = [
    "{{ 9**9**9**9 }}",
    "{{ 'x' * 10**9 }}",
    "{{ range(10**9) | list }}",
    "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' | regex('(a+)+$') }}",
    "{{ ().__class__.__mro__ }}",
    "{% for a in range(10**9) %}x{% endfor %}",
]


@pytest.mark.django_db
@pytest.mark.parametrize("text", EXPLODING)
def test_an_expression_that_explodes_ends_its_step_and_leaves_nothing_behind(text: str) -> None:
    started = time.thread_time()

    if refusal := refusal_of(lambda: factories.make_workflow(_message(text), max_retries=0)):
        assert {problem.type for problem in refusal.problems} == {"bad_expression"}
        return
    execution = factories.run(Workflow.objects.get())

    assert time.thread_time() - started < MOST_SECONDS
    assert execution.status in {"completed", "failed"}
    assert not execution.branches.exists()


@pytest.mark.parametrize("value", [{"left": 1, "type": []}, {"left": 1, "operator": {}}, {"all": [[]]}, {}], ids=repr)
def test_a_condition_object_that_makes_no_sense_is_refused_at_its_place(value: dict[str, Any]) -> None:
    steps = [{"name": "a", "type": "conditional", "config": {"condition": value}}]

    assert errors(steps) == [("/steps/0/config/condition", "bad_condition")]
    with pytest.raises(ExpressionError) as failure:
        evaluate_condition(value, Scope({}))
    assert failure.value.code in {"unknown_operator", "bad_expression"}


@pytest.mark.django_db
def test_a_start_with_data_that_cannot_be_stored_is_refused_and_leaves_no_row() -> None:
    workflow = factories.make_workflow(_message("x"))
    deep: Any = 1
    for _ in range(200):
        deep = [deep]

    for data in ({"a": deep}, {"a": object()}):
        with pytest.raises(DomainError) as refusal:
            factories.start(workflow, data)
        assert refusal.value.code == "VALIDATION_ERROR"
    assert not workflow.executions.exists()
