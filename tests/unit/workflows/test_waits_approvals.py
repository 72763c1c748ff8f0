"""`approval` steps: whom they ask, who may decide, and what comes of each decision."""

from typing import Any

import pytest
from django.contrib.auth.models import Group

from accounts import selectors as accounts
from accounts.choices import Scope
from accounts.models import AuditEntry, Owner, User
from accounts.principal import Principal
from core import clock
from tests import factories
from workflows import services, transitions
from workflows.choices import ApprovalStatus
from workflows.errors import ApprovalNotPending, ApprovalNotYours, DefinitionInvalid
from workflows.models import Approval, Branch, Execution, StepAttempt
from workflows.services import approvals

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@example.com")


@pytest.fixture
def finance(ada: User) -> Group:
    group = Group.objects.create(name="Finance")
    ada.groups.add(group)
    return group


def approval_step(**config: Any) -> dict[str, Any]:
    return {"name": "ask", "type": "approval", "config": {"message": "Pay {{trigger.sum}}?", **config}}


def asked(owner: Owner | None = None, **config: Any) -> tuple[Execution, Approval]:
    workflow = factories.make_workflow([approval_step(**config)], owner=owner)
    execution = factories.run(workflow, {"sum": 12})
    return execution, Approval.objects.get(execution=execution)


def principal(user: User) -> Principal:
    return accounts.principal_of_user(user)


def key_of(owner: Owner) -> Principal:
    return Principal(owner=owner, scopes=frozenset(Scope.values), sees_all=False, actor="pak_12345678")


@pytest.mark.usefixtures("ada")
def test_it_asks_a_user_and_says_so() -> None:
    execution, approval = asked(user="Ada@Example.com")

    branch = Branch.objects.get(execution=execution)
    assert (branch.waiting_on, branch.waiting_reason) == ("approval", "waits for approval by ada@example.com")
    assert (approval.status, approval.message, approval.path) == ("pending", "Pay 12?", "ask")
    assert execution.status == "running"


def test_the_sentence_names_the_group_and_the_time(finance: Group) -> None:
    now = clock.now()
    with clock.moved_by(hours=14 - now.hour, minutes=-now.minute, seconds=-now.second):
        execution, _ = asked(group="Finance", timeout_seconds=3600)
        today = Branch.objects.get(execution=execution).waiting_reason
        execution, approval = asked(group="Finance", timeout_seconds=86_400)
        tomorrow = Branch.objects.get(execution=execution).waiting_reason

    assert today == "waits for approval by group Finance until 15:00 UTC"
    assert tomorrow == f"waits for approval by group Finance until {approval.deadline_at:%Y-%m-%d} 14:00 UTC"


def test_approved_the_execution_goes_on_with_the_decision(ada: User) -> None:
    execution, approval = asked(user=str(ada.pk))

    approvals.approve(approval, principal=principal(ada), comment="fine")
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    output = factories.outputs(execution)["ask"]
    assert output.pop("at").endswith("Z")
    expected = {"decision": "approved", "comment": "fine", "decided_by": "ada@example.com", "timed_out": False}
    assert output == expected


def test_rejected_the_step_fails_once_with_who_and_why(ada: User) -> None:
    execution, approval = asked(user="ada@example.com")

    approvals.reject(approval, principal=principal(ada), comment="too much")
    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "rejected")
    assert execution.error_message == "Step 'ask' failed: rejected by ada@example.com: too much"
    attempt = StepAttempt.objects.get(execution=execution)
    assert (attempt.status, attempt.output_data["decision"]) == ("failed", "rejected")


def test_on_reject_continue_goes_on(ada: User) -> None:
    execution, approval = asked(user="ada@example.com", on_reject="continue")

    approvals.reject(approval, principal=principal(ada))
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.outputs(execution)["ask"]["decision"] == "rejected"


@pytest.mark.parametrize(
    ("on_timeout", "status", "code", "approval_status"),
    [
        ("fail", "failed", "approval_timeout", "expired"),
        ("reject", "failed", "rejected", "rejected"),
        ("approve", "completed", "", "approved"),
        ("continue", "completed", "", "expired"),
    ],
)
def test_the_deadline_decides_as_the_step_says(
    finance: Group, on_timeout: str, status: str, code: str, approval_status: str
) -> None:
    execution, approval = asked(group="Finance", timeout_seconds=3600, on_timeout=on_timeout)

    with clock.moved_by(seconds=3601):
        factories.drain_all()

    execution.refresh_from_db()
    approval.refresh_from_db()
    output = StepAttempt.objects.get(execution=execution).output_data
    decision = {"approved": "approved", "rejected": "rejected", "expired": "timed_out"}[approval_status]
    assert (execution.status, execution.error_code, approval.status) == (status, code, approval_status)
    assert (output["decision"], output["decided_by"], output["timed_out"]) == (decision, None, True)


def test_who_may_decide(ada: User, finance: Group) -> None:
    owner = factories.make_owner()
    eve = User.objects.create_user("eve@example.com")
    root = User.objects.create_superuser("root@example.com")
    author = User.objects.create_user("author@example.com")
    _, by_group = asked(owner, group="Finance")
    _, by_user = asked(owner, user="eve@example.com")
    _, of_author = asked(principal(author).owner, user="eve@example.com")
    callers = {
        "ada": principal(ada),
        "eve": principal(eve),
        "root": principal(root),
        "author": principal(author),
        "own key": key_of(owner),
        "foreign key": key_of(factories.make_owner("Eve's")),
        "service": accounts.service_principal(),
    }

    may = {name: [approvals.may_decide(one, caller) for one in (by_group, by_user, of_author)]
           for name, caller in callers.items()}  # fmt: skip

    assert may == {
        "ada": [True, False, False],
        "eve": [False, True, True],
        "root": [True, True, True],
        "author": [False, False, False],
        "own key": [True, True, False],
        "foreign key": [False, False, False],
        "service": [True, True, True],
    }


def test_a_stranger_changes_nothing(ada: User) -> None:
    _, approval = asked(user="ada@example.com")
    stranger = principal(User.objects.create_user("eve@example.com"))

    with pytest.raises(ApprovalNotYours, match=r"Only ada@example.com or a superuser may decide this approval"):
        approvals.approve(approval, principal=stranger)

    approval.refresh_from_db()
    assert approval.status == "pending"
    assert not AuditEntry.objects.filter(action__startswith="approval").exists()


def test_a_decision_is_final_and_audited_once(ada: User) -> None:
    execution, approval = asked(user="ada@example.com")
    approvals.approve(approval, principal=principal(ada), comment="yes")

    with pytest.raises(ApprovalNotPending, match=r"Approval was already approved by ada@example\.com"):
        approvals.reject(approval, principal=principal(ada))

    approval.refresh_from_db()
    entry = AuditEntry.objects.get(action__startswith="approval")
    assert (approval.status, approval.comment) == ("approved", "yes")
    assert (entry.action, entry.actor, entry.owner) == ("approval.approved", "ada@example.com", approval.owner)
    assert entry.after == {"status": "approved", "comment": "yes", "execution_id": execution.pk, "step": "ask"}


@pytest.mark.usefixtures("ada")
def test_an_approval_that_is_over_changes_no_more() -> None:
    _, approval = asked(user="ada@example.com")

    first = transitions.end_approval(approval.pk, ApprovalStatus.REJECTED, decided_by="ada@example.com")
    second = transitions.end_approval(approval.pk, ApprovalStatus.EXPIRED)

    approval.refresh_from_db()
    assert (first, second) == (True, False)
    assert (approval.status, approval.decided_by) == ("rejected", "ada@example.com")


def test_after_its_deadline_nobody_decides_though_no_worker_has_seen_it_yet(ada: User) -> None:
    _, approval = asked(user="ada@example.com", timeout_seconds=60)

    with clock.moved_by(seconds=61), pytest.raises(ApprovalNotPending, match="Approval has expired"):
        approvals.approve(approval, principal=principal(ada))

    approval.refresh_from_db()
    assert approval.status == "pending"


def test_a_cancelled_execution_asks_no_more(ada: User) -> None:
    execution, approval = asked(user="ada@example.com")

    services.cancel_execution(execution)

    with pytest.raises(ApprovalNotPending, match="Approval is no longer asked for: its execution was stopped"):
        approvals.approve(approval, principal=principal(ada))
    execution.refresh_from_db()
    assert (execution.status, approval.status) == ("cancelled", "cancelled")


def test_a_retried_step_asks_again(ada: User) -> None:
    execution, approval = asked(user="ada@example.com")
    approvals.reject(approval, principal=principal(ada))
    factories.drain_all()

    services.retry_step(StepAttempt.objects.get(execution=execution))
    factories.drain_all()
    again = Approval.objects.get(execution=execution, status="pending")
    approvals.approve(again, principal=principal(ada))
    factories.drain_all()

    execution.refresh_from_db()
    assert (again.attempt, execution.status) == (2, "completed")


@pytest.mark.parametrize(
    ("config", "message"),
    [({"user": "nobody@example.com"}, "no active user 'nobody@example.com'"), ({"group": "None"}, "no group 'None'")],
)
def test_an_assignee_that_does_not_exist_fails_the_step(config: dict[str, Any], message: str) -> None:
    execution = factories.run(factories.make_workflow([approval_step(**config)]), {})

    assert (execution.status, execution.error_code) == ("failed", "assignee_not_found")
    assert execution.error_message == f"Step 'ask' failed: {message}"


@pytest.mark.parametrize("config", [{}, {"user": "a@example.com", "group": "Finance"}])
def test_it_asks_one_user_or_one_group(config: dict[str, Any]) -> None:
    with pytest.raises(DefinitionInvalid, match="give either user or group"):
        factories.make_workflow([approval_step(**config)])


def test_whoever_leaves_the_group_may_not_decide_any_more(ada: User, finance: Group) -> None:
    _, approval = asked(group="Finance")
    ada.groups.clear()

    with pytest.raises(ApprovalNotYours):
        approvals.approve(approval, principal=principal(ada))
