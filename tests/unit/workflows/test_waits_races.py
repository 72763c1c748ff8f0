"""What happens to a wait at the same moment: real transactions, threads that meet at barriers."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from accounts import selectors as accounts
from accounts.models import AuditEntry, Owner, User
from automation import services as events
from automation.models import Event
from automation.services import dispatch
from core import clock
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine.drain import drain
from workflows.errors import ApprovalNotPending, ExecutionFinished
from workflows.models import Approval, Branch, EventWait, Execution
from workflows.services import approvals, waits
from workflows.signals import event_wait_began

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 20
ROUNDS = 8


@pytest.fixture(autouse=True)
def _no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bells are heard by nobody here: each test does by itself what they would start."""
    monkeypatch.setattr("core.bells.ring", lambda *args, **kwargs: True)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls in threads that start together. Returns results, or the exception that each raised."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait(PATIENCE_SECONDS)
            results[index] = call()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results


def beside(call: Callable[[], Any]) -> None:
    """Run a call in another thread, with a connection of its own, to its end."""
    [result] = at_once(call)
    if isinstance(result, Exception):
        raise result


def workflow_that_waits(owner: Owner, **config: Any) -> Any:
    step = {"name": "wait", "type": "wait_for_event", "config": {"event_type": "order.paid", **config}}
    return factories.make_workflow([step], owner=owner)


def publish(owner: Owner, **data: Any) -> UUID:
    return events.publish_event(
        owner=owner, event_type="order.paid", aggregate_type="order", aggregate_id="1", data=data
    )


def taken(execution: Execution) -> str:
    execution.refresh_from_db()
    assert execution.status == "completed"
    return str(factories.outputs(execution)["wait"]["event"]["id"])


def test_an_event_that_is_stored_and_passed_over_before_the_wait_is_committed_still_counts() -> None:
    owner = factories.make_owner()
    execution = factories.start(workflow_that_waits(owner))
    made: list[UUID] = []

    def publish_meanwhile(**kwargs: Any) -> None:
        def call() -> None:
            made.append(publish(owner))
            events.sweep_events()

        beside(call)

    event_wait_began.connect(publish_meanwhile)
    try:
        drain(Lane.FLOW)
    finally:
        event_wait_began.disconnect(publish_meanwhile)
    dispatched = Event.objects.get(uuid=made[0]).dispatched_at
    factories.drain_all()

    assert dispatched is not None
    assert taken(execution) == str(made[0])


def test_an_event_that_commits_after_the_wait_has_looked_back_is_dispatched_to_it() -> None:
    owner = factories.make_owner()
    execution = factories.start(workflow_that_waits(owner, look_back_seconds=60))

    with transaction.atomic():
        made = publish(owner)
        beside(lambda: drain(Lane.FLOW))
        looked = EventWait.objects.get(execution=execution).scanned_at
    events.dispatch_events()
    factories.drain_all()

    assert looked is not None
    assert taken(execution) == str(made)


def test_a_wait_that_begins_while_the_sweep_passes_its_event_over_finds_it_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = factories.make_owner()
    made = publish(owner)
    execution = factories.start(workflow_that_waits(owner, look_back_seconds=60))
    asked = waits.awaited

    def awaited_and_then_a_wait(keys: set[str]) -> set[tuple[int, str]]:
        found = asked(keys)
        beside(lambda: drain(Lane.FLOW))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(dispatch.waits, "awaited", awaited_and_then_a_wait)
        events.sweep_events()
    factories.drain_all()

    assert Event.objects.get(uuid=made).dispatched_at is not None
    assert taken(execution) == str(made)


def test_a_look_back_that_died_with_its_worker_is_done_by_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = factories.make_owner()
    made = publish(owner)
    events.sweep_events()
    execution = factories.start(workflow_that_waits(owner, look_back_seconds=60))

    def die(**kwargs: Any) -> None:
        raise RuntimeError("the worker died")

    with monkeypatch.context() as patch:
        patch.setattr("automation.receivers.services.look_back", die)
        drain(Lane.FLOW)
    forgotten = waits.unscanned(limit=10)
    with clock.moved_by(seconds=dispatch.OVERDUE_SECONDS + 1):
        events.sweep_events()
    factories.drain_all()

    assert len(forgotten) == 1
    assert waits.unscanned(limit=10) == []
    assert taken(execution) == str(made)


def test_event_and_deadline_at_once_leave_one_outcome() -> None:
    owner = factories.make_owner()
    workflow = workflow_that_waits(owner, timeout_seconds=60)
    for _ in range(ROUNDS):
        execution = factories.start(workflow)
        drain(Lane.FLOW)
        made = publish(owner)

        with clock.moved_by(seconds=61):
            results = at_once(lambda: drain(Lane.FLOW), events.dispatch_events)
            factories.drain_all()

        assert not [result for result in results if isinstance(result, Exception)]
        assert taken(execution) == str(made)
    assert not EventWait.objects.exclude(status="matched").exists()


def test_an_event_that_comes_while_the_worker_ends_the_wait_does_not_change_what_it_saw() -> None:
    owner = factories.make_owner()
    execution = factories.start(workflow_that_waits(owner, timeout_seconds=60, on_timeout="continue"))
    drain(Lane.FLOW)
    wait = EventWait.objects.get()

    with clock.moved_by(seconds=61):
        drain(Lane.FLOW)
    news = waits.EventNews(UUID(int=1), "order.paid", owner.pk, {}, wait.since)
    with transaction.atomic():
        woken = waits.match_event(news)

    execution.refresh_from_db()
    wait.refresh_from_db()
    assert (woken, wait.status, wait.event) == (0, "expired", None)
    assert factories.outputs(execution)["wait"] == {"event": None, "timed_out": True}


def test_two_dispatchers_give_each_wait_one_event() -> None:
    owner = factories.make_owner()
    workflow = workflow_that_waits(owner, filter="event.data.n == trigger.n")
    executions = [services.start_execution(workflow, start_of(n)).execution_id for n in range(10)]
    factories.drain_all()
    for number in [*range(10), *range(10)]:
        publish(owner, n=number)

    first, second, _ = at_once(events.dispatch_events, events.dispatch_events, events.sweep_events)
    # The sweep may have held the events just then; it rings for those that it leaves.
    rest = events.dispatch_events()
    factories.drain_all()

    assert first + second + rest == 10
    assert not Event.objects.filter(dispatched_at=None, event_type="order.paid").exists()
    found = Execution.objects.filter(pk__in=executions).order_by("pk")
    assert [factories.outputs(execution)["wait"]["event"]["data"]["n"] for execution in found] == list(range(10))


def start_of(number: int) -> services.Start:
    return services.Start(trigger_type="manual", trigger_data={"n": number})  # type: ignore[arg-type]


def test_an_event_and_a_cancellation_at_once_neither_hang_nor_wake_the_dead() -> None:
    owner = factories.make_owner()
    workflow = workflow_that_waits(owner)
    for _ in range(ROUNDS):
        execution = factories.start(workflow)
        drain(Lane.FLOW)
        publish(owner)

        results = at_once(lambda e=execution: services.cancel_execution(e), events.dispatch_events)
        factories.drain_all()
        services.sweep_workflows()

        execution.refresh_from_db()
        assert not [result for result in results if isinstance(result, Exception)]
        assert execution.status in {"cancelled", "completed"}
        assert not Branch.objects.filter(execution=execution).exists()
        assert not EventWait.objects.filter(execution=execution, status="open").exists()


# --- Approvals ------------------------------------------------------------------------------------


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada@example.com")


def asked(**config: Any) -> tuple[Execution, Approval]:
    step = {"name": "ask", "type": "approval", "config": {"user": "ada@example.com", **config}}
    execution = factories.start(factories.make_workflow([step]))
    drain(Lane.FLOW)
    return execution, Approval.objects.get(execution=execution)


def test_of_two_decisions_at_once_one_wins(ada: User) -> None:
    caller = accounts.principal_of_user(ada)
    for number in range(1, ROUNDS + 1):
        execution, approval = asked()
        other = Approval.objects.get(pk=approval.pk)

        results = at_once(
            lambda a=approval: approvals.approve(a, principal=caller),
            lambda a=other: approvals.reject(a, principal=caller),
        )
        factories.drain_all()

        execution.refresh_from_db()
        refused = [result for result in results if isinstance(result, Exception)]
        approval = Approval.objects.get(pk=approval.pk)
        assert [type(error) for error in refused] == [ApprovalNotPending]
        assert approval.status == ("rejected" if isinstance(results[0], Exception) else "approved")
        assert execution.status == {"approved": "completed", "rejected": "failed"}[approval.status]
        assert AuditEntry.objects.filter(action__startswith="approval.").count() == number


def test_a_decision_and_a_cancellation_at_once_leave_one_end(ada: User) -> None:
    caller = accounts.principal_of_user(ada)
    for _ in range(ROUNDS):
        execution, approval = asked()

        decision, cancel = at_once(
            lambda a=approval: approvals.approve(a, principal=caller),
            lambda e=execution: services.cancel_execution(e),
        )
        factories.drain_all()
        services.sweep_workflows()

        execution.refresh_from_db()
        approval = Approval.objects.get(pk=approval.pk)
        assert isinstance(decision, Approval | ApprovalNotPending)
        assert cancel is None or isinstance(cancel, ExecutionFinished)
        assert approval.status == ("cancelled" if isinstance(decision, Exception) else "approved")
        assert execution.status in {"cancelled", "completed"}
        assert not Branch.objects.filter(execution=execution).exists()


def test_once_a_worker_has_met_the_deadline_a_decision_comes_too_late(ada: User) -> None:
    execution, approval = asked(timeout_seconds=60)
    with clock.moved_by(seconds=61):
        factories.claim_one()

    # A machine whose clock is behind: by it the deadline is still ahead.
    with pytest.raises(ApprovalNotPending, match="Approval has expired"):
        approvals.approve(approval, principal=accounts.principal_of_user(ada))
    factories.expire_leases()
    services.sweep_workflows()
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.error_code == "approval_timeout"
