"""Re-runs and compensations over HTTP."""

from typing import Any

import pytest
from django.test import Client

from accounts import services as accounts
from tests import factories
from tests.unit.workflows.test_compensation import act, acted, broken, nothing_acted
from workflows.models import Execution

pytestmark = pytest.mark.django_db

__all__ = ["nothing_acted"]
BASE = "/api/v1/workflows/executions"
NAP = {"name": "nap", "type": "delay", "config": {"seconds": "{{trigger.seconds}}"}}


@pytest.fixture(autouse=True)
def _steps(nothing_acted: None) -> None:
    """The step type `act`, with nothing done yet."""


@pytest.fixture
def stranger() -> Client:
    """A caller with a key of another owner."""
    _, key = accounts.create_api_key(
        owner=factories.make_owner("Eve"), name="k", scopes=["read", "write", "execute"], actor="test"
    )
    return Client(raise_request_exception=False, headers={"X-API-Key": key})


def post(client: Client, path: str, body: dict[str, Any] | None = None) -> Any:
    return client.post(f"{BASE}/{path}", body or {}, content_type="application/json")


def test_an_execution_runs_again_from_the_failed_step_with_a_mended_input(service: Client) -> None:
    execution = factories.run(factories.make_workflow([NAP]), {"seconds": "soon"})

    answer = post(service, f"{execution.pk}/rerun", {"from": "failed", "trigger_data": {"seconds": 0}})
    factories.drain_all()

    assert answer.status_code == 200
    assert answer.json()["rerun_of"] == execution.pk
    assert Execution.objects.get(pk=answer.json()["execution_id"]).status == "completed"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"from": "nothing"}, "no step is called 'nothing'"),
        ({"version": "newest"}, None),
        ({"trigger_data": [1]}, None),
    ],
)
def test_a_re_run_that_cannot_be_is_a_400_and_starts_nothing(
    service: Client, body: dict[str, Any], detail: str
) -> None:
    execution = factories.run(factories.make_workflow([NAP]), {"seconds": 0})

    answer = post(service, f"{execution.pk}/rerun", body)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "VALIDATION_ERROR")
    assert detail is None or answer.json()["detail"] == detail
    assert Execution.objects.count() == 1


def test_many_are_listed_first_and_started_only_when_asked(service: Client) -> None:
    workflow = factories.make_workflow([NAP])
    failed = [factories.run(workflow, {"seconds": "soon"}).pk for _ in range(2)]
    factories.run(workflow, {"seconds": 0})

    listed = post(service, "reruns", {"workflow_id": workflow.pk}).json()
    before = Execution.objects.count()
    started = post(service, "reruns", {"workflow_id": workflow.pk, "dry_run": False}).json()

    assert (listed["dry_run"], listed["count"], before) == (True, 2, 3)
    assert [row["id"] for row in listed["executions"]] == failed
    assert [row["rerun_id"] for row in listed["executions"]] == [None, None]
    reruns = Execution.objects.filter(pk__in=[row["rerun_id"] for row in started["executions"]])
    assert sorted(reruns.values_list("rerun_of", flat=True)) == failed


def test_the_list_of_a_bulk_re_run_costs_the_same_however_long_it_is(
    service: Client, django_assert_max_num_queries: Any
) -> None:
    workflow = factories.make_workflow([NAP])
    for _ in range(5):
        factories.run(workflow, {"seconds": "soon"})

    with django_assert_max_num_queries(5):
        assert post(service, "reruns", {"workflow_id": workflow.pk}).json()["count"] == 5


def test_what_stayed_open_is_shown_retried_and_closed_by_hand(service: Client) -> None:
    broken.update({"c", "a/compensate", "b/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), act("b"), act("c")]))
    broken.discard("b/compensate")

    shown = service.get(f"{BASE}/{execution.pk}/compensation").json()
    post(service, f"{execution.pk}/compensation/retry")
    factories.drain_all()
    refused = post(service, f"{execution.pk}/compensation/by-hand", {"step": "a"})
    closed = post(service, f"{execution.pk}/compensation/by-hand", {"step": "a", "reason": "by phone"}).json()
    again = post(service, f"{execution.pk}/compensation/retry")

    assert (shown["status"], shown["open"], shown["saga_id"]) == ("failed", ["b", "a"], str(execution.uuid))
    assert [path for path, _ in acted].count("b/compensate") == 2
    assert (refused.status_code, closed["status"], closed["open"]) == (400, "compensated", [])
    assert (again.status_code, again.json()["error_code"]) == (400, "INVALID_STATE")


def test_an_execution_that_undid_nothing_has_no_compensation(service: Client) -> None:
    execution = factories.run(factories.make_workflow([NAP]), {"seconds": 0})

    answer = service.get(f"{BASE}/{execution.pk}/compensation")

    assert (answer.status_code, answer.json()["error_code"]) == (404, "SAGA_NOT_FOUND")


def test_another_owner_sees_and_starts_nothing(stranger: Client) -> None:
    execution = factories.run(factories.make_workflow([NAP]), {"seconds": "soon"})

    answers = [
        post(stranger, f"{execution.pk}/rerun"),
        post(stranger, f"{execution.pk}/compensation/retry"),
        post(stranger, f"{execution.pk}/compensation/by-hand", {"step": "a", "reason": "b"}),
        stranger.get(f"{BASE}/{execution.pk}/compensation"),
    ]
    listed = post(stranger, "reruns", {"execution_ids": [execution.pk], "dry_run": False})

    assert [answer.status_code for answer in answers] == [404] * 4
    assert listed.json()["count"] == 0
    assert Execution.objects.count() == 1


def test_an_empty_list_of_executions_runs_nothing_again(service: Client) -> None:
    factories.run(factories.make_workflow([NAP]), {"seconds": "soon"})

    answer = post(service, "reruns", {"execution_ids": [], "dry_run": False})

    assert answer.json() == {"dry_run": False, "count": 0, "executions": []}
    assert Execution.objects.count() == 1


def test_null_leaves_a_field_as_it_is(service: Client) -> None:
    execution = factories.run(factories.make_workflow([NAP]), {"seconds": "soon"})

    rerun = post(service, f"{execution.pk}/rerun", {"from": None, "version": None, "trigger_data": None})
    listed = post(service, "reruns", {"execution_ids": None, "status": None, "since": None, "dry_run": None})

    assert rerun.status_code == 200
    assert Execution.objects.get(pk=rerun.json()["execution_id"]).trigger_data == {"seconds": "soon"}
    assert (listed.json()["dry_run"], listed.json()["count"]) == (True, 1)


def test_a_body_that_is_no_object_starts_nothing(service: Client) -> None:
    execution = factories.run(factories.make_workflow([NAP]), {"seconds": "soon"})

    answer = service.post(f"{BASE}/{execution.pk}/rerun", "[]", content_type="application/json")

    assert (answer.status_code, answer.json()["error_code"]) == (400, "VALIDATION_ERROR")
    assert Execution.objects.count() == 1
