"""Cancel, time-out and step retry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction

from core import clock
from core.errors import InvalidState
from tests import factories
from workflows import services
from workflows.choices import Lane, StopReason
from workflows.engine import stop, sweep
from workflows.engine.runner import Slice
from workflows.models import Branch, Execution, StepAttempt, Workflow

pytestmark = pytest.mark.django_db

NAP = {"name": "nap", "type": "delay", "config": {"seconds": 60}}


def test_a_waiting_execution_is_cancelled_at_once() -> None:
    execution = factories.run(factories.make_workflow([NAP]))

    services.cancel_execution(execution)

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("cancelled", "Execution cancelled")
    assert not Branch.objects.filter(execution=execution).exists()
    assert StepAttempt.objects.get(execution=execution).status == "cancelled"


def test_a_running_execution_is_cancelled_by_its_owner_at_the_next_checkpoint() -> None:
    execution = factories.start(factories.make_workflow([NAP]))
    claim = factories.claim_one()

    services.cancel_execution(execution)
    execution.refresh_from_db()
    assert execution.status == "pending"

    claim.stop_requested = "cancel"
    Slice(claim, lane=Lane.FLOW, hand_back=lambda: None).run()
    execution.refresh_from_db()
    assert execution.status == "cancelled"


def test_a_cancel_that_was_accepted_wins_over_completion() -> None:
    execution = factories.start(factories.make_workflow([{"name": "a", "type": "log", "config": {}}]))
    claim = factories.claim_one()

    services.cancel_execution(execution)
    Slice(claim, lane=Lane.FLOW, hand_back=lambda: None).run()

    execution.refresh_from_db()
    assert execution.status == "cancelled"


def test_a_finished_execution_cannot_be_cancelled() -> None:
    execution = factories.run(factories.make_workflow([]))

    with pytest.raises(InvalidState) as refusal:
        services.cancel_execution(execution)

    assert refusal.value.detail == "Execution has already finished (status: completed)"


def test_an_execution_past_its_explicit_limit_ends_as_timeout() -> None:
    execution = factories.run(factories.make_workflow([NAP], timeout_seconds=10))

    with clock.moved_by(seconds=11):
        sweep.stop_overdue_executions()

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("timeout", "Execution timed out")


def test_a_failed_step_is_retried_in_the_same_execution_with_earlier_outputs() -> None:
    steps = [
        {"name": "first", "type": "log", "config": {"message": "kept"}},
        {"name": "second", "type": "delay", "config": {"seconds": "{{trigger.pause}}"}},
        {"name": "third", "type": "log", "config": {"message": "{{steps.first.message}}"}},
    ]
    execution = factories.run(factories.make_workflow(steps), {"pause": "later"})
    assert execution.status == "failed"
    execution.trigger_data = {"pause": 0}
    execution.save(update_fields=["trigger_data"])

    services.retry_step(StepAttempt.objects.get(execution=execution, path="second"))
    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("completed", None)
    assert factories.statuses(execution) == [
        ("first", 1, "completed"),
        ("second", 1, "failed"),
        ("second", 2, "completed"),
        ("third", 1, "completed"),
    ]
    assert factories.outputs(execution)["third"]["message"] == "kept"


def test_a_step_inside_an_action_can_be_retried() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "true", "true_action": {"type": "delay", "config": {"seconds": "{{trigger.x}}"}}},
    }
    execution = factories.run(factories.make_workflow([check]), {"x": "soon"})
    execution.trigger_data = {"x": 0}
    execution.save(update_fields=["trigger_data"])

    services.retry_step(StepAttempt.objects.get(execution=execution, path="check/true"))
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.outputs(execution)["check"]["result"] == {"delayed": True, "delayed_seconds": 0}


def test_a_completed_step_cannot_be_retried() -> None:
    execution = factories.run(factories.make_workflow([{"name": "a", "type": "log", "config": {}}]))

    with pytest.raises(InvalidState) as refusal:
        services.retry_step(StepAttempt.objects.get(execution=execution))

    assert refusal.value.detail == "Step cannot be retried (status: completed)"
    assert not Branch.objects.exists()


def test_a_worker_that_finds_a_stop_leaves_no_step_open() -> None:
    execution = factories.run(factories.make_workflow([NAP]))
    with clock.moved_by(seconds=61):
        claim = factories.claim_one()
    claim.stop_requested = "cancel"
    stop.request_stop(execution.pk, StopReason.CANCEL)

    Slice(claim, lane=Lane.FLOW, hand_back=lambda: None).run()

    execution.refresh_from_db()
    assert execution.status == "cancelled"
    assert factories.statuses(execution) == [("nap", 1, "cancelled")]


def test_a_failed_conditional_can_be_retried_itself() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "true", "true_action": {"type": "delay", "config": {"seconds": "{{trigger.x}}"}}},
    }
    execution = factories.run(factories.make_workflow([check]), {"x": "soon"})
    execution.trigger_data = {"x": 0}
    execution.save(update_fields=["trigger_data"])

    services.retry_step(StepAttempt.objects.get(execution=execution, path="check"))
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.statuses(execution) == [
        ("check", 1, "failed"),
        ("check", 2, "completed"),
        ("check/true", 1, "failed"),
        ("check/true", 2, "completed"),
    ]


def test_steps_after_a_retried_one_run_again_but_a_completed_once_step_does_not() -> None:
    steps = [
        {"name": "a", "type": "delay", "config": {"seconds": "{{trigger.x}}"}, "on_error": "continue"},
        {"name": "b", "type": "log", "config": {"message": "b"}},
        {"name": "c", "type": "log", "config": {"message": "c"}, "effect": "once"},
    ]
    execution = factories.run(factories.make_workflow(steps), {"x": "soon"})
    assert execution.status == "completed"

    services.retry_step(StepAttempt.objects.get(execution=execution, path="a"))
    factories.drain_all()

    assert factories.statuses(execution) == [
        ("a", 1, "failed"),
        ("a", 2, "failed"),
        ("b", 1, "completed"),
        ("b", 2, "completed"),
        ("c", 1, "completed"),
    ]


def test_a_start_that_commits_while_its_workflow_is_deleted_never_runs() -> None:
    workflow = factories.make_workflow([{"name": "act", "type": "log", "config": {}}])
    read_before = Workflow.objects.get(pk=workflow.pk)
    services.delete_workflow(workflow, actor="test")

    execution = factories.run(read_before)

    assert (execution.status, execution.error_message) == ("cancelled", "Execution cancelled")
    assert factories.statuses(execution) == []


# --- The sweep ----------------------------------------------------------------------------------


def in_another_session(call: Callable[[], int]) -> int:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        return call()
    finally:
        connection.close()


def overdue(*, items: int = 0) -> Execution:
    """Return an execution past its deadline that waits, with as many items of a loop."""
    loop = {"name": "each", "type": "foreach", "config": {"items": "{{trigger.n}}", "steps": [NAP]}}
    execution = factories.run(factories.make_workflow([loop if items else NAP]), {"n": list(range(items))})
    Execution.objects.filter(pk=execution.pk).update(deadline_at=clock.now())
    return execution


def test_the_items_of_a_loop_that_a_worker_still_holds_hide_no_other_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "STOPS_PER_SWEEP", 2)
    loop, other = overdue(items=3), overdue()
    held = Branch.objects.filter(execution=loop).order_by("-pk")[:1]
    Branch.objects.filter(pk=held[0].pk).update(claimed_by="another", lease_until=clock.now() + timedelta(hours=1))

    sweep.sweep()

    other.refresh_from_db()
    assert other.status == "timeout"


def test_an_execution_that_cannot_be_ended_stops_no_other_and_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "STOPS_PER_SWEEP", 1)
    broken, whole = overdue(), overdue()

    def end(execution_id: int) -> bool:
        if execution_id == broken.pk:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return stop.end_unclaimed(execution_id)

    monkeypatch.setattr(sweep, "end_unclaimed", end)
    for _ in range(2):
        sweep.sweep()

    whole.refresh_from_db()
    assert whole.status == "timeout"


@pytest.mark.django_db(transaction=True)
def test_a_deletion_and_the_sweep_lock_executions_in_the_same_order() -> None:
    workflow = factories.make_workflow([NAP])
    first, second = (factories.run(workflow) for _ in range(2))
    # Overdue in the other order: that of the index of deadlines.
    for execution, hours in ((first, 1), (second, 2)):
        Execution.objects.filter(pk=execution.pk).update(deadline_at=clock.now() - timedelta(hours=hours))
    with transaction.atomic():
        Execution.objects.select_for_update().get(pk=first.pk)
        with ThreadPoolExecutor(1) as another:
            asked = another.submit(in_another_session, sweep.stop_overdue_executions).result(timeout=60)
    first.refresh_from_db()
    second.refresh_from_db()

    assert asked == 1
    assert (first.stop_requested, second.status) == ("", "timeout")
