"""Workflows, executions and steps over HTTP (contract 5 and 6)."""

import re
from typing import Any

import pytest
from django.test import Client

from accounts import services as accounts
from tests import factories
from tests.factories import drain_all
from workflows.models import Execution, Workflow

pytestmark = pytest.mark.django_db

STEPS = [{"name": "greet", "type": "log", "config": {"message": "hi {{trigger.who}}"}}]
BODY = {"name": "W", "workflow_config": {"steps": STEPS}}


class Api:
    """Django's test client with a key of one owner."""

    def __init__(self, owner: Any = None) -> None:
        self.owner = owner or factories.make_owner()
        _, key = accounts.create_api_key(
            owner=self.owner, name="test", scopes=["read", "write", "execute"], actor="test"
        )
        self.client = Client(headers={"X-API-Key": key})

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return self.client.generic(
            method,
            path,
            data=b"" if body is None else __import__("json").dumps(body),
            content_type="application/json",
            headers=headers,
        )


@pytest.fixture
def api() -> Api:
    return Api()


def test_create_answers_the_superset_of_all_dialects(api: Api) -> None:
    answer = api("POST", "/api/v1/workflows", BODY | {"trigger_on_file_upload": True, "timeout_seconds": 600})

    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body.pop("id"), int)
    assert len(body.pop("uuid")) == 36
    assert body.pop("created_at").endswith("Z")
    assert body.pop("updated_at").endswith("Z")
    assert body == {
        "name": "W",
        "description": None,
        "workflow_config": {"steps": STEPS},
        "trigger_config": None,
        "cron_schedule": None,
        "is_scheduled": False,
        "trigger_on_file_upload": True,
        "trigger_file_extensions": None,
        "status": "active",
        "is_enabled": True,
        "max_retries": 3,
        "timeout_seconds": 600,
        "retention_days": None,
        "retention_failed_days": None,
        "retention_count": None,
        "total_executions": 0,
        "successful_executions": 0,
        "failed_executions": 0,
        "last_execution_at": None,
        "trigger_type": "event",
        "steps": [{"id": "greet", "name": "greet", "type": "log", "config": {"message": "hi {{trigger.who}}"}}],
        "enabled": True,
        "template_id": None,
        "next_run_at": None,
    }


def test_dialect_b_is_created_with_201_and_finds_its_own_fields(api: Api) -> None:
    body = {"name": "B", "trigger_type": "manual", "steps": [{"id": "one", "type": "log", "config": {"message": 1}}]}

    answer = api("POST", "/api/v1/workflows", body)

    assert answer.status_code == 201
    found = answer.json()
    assert (found["trigger_type"], found["enabled"]) == ("manual", True)
    assert found["steps"] == [{"id": "one", "name": "one", "type": "log", "config": {"message": 1}}]


@pytest.mark.parametrize(
    "path", ["/workflows/{id}/execute", "/api/v1/workflows/{id}/trigger/", "/workflows/{uuid}/execute"]
)
def test_execute_answers_at_once_and_the_execution_can_be_read(api: Api, path: str) -> None:
    workflow = api("POST", "/workflows", BODY).json()

    answer = api("POST", path.format(**workflow), {"input_data": {"who": "x", "n": 1}, "trigger_data": {"who": "Ada"}})

    assert answer.status_code == 200
    started = answer.json()
    assert (started["message"], started["status"]) == ("Workflow execution started", "pending")
    assert started["workflow_id"] == workflow["id"]
    drain_all()
    execution = api("GET", f"/api/v1/workflows/executions/{started['execution_id']}").json()
    assert execution["status"] == "completed"
    assert execution["trigger_data"] == {"who": "Ada", "n": 1}
    assert execution["result_data"] == {"greet": {"message": "hi Ada", "level": "info"}}
    assert execution["log_output"][0]["step"] == "greet"
    assert (execution["waiting_on"], execution["why"]) == (None, None)
    counted = api("GET", f"/workflows/{workflow['id']}").json()
    assert (counted["total_executions"], counted["successful_executions"]) == (1, 1)
    assert counted["last_execution_at"] == execution["completed_at"]


def test_execute_needs_no_body(api: Api) -> None:
    workflow = api("POST", "/workflows", BODY).json()

    assert api("POST", f"/workflows/{workflow['id']}/execute").status_code == 200


def test_the_same_idempotency_key_starts_once(api: Api) -> None:
    workflow = api("POST", "/workflows", BODY).json()
    path = f"/workflows/{workflow['id']}/execute"

    ids = {api("POST", path, {}, **{"Idempotency-Key": "k"}).json()["execution_id"] for _ in range(3)}

    assert len(ids) == 1
    assert Execution.objects.count() == 1


def test_a_step_has_the_contracts_fields(api: Api) -> None:
    workflow = api("POST", "/workflows", BODY).json()
    execution_id = api("POST", f"/workflows/{workflow['id']}/execute", {"trigger_data": {"who": "Ada"}}).json()[
        "execution_id"
    ]
    drain_all()

    [step] = api("GET", f"/api/v1/workflows/executions/{execution_id}/steps").json()

    assert {key: step[key] for key in ("execution_id", "step_order", "step_name", "step_type", "status")} == {
        "execution_id": execution_id,
        "step_order": 1,
        "step_name": "greet",
        "step_type": "log",
        "status": "completed",
    }
    assert step["input_data"] == {"message": "hi Ada"}
    assert step["output_data"] == {"message": "hi Ada", "level": "info"}
    assert (step["retry_count"], step["max_retries"], step["error_message"]) == (0, 3, None)


def test_a_failed_step_is_retried_over_the_api(api: Api) -> None:
    steps = [{"name": "nap", "type": "delay", "config": {"seconds": "{{trigger.pause}}"}}]
    workflow = api("POST", "/workflows", {"name": "W", "workflow_config": {"steps": steps}}).json()
    execution_id = api("POST", f"/workflows/{workflow['id']}/execute", {"trigger_data": {"pause": "x"}}).json()[
        "execution_id"
    ]
    drain_all()
    [step] = api("GET", f"/api/v1/workflows/executions/{execution_id}/steps").json()
    assert (step["status"], step["error_code"]) == ("failed", "config_invalid")

    answer = api("POST", f"/api/v1/workflows/steps/{step['id']}/retry")

    assert answer.json() == {
        "message": "Step retry started",
        "step_id": step["id"],
        "execution_id": execution_id,
        "status": "running",
    }
    drain_all()
    [again] = api("GET", f"/api/v1/workflows/executions/{execution_id}/steps").json()
    assert (again["id"], again["retry_count"], again["status"]) == (step["id"], 1, "failed")
    refused = api("POST", f"/api/v1/workflows/executions/{execution_id}/cancel")
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_STATE")


def test_a_waiting_execution_says_why_and_can_be_cancelled(api: Api) -> None:
    steps = [{"name": "nap", "type": "delay", "config": {"seconds": 3600}}]
    workflow = api("POST", "/workflows", {"name": "W", "workflow_config": {"steps": steps}}).json()
    execution_id = api("POST", f"/workflows/{workflow['id']}/execute").json()["execution_id"]
    pending = api("GET", f"/api/v1/workflows/executions/{execution_id}").json()
    assert re.fullmatch(r"waits for a (free )?worker of lane flow.* to take step 'nap'", pending["why"])
    drain_all()

    waiting = api("GET", f"/api/v1/workflows/executions/{execution_id}").json()
    assert (waiting["status"], waiting["waiting_on"]) == ("running", "timer")
    assert waiting["why"].startswith("waits until ")

    answer = api("POST", f"/api/v1/workflows/executions/{execution_id}/cancel")
    assert answer.json() == {"message": "Execution cancelled", "execution_id": execution_id, "status": "cancelled"}
    assert api("GET", f"/api/v1/workflows/executions/{execution_id}").json()["status"] == "cancelled"


def test_delete_hides_the_workflow_except_when_asked_for(api: Api) -> None:
    workflow = api("POST", "/workflows", BODY).json()

    answer = api("DELETE", f"/workflows/{workflow['id']}")

    assert answer.json() == {"message": "Workflow deleted successfully", "workflow_id": workflow["id"]}
    assert api("GET", f"/workflows/{workflow['id']}").json()["error_code"] == "WORKFLOW_NOT_FOUND"
    assert api("GET", "/workflows").json() == []
    assert [item["id"] for item in api("GET", "/workflows?status=deleted").json()] == [workflow["id"]]
    assert api("POST", f"/workflows/{workflow['id']}/execute").status_code == 404


def test_another_owners_rows_are_missing(api: Api) -> None:
    stranger = Api()
    workflow = stranger("POST", "/workflows", BODY).json()
    execution_id = stranger("POST", f"/workflows/{workflow['id']}/execute").json()["execution_id"]
    drain_all()
    [step] = stranger("GET", f"/api/v1/workflows/executions/{execution_id}/steps").json()

    for method, path in [
        ("GET", f"/workflows/{workflow['id']}"),
        ("PUT", f"/workflows/{workflow['uuid']}"),
        ("DELETE", f"/workflows/{workflow['id']}"),
        ("POST", f"/workflows/{workflow['id']}/execute"),
        ("GET", f"/workflows/{workflow['id']}/executions"),
        ("GET", f"/api/v1/workflows/executions/{execution_id}"),
        ("GET", f"/api/v1/workflows/executions/{execution_id}/steps"),
        ("POST", f"/api/v1/workflows/executions/{execution_id}/cancel"),
        ("POST", f"/api/v1/workflows/steps/{step['id']}/retry"),
    ]:
        assert api(method, path, {}).status_code == 404, path
    assert api("GET", "/workflows").json() == []
    assert api("GET", "/executions").json() == []
    assert Workflow.objects.get(pk=workflow["id"]).status == "active"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x"}, "workflow_config"),
        ({"name": "x", "workflow_config": {}}, "workflow_config"),
        ({"name": "", "workflow_config": {"steps": []}}, "name"),
        ({"name": "x" * 256, "workflow_config": {"steps": []}}, "name"),
        ({"name": "x", "workflow_config": {"steps": []}, "timeout_seconds": 0}, "timeout_seconds"),
        ({"name": "x", "workflow_config": {"steps": []}, "max_retries": -1}, "max_retries"),
        ({"name": "x", "workflow_config": {"steps": [{"type": "lgo"}]}}, "steps"),
        ({"name": "x", "workflow_config": {"steps": "none"}}, "steps"),
        ({"name": "x", "workflow_config": {"steps": []}, "cron_schedule": "bad"}, "cron_schedule"),
    ],
)
def test_bad_bodies_are_refused_with_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api("POST", "/workflows", body)

    assert answer.status_code == 400
    refusal = answer.json()
    assert refusal["error_code"] == "VALIDATION_ERROR"
    assert any(field in map(str, item["loc"]) for item in refusal["errors"]), refusal
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("key", ["0", "999999", "nonsense", "9" * 30, "%00", "1.5", "-1"])
def test_unknown_ids_are_404(api: Api, key: str) -> None:
    for path in (f"/workflows/{key}", f"/api/v1/workflows/executions/{key}", f"/workflows/{key}/executions"):
        assert api("GET", path).status_code in {404, 400 if key == "%00" else 404}, path


def test_lists_are_bare_arrays_with_a_total_and_few_queries(api: Api, django_assert_max_num_queries: Any) -> None:
    workflow = api("POST", "/workflows", BODY).json()
    for _ in range(7):
        api("POST", f"/workflows/{workflow['id']}/execute")
    drain_all()

    with django_assert_max_num_queries(7):
        answer = api("GET", "/executions?limit=3&status=completed")

    assert len(answer.json()) == 3
    assert answer["X-Total-Count"] == "7"
    ids = [item["id"] for item in answer.json()]
    assert ids == sorted(ids, reverse=True)
    with django_assert_max_num_queries(5):
        assert len(api("GET", "/api/v1/workflows").json()) == 1


def test_large_outputs_are_cut_in_lists_but_whole_in_the_execution(api: Api) -> None:
    steps = [{"name": "big", "type": "log", "config": {"message": "{{trigger.text}}"}}]
    workflow = api("POST", "/workflows", {"name": "W", "workflow_config": {"steps": steps}}).json()
    text = "x" * 100_000
    execution_id = api("POST", f"/workflows/{workflow['id']}/execute", {"trigger_data": {"text": text}}).json()[
        "execution_id"
    ]
    drain_all()

    [listed] = api("GET", "/executions").json()
    whole = api("GET", f"/api/v1/workflows/executions/{execution_id}").json()

    assert listed["result_truncated"] is True
    assert listed["result_data"] == {}
    assert whole["result_data"]["big"]["message"] == text


def test_cron_expressions_are_judged(api: Api) -> None:
    good = api("POST", "/workflows/validate-cron?cron_expression=0%209%20*%20*%201").json()
    bad = api("POST", "/api/v1/workflows/validate-cron?cron_expression=nope").json()

    assert (good["is_valid"], len(good["next_runs"])) == (True, 5)
    assert bad == {"cron_expression": "nope", "is_valid": False, "error": "Invalid cron expression"}


def test_status_and_summary_count(api: Api) -> None:
    workflow = api("POST", "/workflows", BODY).json()
    api("POST", f"/workflows/{workflow['id']}/execute")
    drain_all()

    status = api("GET", f"/workflows/{workflow['id']}/status").json()
    summary = api("GET", "/workflows/stats/summary").json()["statistics"]

    assert (status["execution_count"], status["success_count"], status["failure_count"]) == (1, 1, 0)
    assert (summary["total_workflows"], summary["total_executions"], summary["recent_executions_24h"]) == (1, 1, 1)
    assert summary["execution_status_breakdown"]["completed"] == 1


def test_step_types_are_served_with_their_schemas(api: Api) -> None:
    types = {item["type"]: item for item in api("GET", "/api/v1/workflows/step-types").json()}

    assert set(types) >= {"log", "delay", "conditional", "data_transform", "http_request", "file_process"}
    assert types["http_request"]["lane"] == "io"
    assert types["http_request"]["effect"] == "idempotent"
    assert "url" in types["http_request"]["config_schema"]["properties"]


def test_a_draft_is_kept_run_and_published_over_the_api(api: Api) -> None:
    workflow = api("POST", "/workflows", BODY).json()
    draft = {"workflow_config": {"steps": [{"name": "new", "type": "log", "config": {"message": "d"}}]}}
    base = f"/api/v1/workflows/{workflow['id']}/draft"

    kept = api("PUT", base, draft).json()
    tested = api("POST", f"{base}/run").json()
    drain_all()

    assert (kept["number"], kept["definition"]["steps"][0]["name"]) == (2, "new")
    assert api("GET", f"/workflows/{workflow['id']}").json()["workflow_config"] == {"steps": STEPS}
    execution = api("GET", f"/api/v1/workflows/executions/{tested['execution_id']}").json()
    assert list(execution["result_data"]) == ["new"]
    published = api("POST", f"{base}/publish").json()
    assert published["workflow_config"] == draft["workflow_config"]
