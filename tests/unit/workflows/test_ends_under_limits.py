"""What an execution does before it ends, where a limit says how many may run: locks, slots, error workflows."""

import threading
import time
from typing import Any

import pytest
from django.db import connection

from core import clock
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine import slots, sweep
from workflows.engine.drain import drain
from workflows.models import Branch, Execution, StepAttempt

NAP = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
BYE = {"name": "bye", "type": "delay", "config": {"seconds": 60}}
BAD = {"name": "bad", "type": "delay", "config": {"seconds": "{{trigger.n}}"}}
PATIENCE_SECONDS = 20


def places() -> list[tuple[int, str, str]]:
    return list(Branch.objects.order_by("execution_id").values_list("execution_id", "kind", "waiting_on"))


# --- Slots ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_execution_that_is_cancelled_before_it_began_ends_at_once_without_finally_steps() -> None:
    workflow = factories.make_workflow([NAP], config={"finally": [BYE]}, concurrency_limit=1)
    running, queued = factories.start(workflow), factories.start(workflow)
    factories.drain_all()

    services.cancel_execution(queued)

    queued.refresh_from_db()
    assert queued.status == "cancelled"
    assert not StepAttempt.objects.filter(execution=queued).exists()
    assert places() == [(running.pk, "root", "timer")]


@pytest.mark.django_db
def test_a_worker_that_finds_a_stop_before_the_first_step_runs_no_finally_steps_either() -> None:
    execution = factories.start(factories.make_workflow([NAP], config={"finally": [BYE]}))
    Execution.objects.update(stop_requested="cancel")

    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, StepAttempt.objects.count()) == ("cancelled", 0)


@pytest.mark.django_db
def test_who_lent_its_slot_waits_for_one_before_it_runs_its_finally_steps() -> None:
    config = {"finally": [BYE]}
    workflow = factories.make_workflow([NAP], config=config, concurrency_limit=1, release_slot_while_waiting=True)
    first = factories.run(workflow)
    second = factories.start(workflow)
    Branch.objects.filter(execution=second).update(claimed_by="somebody")  # in the middle of a step

    services.cancel_execution(first)
    waiting = Branch.objects.get(execution=first)
    Branch.objects.filter(execution=second).update(claimed_by="")
    services.cancel_execution(second)

    assert (waiting.kind, waiting.waiting_on, waiting.slot_released) == ("finally", "slot", False)
    assert waiting.waiting_reason == "has ended its steps, and waits for a slot to undo them or to run the last ones"
    assert places() == [(first.pk, "finally", "")]


@pytest.mark.django_db
def test_who_lent_its_slot_takes_it_back_for_its_finally_steps_if_nobody_has_it() -> None:
    config = {"finally": [BYE]}
    workflow = factories.make_workflow([NAP], config=config, concurrency_limit=1, release_slot_while_waiting=True)
    first = factories.run(workflow)

    services.cancel_execution(first)
    later = factories.start(workflow)

    assert places() == [(first.pk, "finally", ""), (later.pk, "root", "slot")]


@pytest.mark.django_db
def test_a_retried_execution_that_is_cancelled_in_the_queue_undoes_nothing_before_it_has_a_slot() -> None:
    bye = {**BYE, "config": {"seconds": 0}}
    workflow = factories.make_workflow([BAD], config={"finally": [bye]}, concurrency_limit=1)
    failed = factories.run(workflow, {"n": "soon"})
    running = factories.run(workflow, {"n": 60})

    services.retry_step(StepAttempt.objects.get(execution=failed, path="bad"))
    services.cancel_execution(Execution.objects.get(pk=failed.pk))

    assert places() == [(failed.pk, "finally", "slot"), (running.pk, "root", "timer")]


@pytest.mark.django_db
def test_without_a_limit_there_is_no_slot_to_lend_nor_to_wait_for() -> None:
    owner = factories.make_owner()
    call = {
        "name": "call",
        "type": "workflow",
        "config": {"workflow_id": factories.make_workflow([NAP], owner=owner).pk},
    }
    execution = factories.run(factories.make_workflow([call], owner=owner, release_slot_while_waiting=True))

    with clock.moved_by(seconds=61):
        factories.drain_all()
        sweep.sweep()
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"


# --- Error workflows --------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["{{ '\\ud800' }}", "{{ '\\x00' }}"])
def test_an_error_workflow_with_any_key_starts(key: str) -> None:
    owner = factories.make_owner()
    told = factories.make_workflow([NAP], owner=owner, concurrency_limit=1, concurrency_key=key)
    workflow = factories.make_workflow([BAD], owner=owner, config={"error_workflow_id": told.pk})

    execution = factories.run(workflow, {"n": "soon"})

    assert execution.status == "failed"
    assert Execution.objects.get(workflow=told).status == "running"


@pytest.mark.django_db
def test_an_error_workflow_that_cannot_start_never_keeps_an_execution_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = factories.make_owner()
    told = factories.make_workflow([NAP], owner=owner)
    workflow = factories.make_workflow([BAD], owner=owner, config={"error_workflow_id": told.pk})
    execution = factories.start(workflow, {"n": "soon"})

    def insert(*args: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    monkeypatch.setattr("workflows.engine.launch.insert_execution", insert)
    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "config_invalid")
    assert Execution.objects.count() == 1


# --- Locks ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_end_and_a_start_that_cancels_it_lock_in_the_same_order(
    paid: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = factories.make_owner()
    told = factories.make_workflow([NAP], owner=owner)
    workflow = factories.make_workflow(
        [{"name": "pay", "type": "pay"}],
        owner=owner,
        config={"error_workflow_id": told.pk},
        concurrency_limit=1,
        concurrency_policy="cancel_running",
    )
    execution = factories.start(workflow)
    counted, may_cancel = threading.Event(), threading.Event()
    make_room, failures = slots.make_room, []

    def make_room_late(*args: Any) -> None:
        counted.set()
        may_cancel.wait(PATIENCE_SECONDS)
        make_room(*args)

    monkeypatch.setattr("workflows.engine.slots.make_room", make_room_late)

    def beside(call: Any) -> threading.Thread:
        def run() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001  (the test looks at it)
                failures.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    starting = beside(lambda: factories.start(workflow))
    assert counted.wait(PATIENCE_SECONDS)
    ending = beside(lambda: drain(Lane.FLOW))
    wait_until_locked()
    may_cancel.set()
    starting.join(PATIENCE_SECONDS)
    ending.join(PATIENCE_SECONDS)

    assert failures == []
    assert list(Execution.objects.order_by("pk").values_list("status", flat=True)) == ["cancelled", "completed"]
    # The outcome of what must not be repeated is known: no checkpoint was lost.
    assert factories.statuses(execution) == [("pay", 1, "completed")]
    assert paid == ["pay", "pay"]


def wait_until_locked() -> None:
    """Return once some other connection waits for a lock."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone():
                return
    raise AssertionError("nobody waits for a lock")
