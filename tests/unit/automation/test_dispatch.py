"""The dispatcher: events that concern nobody cost next to nothing, the others come to their waits."""

import threading
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import Owner
from automation import enqueue, services, tasks
from automation.models import Event
from automation.services import dispatch
from core import clock
from tests import factories
from workflows.beat import Scheduler
from workflows.models import EventWait, Execution
from workflows.signals import swept

pytestmark = pytest.mark.django_db


@pytest.fixture
def bells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every bell that is rung, by task."""
    rung: list[str] = []
    monkeypatch.setattr("core.bells.ring", lambda task, **kwargs: rung.append(task) or True)
    return rung


def store(owner: Owner, count: int = 1, event_type: str = "order.paid") -> None:
    for _ in range(count):
        services.publish_event(owner=owner, event_type=event_type, aggregate_type="order", aggregate_id="1", data={})


def wait_for(owner: Owner, event_type: str = "order.paid") -> Execution:
    step = {"name": "wait", "type": "wait_for_event", "config": {"event_type": event_type}}
    execution = factories.run(factories.make_workflow([step], owner=owner))
    for wait in EventWait.objects.filter(execution=execution):
        services.look_back(wait_id=wait.pk)
    return execution


def undispatched() -> int:
    return Event.objects.filter(dispatched_at=None).count()


def statements_of(call: Any) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len(captured)


def test_events_that_concern_nobody_are_marked_together_without_a_bell(bells: list[str]) -> None:
    owner = factories.make_owner()
    store(owner, 3)
    few = statements_of(services.sweep_events)
    store(owner, 60)
    bells.clear()

    many = statements_of(services.sweep_events)

    assert undispatched() == 0
    assert bells == []
    # Pick, who waits, mark; which waits have not looked back; and the savepoint.
    assert many == few == 6


def test_an_idle_sweep_is_two_reads() -> None:
    assert statements_of(services.sweep_events) == 4


def test_executions_ring_for_no_dispatcher(
    bells: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    workflow = factories.make_workflow([{"name": "say", "type": "log", "config": {"message": "hi"}}])

    with django_capture_on_commit_callbacks(execute=True):
        factories.run(workflow)

    assert Event.objects.count() == 1
    assert enqueue.DISPATCH_TASK not in bells


def test_events_that_are_waited_for_are_left_to_the_dispatcher_and_rung_for(bells: list[str]) -> None:
    owner = factories.make_owner()
    execution = wait_for(owner)
    store(owner)
    store(owner, event_type="order.lost")
    store(factories.make_owner("Eve"))
    bells.clear()

    services.sweep_events()
    left = undispatched()
    tasks.dispatch()
    after = undispatched()
    factories.drain_all()

    execution.refresh_from_db()
    assert (left, after) == (1, 0)
    assert bells[0] == enqueue.DISPATCH_TASK
    assert execution.status == "completed"


def test_what_no_worker_heard_of_is_dispatched_by_the_sweep_itself(bells: list[str]) -> None:
    owner = factories.make_owner()
    execution = wait_for(owner)
    store(owner)

    with clock.moved_by(seconds=dispatch.OVERDUE_SECONDS + 1):
        services.sweep_events()
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"


def test_a_published_event_rings_once_it_is_committed(
    bells: list[str], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        store(factories.make_owner())
        before = list(bells)

    assert (before, bells) == ([], [enqueue.DISPATCH_TASK])


def test_more_events_than_a_batch_are_passed_over_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BATCH", 10)
    owner = factories.make_owner()
    execution = wait_for(owner)
    store(owner, 15, "order.lost")
    store(owner, 1)
    store(owner, 40, "order.lost")

    services.sweep_events()
    after_sweep = undispatched()
    services.dispatch_events()
    factories.drain_all()

    execution.refresh_from_db()
    # 57 with the begin of the execution; of the forty picked, one is waited for.
    assert after_sweep == 57 - (10 * dispatch.BATCHES_PER_SWEEP - 1)
    assert undispatched() == 1  # the end of the execution that waited
    assert execution.status == "completed"


def test_one_owners_broken_filter_stops_nobody_elses_events(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = factories.make_owner()
    step = {"name": "wait", "type": "wait_for_event", "config": {"event_type": "order.paid", "filter": "a == 1"}}
    broken = factories.run(factories.make_workflow([step], owner=owner))
    whole = wait_for(owner)

    def crash(*args: Any) -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr("workflows.services.waits.holds", crash)
    store(owner)
    services.dispatch_events()
    factories.drain_all()

    broken.refresh_from_db()
    whole.refresh_from_db()
    assert (broken.status, whole.status) == ("running", "completed")
    assert EventWait.objects.get(execution=broken).problem == "RuntimeError: a bug"


def test_beat_sweeps_the_events(bells: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store(factories.make_owner(), event_type="order.lost")
    monkeypatch.setattr("core.health.record_beat", lambda: None)
    beat = Scheduler.__new__(Scheduler)
    beat._folded_at = beat._rolled_at = beat._pruned_at = float("inf")

    beat._sweep()

    assert undispatched() == 0
    assert swept.has_listeners(Scheduler)


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_mark_each_event_once_and_never_hang() -> None:
    owner = factories.make_owner()
    store(owner, 200, "order.lost")
    barrier = threading.Barrier(2)
    errors: list[Exception] = []

    def sweep() -> None:
        try:
            barrier.wait(20)
            services.sweep_events()
        except Exception as error:  # noqa: BLE001  (looked at below)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    services.sweep_events()

    assert errors == []
    assert undispatched() == 0


def test_what_is_wrong_with_one_part_of_the_sweep_stops_no_other_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise TypeError("a bug")

    store(factories.make_owner(), event_type="order.lost")
    told: list[str] = []
    monkeypatch.setattr("workflows.services.sweep_workflows", broken)
    monkeypatch.setattr("core.health.record_beat", lambda: told.append("beat lives"))
    beat = Scheduler.__new__(Scheduler)
    beat._folded_at = beat._rolled_at = beat._pruned_at = float("inf")

    beat._sweep()

    assert (undispatched(), told) == (0, ["beat lives"])
