"""`POST /api/v1/events/publish` (contract 8)."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts import services as accounts
from automation import services
from automation.models import Event
from tests import factories

pytestmark = pytest.mark.django_db

BODY = {"event_type": "order.paid", "aggregate_id": "7", "aggregate_type": "order", "data": {"total": 12}}


def client_of(owner: Any, *scopes: str) -> Client:
    _, key = accounts.create_api_key(owner=owner, name="k", scopes=scopes or ("read", "write", "execute"), actor="t")
    return Client(headers={"X-API-Key": key})


def post(client: Client, body: Any, path: str = "/api/v1/events/publish", **headers: str) -> Any:
    return client.post(path, data=json.dumps(body), content_type="application/json", headers=headers)


@pytest.mark.parametrize("path", ["/api/v1/events/publish", "/api/v1/events/publish/", "/events/publish"])
def test_an_event_is_stored_for_the_callers_owner(path: str) -> None:
    owner = factories.make_owner()

    answer = post(client_of(owner), BODY | {"correlation_id": "c-1"}, path)

    event = Event.objects.get()
    assert answer.status_code == 200
    assert answer.json() == {"status": "published", "event_id": str(event.uuid)}
    assert (event.owner_id, event.event_type, event.stream_id, event.version) == (owner.pk, "order.paid", "order-7", 1)
    assert (event.event_data, event.correlation_id, event.dispatched_at) == ({"total": 12}, "c-1", None)


def test_without_a_correlation_id_the_requests_own_is_kept() -> None:
    post(client_of(factories.make_owner()), BODY, **{"X-Correlation-ID": "from-the-header"})

    assert Event.objects.get().correlation_id == "from-the-header"


def test_an_idempotency_key_publishes_once() -> None:
    client = client_of(factories.make_owner())

    first = post(client, BODY, **{"Idempotency-Key": "k"}).json()
    again = post(client, BODY, **{"Idempotency-Key": "k"}).json()
    too_long = post(client, BODY, **{"Idempotency-Key": "k" * 201})

    assert first == again
    assert Event.objects.count() == 1
    assert (too_long.status_code, too_long.json()["error_code"]) == (400, "VALIDATION_ERROR")


def test_the_underscore_spelling_of_a_known_type_is_stored_with_dots() -> None:
    post(client_of(factories.make_owner()), BODY | {"event_type": "workflow_completed"})

    assert Event.objects.get().event_type == "workflow.completed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_type": None}, "event_type"),
        ({"event_type": "unheard"}, "event_type"),
        ({"aggregate_id": ""}, "aggregate_id"),
        ({"aggregate_type": ["a"]}, "aggregate_type"),
        ({"aggregate_type": "workflow_execution"}, "aggregate_type"),
        ({"aggregate_id": "x" * 200}, "aggregate_id"),
        ({"data": [1]}, "data"),
        ({"data": None}, "data"),
        ({"correlation_id": "c" * 129}, "correlation_id"),
    ],
    ids=str,
)
def test_what_cannot_be_published_is_400_and_names_the_field(change: dict[str, Any], field: str) -> None:
    answer = post(client_of(factories.make_owner()), BODY | change)

    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (400, "VALIDATION_ERROR")
    assert body["errors"][0]["loc"] == ["body", field]
    assert not Event.objects.exists()


@pytest.mark.parametrize("name", list(BODY))
def test_each_field_is_required(name: str) -> None:
    answer = post(client_of(factories.make_owner()), {key: value for key, value in BODY.items() if key != name})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["loc"] == ["body", name]


def test_a_body_that_is_no_object_is_400() -> None:
    assert post(client_of(factories.make_owner()), [BODY]).status_code == 400


def test_a_key_needs_the_scope_execute() -> None:
    answer = post(client_of(factories.make_owner(), "read", "write"), BODY)

    assert answer.status_code == 403
    assert not Event.objects.exists()


def test_a_workflow_goes_on_with_what_was_published() -> None:
    owner = factories.make_owner()
    step = {"name": "wait", "type": "wait_for_event", "config": {"event_type": "order.paid"}}
    execution = factories.run(factories.make_workflow([step], owner=owner))

    event_id = post(client_of(owner), BODY).json()["event_id"]
    services.dispatch_events()
    factories.drain_all()

    assert factories.outputs(execution)["wait"]["event"]["id"] == event_id


def test_while_it_waits_the_api_says_for_what() -> None:
    owner = factories.make_owner()
    step = {"name": "wait", "type": "wait_for_event", "config": {"event_type": "order.paid", "filter": "a == 1"}}
    execution = factories.run(factories.make_workflow([step], owner=owner))

    body = client_of(owner).get(f"/api/v1/workflows/executions/{execution.pk}").json()

    assert (body["status"], body["waiting_on"]) == ("running", "event")
    assert body["why"] == "waits for event 'order.paid' that passes the filter"
