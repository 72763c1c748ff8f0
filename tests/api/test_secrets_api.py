"""`/api/v1/secrets`: names and facts of secrets, never a value."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts import secret_services
from accounts import services as accounts
from accounts.models import AuditEntry, Owner, Secret
from tests import factories
from tests.api.refusals import refused

pytestmark = pytest.mark.django_db

VALUE = "the-planted-value"


class Api:
    """A client with a key of one owner; remembers every answer's bytes."""

    def __init__(self, owner: Owner, scopes: tuple[str, ...] = ("read", "write", "execute")) -> None:
        self.owner = owner
        _, key = accounts.create_api_key(owner=owner, name="test", scopes=scopes, actor="test")
        self._client = Client(headers={"X-API-Key": key}, raise_request_exception=False)
        self.heard = b""

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = b"" if body is None else json.dumps(body)
        answer = self._client.generic(method, path, data=data, content_type="application/json")
        self.heard += answer.content
        return answer


@pytest.fixture
def api() -> Api:
    return Api(factories.make_owner())


def test_a_secret_is_made_listed_rotated_and_deleted_without_ever_being_shown(api: Api) -> None:
    made = api("POST", "/api/v1/secrets", {"name": "token", "value": VALUE, "description": "of the archive"})
    listed = api("GET", "/api/v1/secrets")
    rotated = api("PUT", "/api/v1/secrets/token", {"value": "another-value"})
    shown = api("GET", f"/api/v1/secrets/{made.json()['id']}/")
    values = secret_services.values_of(api.owner.pk)
    deleted = api("DELETE", "/api/v1/secrets/token")

    assert made.status_code == 201
    body = made.json()
    assert body.pop("created_at").endswith("Z")
    assert body.pop("id") > 0
    assert body == {
        "name": "token",
        "description": "of the archive",
        "version": 1,
        "owner_id": api.owner.pk,
        "created_by": body["created_by"],
        "rotated_at": None,
    }
    assert [item["name"] for item in listed.json()] == ["token"]
    assert listed["X-Total-Count"] == "1"
    assert rotated.status_code == 200
    assert (rotated.json()["version"], rotated.json()["description"]) == (2, "of the archive")
    assert shown.json() == rotated.json()
    assert values == secret_services.Values({"token": "another-value"}, (VALUE,))
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert not Secret.objects.exists()
    actions = list(
        AuditEntry.objects.filter(object_type="accounts.secret").order_by("pk").values_list("action", flat=True)
    )
    assert actions == ["secret.created", "secret.rotated", "secret.deleted"]
    assert b"value" not in api.heard.replace(b"secret", b"")


def test_another_owners_secret_does_not_exist(api: Api) -> None:
    secret_services.create_secret(owner=factories.make_owner("Eve"), name="theirs", value=VALUE, actor="x")
    theirs = Secret.objects.get()

    for path in ("/api/v1/secrets/theirs", f"/api/v1/secrets/{theirs.pk}"):
        for method in ("GET", "PUT", "DELETE"):
            body = None if method == "GET" else {"value": "taken-over"}
            refused(api(method, path, body), 404, "SECRET_NOT_FOUND")
    assert api("GET", "/api/v1/secrets").json() == []
    theirs.refresh_from_db()
    assert theirs.version == 1


@pytest.mark.parametrize("key", ["9" * 400, "%00", "none", "1e5"])
def test_a_key_that_names_nothing_is_missing(api: Api, key: str) -> None:
    assert api("GET", f"/api/v1/secrets/{key}").status_code in {400, 404}


def test_a_name_is_taken_once(api: Api) -> None:
    api("POST", "/api/v1/secrets", {"name": "token", "value": VALUE})

    again = api("POST", "/api/v1/secrets", {"name": "token", "value": "other-value"})

    refused(again, 409, "DUPLICATE_NAME")
    assert secret_services.values_of(api.owner.pk).current == {"token": VALUE}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"value": VALUE}, "name"),
        ({"name": "token"}, "value"),
        ({"name": "token", "value": None}, "value"),
        ({"name": "token", "value": "short"}, "value"),
        ({"name": "token", "value": {"an": "object"}}, "value"),
        ({"name": "to ken", "value": VALUE}, "name"),
        ([1], "body"),
    ],
)
def test_bad_input_is_refused_by_place(api: Api, body: Any, place: str) -> None:
    error = refused(api("POST", "/api/v1/secrets", body), 400, "VALIDATION_ERROR")

    assert place in error["errors"][0]["loc"]
    assert VALUE.encode() not in api.heard
    assert not Secret.objects.exists()


def test_a_reading_key_lists_but_changes_nothing() -> None:
    owner = factories.make_owner()
    secret_services.create_secret(owner=owner, name="token", value=VALUE, actor="x")
    reader = Api(owner, ("read",))

    assert reader("GET", "/api/v1/secrets").status_code == 200
    assert reader("POST", "/api/v1/secrets", {"name": "more", "value": VALUE}).status_code == 403
    assert reader("PUT", "/api/v1/secrets/token", {"value": "other-value"}).status_code == 403
    assert reader("DELETE", "/api/v1/secrets/token").status_code == 403


def test_a_list_takes_as_many_statements_for_many_as_for_one(api: Api, django_assert_max_num_queries: Any) -> None:
    for number in range(7):
        secret_services.create_secret(owner=api.owner, name=f"token{number}", value=VALUE, actor="x")
    api("GET", "/api/v1/secrets")

    with django_assert_max_num_queries(2):
        assert len(api("GET", "/api/v1/secrets").json()) == 7
