"""The approvals inbox of the admin."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import AuditEntry, User
from tests import factories
from tests.admin.rows import messages_of, text_of
from workflows.models import Approval

pytestmark = pytest.mark.django_db

APPROVALS = "/admin/workflows/approval/"


def ask(**config: Any) -> Approval:
    step = {"name": "ask", "type": "approval", "config": {"message": "Pay <b>12</b>?", **config}}
    execution = factories.run(factories.make_workflow([step]))
    return Approval.objects.get(execution=execution)


@pytest.fixture
def finance() -> Group:
    return Group.objects.create(name="Finance")


@pytest.fixture
def ada(finance: Group) -> User:
    user = User.objects.create_user("ada@example.com", is_staff=True)
    user.groups.add(finance)
    return user


@pytest.fixture
def desk(ada: User) -> Client:
    """The admin, as a member of Finance without any further permission."""
    client = Client()
    client.force_login(ada)
    return client


def listed(client: Client, query: str = "") -> list[int]:
    return [approval.pk for approval in client.get(f"{APPROVALS}{query}").context["cl"].result_list]


def test_what_waits_for_me_comes_first_and_what_is_over_only_if_asked_for(admin: Client, operator: User) -> None:
    Group.objects.create(name="Others")
    mine_old, others_new = ask(user=operator.email), ask(group="Others")
    decided = ask(group="Others")
    Approval.objects.filter(pk=decided.pk).update(status="approved")

    assert listed(admin) == [mine_old.pk, others_new.pk]
    assert listed(admin, "?state=decided") == [decided.pk]
    assert listed(admin, "?state=all") == [decided.pk, others_new.pk, mine_old.pk]
    assert "operator@example.com (you)" in text_of(admin.get(APPROVALS))


def test_a_member_of_the_group_sees_what_he_is_asked_and_nothing_else(desk: Client) -> None:
    Group.objects.create(name="Others")
    his, other = ask(group="Finance"), ask(group="Others")

    assert listed(desk) == [his.pk]
    assert desk.get(f"{APPROVALS}{his.pk}/change/").status_code == 200
    assert desk.get(f"{APPROVALS}{other.pk}/change/").status_code == 302


def test_whoever_is_no_staff_sees_nothing(finance: Group) -> None:
    user = User.objects.create_user("member@example.com")
    user.groups.add(finance)
    client = Client()
    client.force_login(user)

    assert client.get(APPROVALS).status_code == 302


def test_the_page_shows_what_is_asked_and_leads_to_the_execution(admin: Client, ada: User) -> None:
    approval = ask(group="Finance", timeout_seconds=3600)

    answer = admin.get(f"{APPROVALS}{approval.pk}/change/")

    body = answer.content.decode()
    assert "Pay &lt;b&gt;12&lt;/b&gt;?" in body
    assert "group Finance" in text_of(answer)
    assert f'href="/admin/workflows/execution/{approval.execution_id}/change/"' in body
    assert 'name="comment"' in body


@pytest.mark.parametrize(("how", "status"), [("approve", "completed"), ("reject", "failed")])
def test_a_press_decides_with_the_comment(desk: Client, how: str, status: str) -> None:
    approval = ask(group="Finance")

    answer = desk.post(f"{APPROVALS}{approval.pk}/press/{how}/", {"comment": " because "})
    factories.drain_all()

    approval.refresh_from_db()
    approval.execution.refresh_from_db()
    assert answer.status_code == 302
    assert (approval.comment, approval.decided_by) == ("because", "ada@example.com")
    assert approval.execution.status == status
    assert AuditEntry.objects.get(action__startswith="approval.").actor == "ada@example.com"


def test_a_second_press_says_that_it_was_decided(admin: Client, ada: User) -> None:
    approval = ask(group="Finance")
    admin.post(f"{APPROVALS}{approval.pk}/press/approve/")

    answer = admin.post(f"{APPROVALS}{approval.pk}/press/reject/")

    approval.refresh_from_db()
    assert approval.status == "approved"
    assert messages_of(answer)[-1].startswith("Approval was already approved by operator@example.com")
    page = admin.get(f"{APPROVALS}{approval.pk}/change/")
    assert 'name="comment"' not in page.content.decode()


def test_whose_workflow_asks_sees_it_and_may_not_press(ada: User) -> None:
    author = User.objects.create_user("author@example.com", is_staff=True)
    client = Client()
    client.force_login(author)
    approval = ask(group="Finance")
    Approval.objects.filter(pk=approval.pk).update(owner=accounts.owner_of_user(author))

    page = client.get(f"{APPROVALS}{approval.pk}/change/")
    answer = client.post(f"{APPROVALS}{approval.pk}/press/approve/")

    approval.refresh_from_db()
    assert "Only group Finance or a superuser may decide." in text_of(page)
    assert messages_of(answer) == ["Only group Finance or a superuser may decide this approval"]
    assert approval.status == "pending"


def test_the_list_takes_few_queries_however_many_rows_it_shows(admin: Client, ada: User) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(APPROVALS).status_code == 200
        return len(captured)

    ask(group="Finance")
    admin.get(APPROVALS)
    of_one = statements()
    for _ in range(5):
        ask(group="Finance")

    assert statements() == of_one
    assert of_one <= 6
