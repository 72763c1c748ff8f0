"""Starts that come twice: the second gets the first execution, whatever the limit and its policy say by then."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from core.errors import InvalidState
from tests import factories
from workflows import services
from workflows.choices import TriggerType
from workflows.engine import launch, sweep
from workflows.models import Execution, Workflow

NAP = {"name": "nap", "type": "delay", "config": {"seconds": 60}}


def limited(policy: str, **fields: Any) -> Workflow:
    return factories.make_workflow([NAP], concurrency_limit=1, concurrency_policy=policy, **fields)


@pytest.mark.django_db
@pytest.mark.parametrize("policy", ["queue", "skip", "cancel_running"])
def test_a_repeated_start_gets_the_first_execution_and_leaves_it_running(policy: str) -> None:
    workflow = limited(policy)
    first = factories.start(workflow, idempotency_key="k")
    factories.drain_all()

    again = services.start_execution(
        workflow, services.Start(trigger_type=TriggerType.MANUAL, trigger_data={}, idempotency_key="k")
    )
    sweep.sweep()
    factories.drain_all()

    first.refresh_from_db()
    assert (again.execution_id, again.execution_uuid, again.created) == (first.pk, first.uuid, False)
    assert (first.status, first.stop_requested) == ("running", "")
    assert Execution.objects.count() == 1


@pytest.mark.django_db
def test_another_start_still_cancels_the_one_that_runs() -> None:
    workflow = limited("cancel_running")
    first = factories.start(workflow, idempotency_key="k")
    factories.drain_all()

    second = factories.start(workflow, idempotency_key="l")

    first.refresh_from_db()
    assert second.pk != first.pk
    assert first.stop_requested == "cancel"


@pytest.mark.django_db
def test_a_repeated_start_gets_the_first_execution_of_a_workflow_that_is_paused_by_now() -> None:
    workflow = factories.make_workflow([NAP])
    first = factories.start(workflow, idempotency_key="k")
    workflow = services.set_paused(workflow, paused=True, actor="test")

    assert factories.start(workflow, idempotency_key="k").pk == first.pk
    with pytest.raises(InvalidState, match=r"Workflow cannot be executed \(status: paused, enabled: True\)"):
        factories.start(workflow, idempotency_key="l")


@pytest.mark.django_db
def test_a_call_without_waiting_that_is_repeated_does_not_cancel_its_own_execution() -> None:
    called = limited("cancel_running")
    start = launch.Start(trigger_type=TriggerType.WORKFLOW, idempotency_key="call:1")
    first = launch.insert_execution(called, called.published_version_id or 0, start)

    assert first is not None
    assert launch.insert_execution(called, called.published_version_id or 0, start) is None
    assert Execution.objects.get().stop_requested == ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", ["queue", "skip", "cancel_running"])
def test_of_starts_with_the_same_key_at_the_same_moment_all_get_the_first_execution(policy: str) -> None:
    workflow = limited(policy)
    barrier = threading.Barrier(4)
    got: list[Any] = []

    def start() -> None:
        try:
            with transaction.atomic():
                barrier.wait(timeout=30)
                got.append(factories.start(workflow, idempotency_key="k").pk)
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            got.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    only = Execution.objects.get()
    assert got == [only.pk] * 4
    assert only.stop_requested == ""


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
def test_a_trigger_key_of_any_text_starts_one_execution_each(text: str) -> None:
    workflow = factories.make_workflow([NAP], trigger_config={"idempotency_key": "{{trigger.x}}"})

    started = [factories.start(workflow, {"x": value}) for value in (text, "?", text)]

    assert started[0] == started[2] != started[1]


@pytest.mark.django_db
@pytest.mark.parametrize(("text", "stored"), [("\ud800", "=?"), ("a\x00b", "=ab")])
def test_a_concurrency_key_of_any_text_is_stored_as_the_database_can_hold_it(text: str, stored: str) -> None:
    workflow = limited("queue", concurrency_key="{{trigger.x}}")

    execution = factories.start(workflow, {"x": text})

    assert execution.branches.get().concurrency_key == stored
