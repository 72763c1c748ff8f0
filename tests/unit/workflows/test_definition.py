"""Dialects, canonical form, versions and validation."""

from typing import Any

import pytest

from core.errors import InvalidInput
from tests import factories
from workflows import services
from workflows.choices import TriggerType
from workflows.engine import definition, validation
from workflows.engine.steps import registry
from workflows.errors import DefinitionInvalid
from workflows.models import CounterDelta, Execution, Workflow, WorkflowVersion
from workflows.nodes.base_node import BaseNode, ExecutionContext
from workflows.nodes.factory import NodeExecutorFactory


def problems(steps: list[Any]) -> list[tuple[str, str, str]]:
    canonical = {"steps": [definition.canonical_step(s, i) for i, s in enumerate(steps)], "variables": {}}
    return [(item.pointer, item.code, item.severity) for item in validation.problems_of(canonical)]


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ({"workflow_config": {"steps": []}, "steps": [], "trigger_type": "manual"}, "A"),
        ({"trigger_type": "manual"}, "B"),
        ({"steps": []}, "B"),
        ({"config": {"steps": []}}, "C"),
        ({"triggers": []}, "C"),
        ({"name": "x"}, "A"),
    ],
)
def test_the_body_alone_decides_the_dialect(body: dict[str, Any], dialect: str) -> None:
    assert definition.dialect_of(body) == dialect


@pytest.mark.django_db
def test_dialect_b_turns_ids_into_names() -> None:
    body = {
        "name": "B",
        "trigger_type": "manual",
        "steps": [{"id": "one", "type": "log", "config": {"message": "1"}}],
    }

    workflow = services.create_workflow(owner=factories.make_owner(), body=body, actor="t")

    assert workflow.dialect == "B"
    assert workflow.published_version.definition["steps"] == [
        {"name": "one", "type": "log", "config": {"message": "1"}}
    ]


@pytest.mark.django_db
def test_dialect_c_reads_its_own_names() -> None:
    body = {
        "name": "C",
        "config": {"steps": [{"type": "log", "message": "hi"}]},
        "cron_expression": "0 9 * * 1",
        "triggers": [{"type": "file_upload", "file_extensions": [".pdf", "csv"]}],
    }

    workflow = services.create_workflow(owner=factories.make_owner(), body=body, actor="t")

    assert (workflow.cron_schedule, workflow.is_scheduled) == ("0 9 * * 1", True)
    assert (workflow.trigger_on_file_upload, workflow.trigger_file_extensions) == (True, "pdf,csv")
    assert workflow.published_version.definition["steps"] == [
        {"name": "step_0", "type": "log", "config": {"message": "hi"}}
    ]


@pytest.mark.django_db
def test_only_a_changed_definition_makes_a_new_version() -> None:
    workflow = factories.make_workflow([{"name": "a", "type": "log", "config": {}}])

    services.update_workflow(workflow, body={"description": "new words"}, actor="t")
    assert WorkflowVersion.objects.filter(workflow=workflow).count() == 1

    services.update_workflow(workflow, body={"workflow_config": {"steps": []}}, actor="t")
    workflow.refresh_from_db()
    assert workflow.published_version.number == 2
    assert workflow.published_version.definition["steps"] == []


@pytest.mark.django_db
def test_an_update_leaves_what_is_null_or_not_sent() -> None:
    workflow = factories.make_workflow([], description="kept", max_retries=1)

    services.update_workflow(workflow, body={"description": None, "name": "Renamed"}, actor="t")

    found = Workflow.objects.get(pk=workflow.pk)
    assert (found.name, found.description, found.max_retries) == ("Renamed", "kept", 1)


@pytest.mark.django_db
def test_a_refused_definition_changes_nothing() -> None:
    workflow = factories.make_workflow([])

    with pytest.raises(DefinitionInvalid) as refusal:
        services.update_workflow(workflow, body={"workflow_config": {"steps": [{"type": "lgo"}]}}, actor="t")

    assert refusal.value.detail == (
        "Invalid workflow definition: /steps/0/type: unknown step type 'lgo'; did you mean 'log'?"
    )
    assert WorkflowVersion.objects.filter(workflow=workflow).count() == 1
    assert Workflow.objects.get(pk=workflow.pk).workflow_config == {"steps": []}


def test_a_bad_cron_expression_is_refused_with_the_contracts_words() -> None:
    for expression in ("every day", "* * * *", "61 * * * *", "* * * * * *"):
        with pytest.raises(InvalidInput) as refusal:
            definition.read({"name": "x", "workflow_config": {"steps": []}, "cron_schedule": expression})
        assert refusal.value.detail == "Invalid cron schedule format"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["text"], [("/steps/0", "type_error", "error")]),
        ([{"name": "a"}], [("/steps/0/type", "unknown_type", "error")]),
        (
            [{"name": "a", "type": "log"}, {"name": "a", "type": "log"}],
            [("/steps/1/name", "duplicate_name", "error")],
        ),
        ([{"name": "a/b", "type": "log"}], [("/steps/0/name", "name_invalid", "error")]),
        (
            [{"name": "a", "type": "log", "config": {"level": "loud"}}],
            [("/steps/0/config/level", "config_invalid", "error")],
        ),
        ([{"name": "a", "type": "log", "config": {"level": "{{trigger.level}}"}}], []),
        (
            [{"name": "a", "type": "http_request", "config": {"url": ""}}],
            [("/steps/0/config/url", "empty_value", "warning")],
        ),
        (
            [{"name": "a", "type": "log", "config": {"message": "{{steps.later.x}}"}}],
            [("/steps/0/config", "unknown_reference", "warning")],
        ),
        (
            [{"name": "a", "type": "log", "depends_on": ["b"]}, {"name": "b", "type": "log", "depends_on": ["a"]}],
            [("/steps", "cycle", "error")],
        ),
        (
            [{"name": "a", "type": "conditional", "config": {"condition": "1 >"}}],
            [("/steps/0/config/condition", "bad_condition", "error")],
        ),
        (
            [
                {
                    "name": "a",
                    "type": "conditional",
                    "config": {"condition": "true", "true_action": {"skip_to_step": "z"}},
                }
            ],
            [("/steps/0/config/true_action/skip_to_step", "unknown_step", "error")],
        ),
        ([{"name": "a", "type": "log", "effect": "twice"}], [("/steps/0/effect", "effect_invalid", "error")]),
        ([{"name": "a", "type": "log", "max_retries": -1}], [("/steps/0/max_retries", "out_of_range", "error")]),
    ],
)
def test_every_problem_has_a_pointer_and_a_code(steps: list[Any], expected: list[tuple[str, str, str]]) -> None:
    assert problems(steps) == expected


def test_ten_thousand_steps_are_refused_with_the_bound() -> None:
    assert problems([{"type": "log"} for _ in range(10_000)]) == [("/steps", "too_many_steps", "error")]


@pytest.mark.django_db
def test_a_draft_changes_nothing_until_it_is_published_and_its_test_run_is_not_counted() -> None:
    workflow = factories.make_workflow([{"name": "a", "type": "log", "config": {"message": "published"}}])
    body = {"workflow_config": {"steps": [{"name": "b", "type": "log", "config": {"message": "draft"}}]}}

    services.save_draft(workflow, body=body, actor="t")
    workflow.refresh_from_db()
    tested = services.run_draft(workflow, services.Start(trigger_type=TriggerType.MANUAL))
    ran = factories.run(workflow)

    assert list(factories.outputs(Execution.objects.get(pk=tested.execution_id))) == ["b"]
    assert list(factories.outputs(ran)) == ["a"]
    assert CounterDelta.objects.count() == 1

    services.publish_draft(workflow, actor="t")
    workflow.refresh_from_db()
    assert list(factories.outputs(factories.run(workflow))) == ["b"]
    assert workflow.workflow_config == body["workflow_config"]


@pytest.mark.django_db
def test_a_node_class_of_seed_002_runs_as_a_step() -> None:
    class Shout(BaseNode):
        def validate_config(self) -> bool:
            return "text" in self.config

        async def execute(self, context: ExecutionContext) -> Any:
            return {"shouted": self.config["text"].upper(), "before": context.get_output("a")}

    NodeExecutorFactory.register_node_type("shout", Shout)
    steps = [
        {"name": "a", "type": "log", "config": {"message": 1}},
        {"name": "b", "type": "shout", "config": {"text": "{{trigger.text}}"}},
    ]

    execution = factories.run(factories.make_workflow(steps), {"text": "hey"})

    registry._types.pop("shout")
    assert factories.outputs(execution)["b"] == {"shouted": "HEY", "before": {"message": 1, "level": "info"}}


@pytest.mark.django_db
def test_an_unknown_operator_is_saved_and_fails_the_step_when_it_runs() -> None:
    check = {"name": "check", "type": "conditional", "config": {"left": 1, "operator": "resembles", "right": 1}}

    execution = factories.run(factories.make_workflow([check]))

    assert (execution.status, execution.error_code) == ("failed", "unknown_operator")
