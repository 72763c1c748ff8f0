"""What a client of each dialect changes with PUT, on workflows of its own and of others (contract 1, 1.1, 5)."""

from typing import Any

import pytest

from tests import factories
from tests.api.test_workflows_api import Api
from workflows import services
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

STEP = {"name": "one", "type": "log", "config": {"message": "{{variables.word}}"}}
OTHER = {"id": "two", "type": "log", "config": {"message": "2"}}
CONFIG = {"steps": [STEP], "variables": {"word": "hi"}, "finally": [{"name": "last", "type": "log", "message": "bye"}]}
A = {"name": "A", "workflow_config": CONFIG}
B = {"name": "B", "trigger_type": "scheduled", "trigger_config": {"cron": "0 9 * * *"}, "steps": [OTHER]}
C = {"name": "C", "config": CONFIG, "triggers": [{"type": "file_upload", "file_extensions": [".pdf"]}]}


@pytest.fixture
def api() -> Api:
    return Api()


def put(api: Api, made: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Make a workflow and change it; return the answer to the change."""
    workflow = api("POST", "/workflows", made).json()
    answer: dict[str, Any] = api("PUT", f"/workflows/{workflow['id']}", change).json()
    return answer


@pytest.mark.parametrize("made", [A, B, C])
def test_either_name_switches_a_workflow_off(api: Api, made: dict[str, Any]) -> None:
    for change in ({"enabled": False}, {"is_enabled": False}):
        answer = put(api, made, change)

        assert (answer["is_enabled"], answer["enabled"]) == (False, False)


def test_a_workflow_may_be_made_switched_off_by_either_name(api: Api) -> None:
    assert api("POST", "/workflows", A | {"enabled": False}).json()["is_enabled"] is False
    assert api("POST", "/workflows", A | {"enabled": True, "is_enabled": False}).json()["is_enabled"] is False


def test_new_steps_leave_variables_and_last_steps_alone(api: Api) -> None:
    answer = put(api, A, {"steps": [OTHER]})

    assert answer["workflow_config"] == CONFIG | {"steps": [OTHER]}


def test_restoring_a_version_brings_back_what_its_body_did_not_name(api: Api) -> None:
    workflow_id = put(api, A | {"workflow_config": CONFIG | {"error_workflow_id": 7}}, {"steps": [OTHER]})["id"]
    api("PUT", f"/workflows/{workflow_id}", {"max_retries": 1})
    api("PUT", f"/workflows/{workflow_id}", {"workflow_config": {"steps": [STEP]}})
    workflow = Workflow.objects.get(pk=workflow_id)

    for number in (2, 3):
        version = workflow.versions.get(number=number)
        restored = services.restore_version(workflow, version=version, actor="t")

        assert restored.published_version is not None
        assert restored.published_version.definition == version.definition


@pytest.mark.parametrize("trigger_type", ["manual", "webhook", "event"])
def test_another_trigger_type_ends_the_schedule(api: Api, trigger_type: str) -> None:
    answer = put(api, B, {"trigger_type": trigger_type})

    assert (answer["trigger_type"], answer["is_scheduled"], answer["next_run_at"]) == (trigger_type, False, None)


def test_a_schedule_that_is_named_stays_beside_another_trigger_type(api: Api) -> None:
    answer = put(api, B, {"trigger_type": "event", "is_scheduled": True})

    assert (answer["is_scheduled"], answer["cron_schedule"]) == (True, "0 9 * * *")


def test_the_cron_of_a_scheduled_trigger_may_change_alone(api: Api) -> None:
    answer = put(api, B, {"trigger_config": {"cron": "30 6 * * *"}})

    assert answer["cron_schedule"] == "30 6 * * *"
    assert answer["next_run_at"].endswith("T06:30:00Z")


def test_a_cron_that_was_kept_serves_once_the_trigger_is_scheduled(api: Api) -> None:
    answer = put(api, B | {"trigger_type": "manual"}, {"trigger_type": "scheduled"})

    assert (answer["is_scheduled"], answer["cron_schedule"]) == (True, "0 9 * * *")


def test_the_cron_of_another_trigger_is_no_schedule(api: Api) -> None:
    answer = put(api, B | {"trigger_type": "webhook"}, {"trigger_config": {"cron": "30 6 * * *"}})

    assert (answer["is_scheduled"], answer["cron_schedule"]) == (False, None)


def test_an_empty_list_of_triggers_ends_the_file_trigger(api: Api) -> None:
    answer = put(api, C, {"triggers": []})

    assert answer["trigger_on_file_upload"] is False


def test_new_triggers_leave_the_rest_of_the_trigger_config_alone(api: Api) -> None:
    answer = put(api, C | {"trigger_config": {"idempotency_key": "{{trigger.file_id}}"}}, {"triggers": []})

    assert answer["trigger_config"] == {"idempotency_key": "{{trigger.file_id}}", "triggers": []}


@pytest.mark.parametrize("signs", [{"trigger_type": None, "steps": None}, {"config": None, "triggers": None}])
def test_null_is_no_sign_of_a_dialect(api: Api, signs: dict[str, None]) -> None:
    answer = put(api, A, {"name": "renamed", **signs})

    assert answer["name"] == "renamed"
    assert answer["workflow_config"] == CONFIG
    assert Workflow.objects.get(pk=answer["id"]).dialect == "A"


def test_dialect_c_with_null_for_the_others_names_answers_200() -> None:
    api = Api(factories.make_owner())

    answer = api("POST", "/workflows", C | {"trigger_type": None, "steps": None})

    assert (answer.status_code, answer.json()["workflow_config"]) == (200, CONFIG)
