"""Concurrency limits: queue, skip and cancel_running, for a workflow and for each value of its key."""

from typing import Any

import pytest
from django.db import connection, transaction

from core import clock
from core.errors import InvalidInput
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine import lease, slots, sweep
from workflows.engine.runner import Slice
from workflows.errors import SlotsTaken
from workflows.models import Branch, Execution, StepAttempt, Workflow

pytestmark = pytest.mark.django_db

NAP = {"name": "nap", "type": "delay", "config": {"seconds": 60}}


def limited(limit: int = 1, **fields: Any) -> Workflow:
    return factories.make_workflow([NAP], concurrency_limit=limit, **fields)


def states() -> list[tuple[str, str]]:
    return list(Branch.objects.order_by("pk").values_list("execution__status", "waiting_on"))


def test_the_limit_lets_so_many_run_and_the_rest_wait_for_a_slot_with_a_sentence() -> None:
    workflow = limited(2)
    for _ in range(4):
        factories.start(workflow)

    factories.drain_all()

    assert states() == [("running", "timer"), ("running", "timer"), ("pending", "slot"), ("pending", "slot")]
    assert Branch.objects.filter(waiting_on="slot").first().waiting_reason == (
        "waits for one of 2 slots: 2 executions of workflow 'A workflow' run"
    )


def test_an_execution_that_ends_lets_the_next_in_by_priority_then_age() -> None:
    workflow = limited(1)
    first, low, high = (factories.start(workflow, priority=priority) for priority in (2, 3, 1))
    factories.drain_all()

    with clock.moved_by(seconds=61):
        factories.drain_all()

    statuses = {row.pk: row.status for row in Execution.objects.all()}
    assert (statuses[first.pk], statuses[high.pk], statuses[low.pk]) == ("completed", "running", "pending")


def test_each_value_of_the_key_has_slots_of_its_own() -> None:
    workflow = limited(1, concurrency_key="{{trigger.customer}}")
    for customer in ("a", "a", "b"):
        factories.start(workflow, {"customer": customer})

    factories.drain_all()

    assert [waiting for _, waiting in states()] == ["timer", "slot", "timer"]


def test_a_key_that_cannot_be_made_refuses_the_start() -> None:
    workflow = limited(1, concurrency_key="{{trigger.x ** 9}}")

    with pytest.raises(InvalidInput):
        factories.start(workflow, {"x": "a"})

    assert not Execution.objects.exists()


def test_skip_refuses_a_start_while_the_slots_are_taken() -> None:
    workflow = limited(1, concurrency_policy="skip")
    factories.start(workflow)

    with pytest.raises(SlotsTaken) as refusal:
        factories.start(workflow)

    assert refusal.value.detail == "Skipped: 1 executions run already, which is the workflow's limit"
    assert Execution.objects.count() == 1


def test_cancel_running_ends_the_oldest_for_the_newest() -> None:
    workflow = limited(1, concurrency_policy="cancel_running")
    old = factories.run(workflow)

    new = factories.start(workflow)
    sweep.sweep()
    factories.drain_all()

    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.status, new.status) == ("cancelled", "running")


def test_cancel_running_lets_only_the_newest_of_several_run() -> None:
    workflow = limited(1, concurrency_policy="cancel_running")
    first = factories.run(workflow)
    burst = [factories.start(workflow) for _ in range(3)]

    for _ in range(3):
        sweep.sweep()
        factories.drain_all()

    ends = [Execution.objects.get(pk=execution.pk).status for execution in (first, *burst)]
    assert ends == ["cancelled", "cancelled", "cancelled", "running"]


def test_a_cancelled_waiter_frees_no_slot() -> None:
    workflow = limited(1)
    _, waiter, other = (factories.start(workflow) for _ in range(3))
    factories.drain_all()

    services.cancel_execution(waiter)

    assert states() == [("running", "timer"), ("pending", "slot")]
    assert Branch.objects.get(waiting_on="slot").execution_id == other.pk


def test_a_cancelled_holder_frees_its_slot() -> None:
    workflow = limited(1)
    holder = factories.run(workflow)
    factories.start(workflow)

    services.cancel_execution(holder)

    assert states() == [("pending", "")]


def test_a_raised_limit_lets_waiters_in_with_the_next_sweep() -> None:
    workflow = limited(1)
    for _ in range(3):
        factories.start(workflow)
    services.update_workflow(workflow, body={"concurrency_limit": 2}, actor="test")

    sweep.sweep()

    assert [waiting for _, waiting in states()] == ["", "", "slot"]


def test_keys_without_a_free_slot_hide_no_key_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "KEYS_PER_SWEEP", 2)
    workflow = limited(1, concurrency_key="{{trigger.customer}}")
    for customer in ("a", "a", "b", "b", "c", "c", "d", "d"):
        factories.start(workflow, {"customer": customer})
    Branch.objects.filter(concurrency_key="=d", waiting_on="").delete()

    for _ in range(2):
        sweep.sweep()

    assert Branch.objects.get(concurrency_key="=d").waiting_on == ""
    assert Branch.objects.filter(waiting_on="slot").count() == 3


def test_who_gave_its_slot_back_gets_the_free_one_as_soon_as_its_timer_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_waiting_keys", list)
    workflow = limited(1, release_slot_while_waiting=True)
    factories.run(workflow)
    assert states() == [("running", "timer")]

    with clock.moved_by(seconds=61):
        sweep.sweep()

    assert states() == [("running", "")]


def test_however_the_database_plans_it_one_free_slot_lets_one_in() -> None:
    workflow = limited(1)
    for _ in range(5):
        factories.start(workflow)
    services.update_workflow(workflow, body={"concurrency_limit": 2}, actor="test")

    with connection.cursor() as cursor:
        # What is left is a nested loop, which looks at the choice of waiters once for each branch.
        for plan in ("hashagg", "hashjoin", "mergejoin", "sort", "material", "memoize", "indexscan", "bitmapscan"):
            cursor.execute(f"SET LOCAL enable_{plan} = off")
    sweep.sweep()

    assert [waiting for _, waiting in states()] == ["", "", "slot", "slot", "slot"]


def test_retried_executions_obey_the_limit_too() -> None:
    bad = {"name": "bad", "type": "delay", "config": {"seconds": "{{trigger.n}}"}}
    workflow = factories.make_workflow([bad], concurrency_limit=1)
    failed = factories.run(workflow, {"n": "soon"})
    running = factories.run(workflow, {"n": 60})

    services.retry_step(StepAttempt.objects.get(execution=failed))

    assert running.status == "running"
    assert Branch.objects.get(execution=failed).waiting_on == "slot"


def test_a_workflow_that_calls_itself_needs_no_slot_of_its_own_ancestor() -> None:
    workflow = factories.make_workflow([], concurrency_limit=1)
    call = {"name": "call", "type": "workflow", "config": {"workflow_id": workflow.pk}, "when": "{{trigger.again}}"}
    call["config"]["input"] = {"again": False}  # type: ignore[index]
    services.update_workflow(workflow, body={"workflow_config": {"steps": [call]}}, actor="test")
    workflow.refresh_from_db()

    execution = factories.run(workflow, {"again": True})

    assert execution.status == "completed"


def test_slots_of_loops_and_limits_are_told_apart() -> None:
    loop = {
        "name": "loop",
        "type": "foreach",
        "config": {"items": "{{trigger.items}}", "max_concurrency": 1, "steps": [NAP]},
    }
    factories.start(factories.make_workflow([loop], concurrency_limit=5), {"items": list(range(150))})
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()

    sweep.sweep()

    assert sorted(Branch.objects.values_list("kind", "waiting_on")) == [
        ("foreach_chunk", ""),
        ("foreach_chunk", "slot"),
        ("root", "children"),
    ]


def test_a_waiting_execution_may_lend_its_slot_and_needs_one_again_to_go_on() -> None:
    workflow = limited(1, release_slot_while_waiting=True)
    first, second = factories.start(workflow), factories.start(workflow)
    factories.drain_all()
    sleeping = states()

    with clock.moved_by(seconds=61):
        Branch.objects.filter(execution=second).update(slot_released=False)
        sweep.sweep()
        held_up = Branch.objects.get(execution=first)
        factories.drain_all()
        sweep.sweep()
        factories.drain_all()

    assert sleeping == [("running", "timer"), ("running", "timer")]
    assert (held_up.waiting_on, held_up.waiting_reason) == (
        "slot",
        "has waited long enough, and waits for a slot to go on",
    )
    assert set(Execution.objects.values_list("status", flat=True)) == {"completed"}


def test_an_execution_that_lent_its_slot_and_is_woken_early_waits_for_a_slot_first() -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([NAP], owner=owner)
    call = {"name": "call", "type": "workflow", "config": {"workflow_id": called.pk}}
    workflow = factories.make_workflow([call], owner=owner, concurrency_limit=1, release_slot_while_waiting=True)
    first = factories.run(workflow)
    other = factories.start(workflow)
    Branch.objects.filter(execution=other).update(claimed_by="somebody")

    services.cancel_execution(Execution.objects.get(parent=first))

    assert Branch.objects.get(execution=first).waiting_on == "slot"
    Branch.objects.filter(execution=other).delete()
    sweep.sweep()
    assert Branch.objects.get(execution=first).waiting_on == ""


@pytest.mark.django_db(transaction=True)
def test_eight_starts_at_the_same_moment_never_exceed_the_limit() -> None:
    import threading

    from django.db import connection

    workflow = limited(3)
    barrier = threading.Barrier(8)

    def start() -> None:
        try:
            with transaction.atomic():
                barrier.wait(timeout=30)
                factories.start(workflow)
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert Branch.objects.filter(waiting_on="").count() == 3
    assert Branch.objects.filter(waiting_on="slot").count() == 5
    assert len(lease.claim(Lane.FLOW)) == 3
