"""The check while one types a definition, and the step types beside it."""

import json
from typing import Any

import pytest
from django.test import Client

from tests import factories
from tests.admin.rows import GREET, editor_of
from tests.admin.test_workflows_admin import WORKFLOWS
from workflows import services
from workflows.admin.step_reference import step_reference
from workflows.engine.steps import registry
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def check(client: Client, text: str) -> Any:
    return client.post(f"{WORKFLOWS}check/", {"text": text})


def test_the_check_names_line_place_code_and_severity_of_every_problem(admin: Client) -> None:
    text = """{
  "steps": [
    {"name": "load",
     "type": "logg"},
    {
      "name": "call",
      "type": "http_request",
      "url": "",
      "method": "FETCH"
    }
  ]
}"""

    found = check(admin, text).json()["problems"]

    assert [(item["line"], item["pointer"], item["code"], item["severity"]) for item in found] == [
        (4, "/steps/0/type", "unknown_type", "error"),
        (8, "/steps/1/config/url", "empty_value", "warning"),
        (9, "/steps/1/config/method", "config_invalid", "error"),
    ]
    assert found[0]["message"] == "unknown step type 'logg'; did you mean 'log'?"


@pytest.mark.parametrize(
    ("text", "line", "column", "code"),
    [
        ('{\r\n  "steps": [,]\r\n}', 2, 13, "json_syntax"),
        ("", 1, 1, "json_syntax"),
        ("[]", 1, 1, "not_an_object"),
        ("{}", 1, 1, "missing"),
        ('{"steps": "none"}', 1, 1, "type_error"),
        ('{"steps": []}', 0, 0, ""),
    ],
)
def test_the_check_of_odd_texts(admin: Client, text: str, line: int, column: int, code: str) -> None:
    problems = check(admin, text).json()["problems"]

    assert [(item["line"], item["column"], item["code"]) for item in problems] == (
        [(line, column, code)] if code else []
    )


def test_the_check_saves_nothing_and_is_for_the_staff(admin: Client) -> None:
    assert check(admin, json.dumps({"steps": GREET})).json() == {"problems": []}
    assert check(Client(), "{}").status_code == 302
    assert admin.get(f"{WORKFLOWS}check/").status_code == 405
    assert Client(enforce_csrf_checks=True).post(f"{WORKFLOWS}check/").status_code == 403
    assert not Workflow.objects.exists()
    user, client = editor_of("vera")
    user.user_permissions.clear()
    assert check(client, "{}").status_code == 403


def test_every_step_type_stands_beside_the_editor_with_a_snippet_that_is_valid(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    page = admin.get(f"{WORKFLOWS}{workflow.pk}/change/").content.decode()
    found = step_reference()

    assert [entry["type"] for entry in found] == [kind.type for kind in registry.all_types()]
    for entry in found:
        step = json.loads(entry["snippet"])
        assert check(admin, json.dumps({"steps": [step]})).json() == {"problems": []}, entry["type"]
        assert f'aria-label="Insert a step of type {entry["type"]}"' in page


def test_the_new_form_has_the_editor_too(admin: Client) -> None:
    page = admin.get(f"{WORKFLOWS}add/").content.decode()

    assert f'data-check-url="{WORKFLOWS}check/"' in page
    assert "workflows/definition_editor.js" in page
    assert "Save as draft" not in page


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{"step": []}', "/step", "nothing reads the key 'step' here; did you mean 'steps'?"),
        (
            '{"steps": [{"name": "a", "type": "log", "on_eror": "fail", "config": {"message": "x"}}]}',
            "/steps/0/on_eror",
            "nothing reads the key 'on_eror' here; did you mean 'on_error'?",
        ),
        (
            '{"steps": [{"name": "a", "type": "log", "config": {"messagetslow": "x"}}]}',
            "/steps/0/config/messagetslow",
            "nothing reads the key 'messagetslow' here; did you mean 'message'?",
        ),
        (
            '{"steps": [{"name": "a", "type": "log", "level": "info", "config": {"message": "x"}}]}',
            "/steps/0/level",
            "nothing reads the key 'level' here; put it into `config`",
        ),
        (
            '{"steps": [{"name": "a", "type": "log", "mesage": "x"}]}',
            "/steps/0/mesage",
            "nothing reads the key 'mesage' here; did you mean 'message'?",
        ),
        (
            '{"steps": [{"name": "a", "type": "foreach", "items": [1], "steps": [{"type": "log", "mesage": "x"}]}]}',
            "/steps/0/steps/0/mesage",
            "nothing reads the key 'mesage' here; did you mean 'message'?",
        ),
        ('{"steps": [], "steps": []}', "/steps", "'steps' is written twice here: only the last one counts"),
    ],
)
def test_common_typing_mistakes_are_warned_of_and_saved(admin: Client, text: str, place: str, message: str) -> None:
    problems = check(admin, text).json()["problems"]

    assert [(item["pointer"], item["message"], item["severity"]) for item in problems] == [(place, message, "warning")]
    owner = factories.make_owner()
    body = {"name": "lenient", "workflow_config": json.loads(text)}
    assert services.create_workflow(owner=owner, body=body, actor="test").workflow_config == json.loads(text)


def test_what_editors_keep_beside_the_steps_is_no_mistake(admin: Client) -> None:
    step = {**GREET[0], "id": "n1", "position": {"x": 1}, "data": {"label": "Greet"}, "description": "says hello"}
    call = {"name": "call", "type": "delay", "delay_seconds": 1, "position": {"x": 2}}
    other = {"name": "other", "type": "log", "message": "y"}
    both = {"name": "both", "type": "parallel", "parallel_steps": [{"name": "left", "steps": [other], "position": 1}]}
    choose = {
        "name": "choose",
        "type": "condition",
        "config": {
            "condition": "{{trigger.a}}",
            "true_action": {"type": "log", "message": "yes"},
            "false_action": {"skip_to_step": "both"},
        },
        "continue_on_error": True,
        "max_retries": 2,
        "timeout_seconds": 5,
    }
    document = {"steps": [step, call, choose, both], "variables": {}, "edges": [], "viewport": {"zoom": 1}, "_note": 1}

    assert check(admin, json.dumps(document)).json() == {"problems": []}


def test_an_unknown_type_does_not_hide_the_bad_expressions_of_its_step(admin: Client) -> None:
    text = '{"steps": [{"name": "a", "type": "logg", "when": "1 +", "config": {"message": "{{ a b }}"}}]}'

    problems = check(admin, text).json()["problems"]

    assert [(item["pointer"], item["code"]) for item in problems] == [
        ("/steps/0/type", "unknown_type"),
        ("/steps/0/config/message", "bad_expression"),
        ("/steps/0/when", "bad_condition"),
    ]


def test_a_value_that_cannot_be_kept_is_shown_at_its_line(admin: Client) -> None:
    problems = check(admin, '{"steps": [],\n "variables": {\n "most": 1e999}}').json()["problems"]

    assert [(item["line"], item["pointer"], item["code"]) for item in problems] == [
        (3, "/variables/most", "cannot_be_kept")
    ]
