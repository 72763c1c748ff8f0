"""Approvals over HTTP."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import AuditEntry, Owner, User
from core import clock
from tests import factories
from workflows.models import Approval

pytestmark = pytest.mark.django_db

PATH = "/api/v1/approvals"


@pytest.fixture
def finance() -> Group:
    return Group.objects.create(name="Finance")


def client_of(owner: Owner, *scopes: str) -> Client:
    _, key = accounts.create_api_key(owner=owner, name="k", scopes=scopes or ("read", "execute"), actor="t")
    return Client(headers={"X-API-Key": key})


def signed_in(email: str, *groups: Group) -> Client:
    user = User.objects.create_user(email, is_staff=True)
    user.groups.add(*groups)
    client = Client()
    client.force_login(user)
    return client


def ask(owner: Owner, **config: Any) -> Approval:
    step = {"name": "ask", "type": "approval", "config": {"group": "Finance", "message": "Pay?", **config}}
    execution = factories.run(factories.make_workflow([step], owner=owner))
    return Approval.objects.get(execution=execution)


def decide(client: Client, approval: Approval, how: str, body: Any = None) -> Any:
    raw = b"" if body is None else json.dumps(body)
    return client.post(f"{PATH}/{approval.uuid}/{how}", data=raw, content_type="application/json")


@pytest.mark.usefixtures("finance")
def test_an_approval_as_the_api_shows_it() -> None:
    owner = factories.make_owner()
    approval = ask(owner, timeout_seconds=3600)

    body = client_of(owner).get(f"{PATH}/{approval.uuid}/").json()

    assert body.pop("created_at").endswith("Z")
    assert body.pop("deadline_at").endswith("Z")
    assert body == {
        "id": str(approval.uuid),
        "status": "pending",
        "assignee": "group Finance",
        "message": "Pay?",
        "execution_id": approval.execution_id,
        "workflow_id": approval.execution.workflow_id,
        "workflow_name": "A workflow",
        "step": "ask",
        "comment": None,
        "decided_by": None,
        "decided_at": None,
    }


@pytest.mark.usefixtures("finance")
@pytest.mark.parametrize(("how", "status"), [("approve", "approved"), ("reject", "rejected")])
def test_a_key_of_the_owner_decides_with_and_without_a_comment(how: str, status: str) -> None:
    owner = factories.make_owner()
    first, second, third = ask(owner), ask(owner), ask(owner)

    answers = [
        decide(client_of(owner), first, how, {"comment": "since I say so"}),
        decide(client_of(owner), second, how),
        decide(client_of(owner), third, how, {"comment": None, "unknown": 1}),
    ]
    factories.drain_all()

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.json()["status"] for answer in answers] == [status] * 3
    assert [answer.json()["comment"] for answer in answers] == ["since I say so", None, None]
    assert answers[0].json()["decided_by"].startswith("pak_")
    assert AuditEntry.objects.filter(action=f"approval.{status}", owner=owner).count() == 3
    first.execution.refresh_from_db()
    assert first.execution.status == {"approved": "completed", "rejected": "failed"}[status]


def test_members_of_the_group_decide_and_others_do_not_even_see(finance: Group) -> None:
    approval = ask(factories.make_owner())
    member, stranger = signed_in("member@example.com", finance), signed_in("stranger@example.com")

    seen = [client.get(f"{PATH}/{approval.uuid}").status_code for client in (member, stranger)]
    refused = decide(stranger, approval, "approve")
    # The browsable API checks CSRF only where the client asks for it; Django's test client does not.
    decided = decide(member, approval, "approve")

    assert seen == [200, 404]
    assert (refused.status_code, refused.json()["error_code"]) == (404, "APPROVAL_NOT_FOUND")
    assert decided.json()["decided_by"] == "member@example.com"


@pytest.mark.usefixtures("finance")
def test_whose_workflow_asks_sees_it_but_does_not_decide() -> None:
    client = signed_in("author@example.com")
    owner = accounts.owner_of_user(User.objects.get(email="author@example.com"))
    approval = ask(owner)

    answer = decide(client, approval, "approve")

    assert (answer.status_code, answer.json()["error_code"]) == (403, "FORBIDDEN")
    assert answer.json()["detail"] == "Only group Finance or a superuser may decide this approval"


@pytest.mark.usefixtures("finance")
def test_deciding_twice_is_400_invalid_state() -> None:
    owner = factories.make_owner()
    approval, client = ask(owner), client_of(owner)
    decide(client, approval, "approve")

    for how in ("approve", "reject"):
        answer = decide(client, approval, how)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_STATE")
    approval.refresh_from_db()
    assert approval.status == "approved"


@pytest.mark.usefixtures("finance")
def test_after_the_deadline_it_is_400_and_says_when_it_was() -> None:
    owner = factories.make_owner()
    approval = ask(owner, timeout_seconds=60)

    with clock.moved_by(seconds=61):
        answer = decide(client_of(owner), approval, "approve")

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Approval has expired (at {approval.deadline_at:%Y-%m-%d %H:%M:%S} UTC)"


@pytest.mark.usefixtures("finance")
def test_a_key_needs_the_scope_execute_and_the_owner() -> None:
    owner = factories.make_owner()
    approval = ask(owner)

    statuses = [
        decide(client_of(owner, "read", "write"), approval, "approve").status_code,
        decide(client_of(factories.make_owner("Eve")), approval, "approve").status_code,
        decide(Client(), approval, "approve").status_code,
    ]

    approval.refresh_from_db()
    assert statuses == [403, 404, 401]
    assert approval.status == "pending"


@pytest.mark.usefixtures("finance")
def test_the_list_is_a_bare_array_with_a_total_and_filters() -> None:
    owner = factories.make_owner()
    client = client_of(owner)
    first, second, third = ask(owner), ask(owner), ask(owner)
    ask(factories.make_owner("Eve"))
    decide(client, second, "reject")

    def listed(query: str) -> list[str]:
        return [item["id"] for item in client.get(f"{PATH}?{query}").json()]

    page = client.get(f"{PATH}?limit=1")
    assert (len(page.json()), page["X-Total-Count"]) == (1, "3")
    assert listed("") == [str(item.uuid) for item in (third, second, first)]
    assert listed("pending=true") == [str(third.uuid), str(first.uuid)]
    assert listed("pending=false") == listed("status=rejected") == [str(second.uuid)]
    assert listed("status=nonsense") == listed("")


def test_the_list_holds_what_the_caller_is_asked_by_others(finance: Group) -> None:
    member = signed_in("member@example.com", finance)
    by_group = ask(factories.make_owner())
    by_name = ask(factories.make_owner("Eve"), group=None, user="member@example.com")

    assert [item["id"] for item in member.get(PATH).json()] == [str(by_name.uuid), str(by_group.uuid)]


@pytest.mark.usefixtures("finance")
def test_the_list_takes_as_many_statements_for_many_as_for_one() -> None:
    owner = factories.make_owner()
    client = client_of(owner)

    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(PATH).status_code == 200
        return len(captured)

    ask(owner)
    client.get(PATH)
    of_one = statements()
    for _ in range(4):
        ask(owner)

    assert statements() == of_one
    assert of_one <= 3


@pytest.mark.usefixtures("finance")
@pytest.mark.parametrize("body", [[1], {"comment": {"a": 1}}, {"comment": "x" * 5001}], ids=str)
def test_a_bad_body_changes_nothing(body: Any) -> None:
    owner = factories.make_owner()
    approval = ask(owner)

    answer = decide(client_of(owner), approval, "approve", body)

    approval.refresh_from_db()
    assert (answer.status_code, approval.status) == (400, "pending")


def test_an_unknown_approval_is_404(service: Client) -> None:
    answer = service.get(f"{PATH}/{uuid4()}")

    assert (answer.status_code, answer.json()["error_code"]) == (404, "APPROVAL_NOT_FOUND")
