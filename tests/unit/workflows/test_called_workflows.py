"""`workflow` steps: one workflow calls another."""

from datetime import timedelta
from typing import Any

import pytest

from core import clock
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine import sweep
from workflows.engine.runner import Slice
from workflows.models import Branch, Execution, StepAttempt, Workflow

pytestmark = pytest.mark.django_db


def log_step(name: str, message: str) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": message}}


def call(target: Workflow | int, **config: Any) -> dict[str, Any]:
    key = target if isinstance(target, int) else target.pk
    return {"name": "call", "type": "workflow", "config": {"workflow_id": key, **config}}


def test_the_caller_waits_for_the_end_and_gets_the_outputs() -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([log_step("say", "hello {{trigger.who}}")], owner=owner)
    steps = [call(called, input={"who": "{{trigger.name}}"}), log_step("end", "{{steps.call.result.say.message}}")]

    execution = factories.run(factories.make_workflow(steps, owner=owner), {"name": "Ada"})

    child = Execution.objects.get(parent=execution)
    assert (execution.status, child.status, child.trigger_type) == ("completed", "completed", "workflow")
    assert factories.outputs(execution)["call"] == {
        "execution_id": child.pk,
        "workflow_id": called.pk,
        "status": "completed",
        "result": {"say": {"message": "hello Ada", "level": "info"}},
    }
    assert factories.outputs(execution)["end"]["message"] == "hello Ada"


def test_while_it_waits_the_caller_says_for_what_and_its_default_time_limit_stands_still() -> None:
    owner = factories.make_owner()
    slow = factories.make_workflow([{"name": "nap", "type": "delay", "config": {"seconds": 4000}}], owner=owner)
    pause = {"name": "pause", "type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([call(slow), pause], owner=owner))
    branch = Branch.objects.get(execution=execution)
    limit = execution.deadline_at

    with clock.moved_by(seconds=4001):
        factories.drain_all()

    pausing = execution.attempts.get(path="pause")
    assert (branch.waiting_on, limit) == ("children", None)
    assert branch.waiting_reason == f"waits for workflow 'A workflow' (#{slow.pk}) to end"
    assert timedelta(seconds=290) < pausing.deadline_at - pausing.started_at < timedelta(seconds=301)


def test_a_failed_call_fails_the_step_with_the_childs_reason() -> None:
    owner = factories.make_owner()
    bad = factories.make_workflow([{"name": "x", "type": "delay", "config": {"seconds": "{{trigger.n}}"}}], owner=owner)

    execution = factories.run(factories.make_workflow([call(bad, input={"n": "soon"})], owner=owner))

    child = Execution.objects.get(parent=execution)
    assert (execution.status, execution.error_code) == ("failed", "called_workflow_failed")
    assert execution.error_message.startswith(
        f"Step 'call' failed: execution {child.pk} ended failed: Step 'x' failed:"
    )


def test_a_call_without_waiting_goes_on_at_once_and_starts_one_execution_however_often_it_is_repeated() -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([log_step("say", "hi")], owner=owner)
    execution = factories.start(factories.make_workflow([call(called, wait=False)], owner=owner))
    first = factories.claim_one()
    dying = Slice(first, lane=Lane.FLOW, hand_back=lambda: None)
    dying._finish = lambda *args, **kwargs: setattr(dying, "open", False)  # type: ignore[method-assign]
    dying.run()
    factories.expire_leases()
    sweep.sweep()

    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert Execution.objects.filter(parent=execution).count() == 1


def test_another_owners_workflow_cannot_be_called() -> None:
    foreign = factories.make_workflow([], owner=factories.make_owner("Eve"))

    execution = factories.run(factories.make_workflow([call(foreign)]))

    assert (execution.status, execution.error_code) == ("failed", "workflow_not_found")


def test_a_workflow_that_calls_itself_is_refused_the_third_time() -> None:
    workflow = factories.make_workflow([])
    services.update_workflow(workflow, body={"workflow_config": {"steps": [call(workflow)]}}, actor="t")
    workflow.refresh_from_db()

    execution = factories.run(workflow)

    assert Execution.objects.count() == 3
    deepest = Execution.objects.order_by("-pk").first()
    assert execution.status == "failed"
    assert deepest.error_message == (
        f"Step 'call' failed: refused: workflow {workflow.pk} stands 3 times in its own chain of causes"
    )


def test_cancelling_the_caller_cancels_what_it_waits_for() -> None:
    owner = factories.make_owner()
    slow = factories.make_workflow([{"name": "nap", "type": "delay", "config": {"seconds": 60}}], owner=owner)
    execution = factories.run(factories.make_workflow([call(slow)], owner=owner))

    services.cancel_execution(execution)

    assert list(Execution.objects.order_by("pk").values_list("status", flat=True)) == ["cancelled", "cancelled"]
    assert not Branch.objects.exists()


def test_the_sweep_stops_children_whose_callers_worker_died_before_it_could() -> None:
    owner = factories.make_owner()
    slow = factories.make_workflow([{"name": "nap", "type": "delay", "config": {"seconds": 60}}], owner=owner)
    execution = factories.run(factories.make_workflow([call(slow)], owner=owner))
    Branch.objects.filter(execution=execution).delete()
    Execution.objects.filter(pk=execution.pk).update(status="cancelled")

    sweep.sweep()
    sweep.sweep()

    assert Execution.objects.get(parent=execution).status == "cancelled"


def test_a_loop_can_call_a_workflow_for_each_item() -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([log_step("say", "{{input.n}}")], owner=owner)
    loop = {
        "name": "loop",
        "type": "foreach",
        "config": {"items": "{{trigger.items}}", "steps": [call(called, input={"n": "{{item}}"})]},
    }

    execution = factories.run(factories.make_workflow([loop], owner=owner), {"items": [5, 6, 7]})

    results = factories.outputs(execution)["loop"]["results"]
    assert execution.status == "completed"
    assert [item["result"]["say"]["message"] for item in results] == [5, 6, 7]


def stop_badly(name: str = "bad") -> dict[str, Any]:
    return {"name": name, "type": "stop", "config": {"status": "failed", "message": "boom"}}


def nap(seconds: float = 600) -> dict[str, Any]:
    return {"name": "nap", "type": "delay", "config": {"seconds": seconds}}


def retry(execution: Execution, path: str) -> None:
    services.retry_step(execution.attempts.get(path=path, attempt=1))


@pytest.mark.parametrize("later", ["a call", "a loop"])
def test_a_step_retry_in_a_call_that_has_ended_wakes_nothing_that_its_caller_waits_for_now(later: str) -> None:
    owner = factories.make_owner()
    failing = factories.make_workflow([stop_badly()], owner=owner)
    slow = factories.make_workflow([nap()], owner=owner)
    loop = {"name": "call", "type": "foreach", "config": {"items": [1, 2], "steps": [nap()]}}
    steps = [{**call(failing), "name": "first", "on_error": "continue"}, call(slow) if later == "a call" else loop]
    execution = factories.run(factories.make_workflow(steps, owner=owner))
    ended = Execution.objects.get(parent=execution, workflow=failing)
    before = Branch.objects.get(execution=execution, parent=None)

    retry(ended, "bad")
    factories.drain_all()

    after = Branch.objects.get(execution=execution, parent=None)
    assert StepAttempt.objects.filter(execution=ended, path="bad").count() == 2
    assert (after.waiting_on, after.fence) == ("children", before.fence)
    with clock.moved_by(seconds=601):
        factories.drain_all()
    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("completed", None)


def test_a_call_that_ends_late_wakes_nothing_that_the_finally_steps_wait_for() -> None:
    owner = factories.make_owner()
    slow = factories.make_workflow([nap()], owner=owner)
    loop = {"name": "loop", "type": "foreach", "config": {"items": [1, 2], "steps": [nap()]}}
    workflow = factories.make_workflow([call(slow)], owner=owner, config={"finally": [loop]})
    execution = factories.run(workflow)
    child = Execution.objects.get(parent=execution)
    Branch.objects.filter(execution=child).update(claimed_by="a worker", lease_until="2999-01-01T00:00:00Z")
    services.cancel_execution(execution)
    factories.drain_all()

    Branch.objects.filter(execution=child).update(claimed_by="")
    sweep.sweep()
    factories.drain_all()

    child.refresh_from_db()
    execution.refresh_from_db()
    assert (child.status, execution.status) == ("cancelled", "running")
    assert Branch.objects.filter(execution=execution, waiting_on="timer").count() == 2
    with clock.moved_by(seconds=601):
        factories.drain_all()
    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("cancelled", "Execution cancelled")
    assert not Branch.objects.exists()


def test_a_caller_that_finds_its_call_retried_waits_for_it_again() -> None:
    owner = factories.make_owner()
    failing = factories.make_workflow([{**nap(), "config": {"seconds": "{{trigger.n}}"}}], owner=owner)
    execution = factories.start(factories.make_workflow([call(failing, input={"n": "soon"})], owner=owner))
    [caller] = Branch.objects.filter(execution=execution)
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    child = Execution.objects.get(parent=execution)
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    Execution.objects.filter(pk=child.pk).update(trigger_data={"n": 600})
    child.refresh_from_db()
    retry(child, "nap")

    factories.drain_all()

    caller.refresh_from_db()
    assert caller.waiting_on == "children"
    assert caller.waiting_reason == f"waits for execution {child.pk}, which was retried, to end"
    with clock.moved_by(seconds=601):
        factories.drain_all()
        factories.drain_all()
    with clock.moved_by(seconds=612):
        factories.drain_all()
    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("completed", None)


def test_a_step_retry_in_a_call_goes_on_although_its_caller_has_failed() -> None:
    owner = factories.make_owner()
    failing = factories.make_workflow([{**nap(), "config": {"seconds": "{{trigger.n}}"}}], owner=owner)
    execution = factories.run(factories.make_workflow([call(failing, input={"n": "soon"})], owner=owner))
    child = Execution.objects.get(parent=execution)
    Execution.objects.filter(pk=child.pk).update(trigger_data={"n": 600})
    child.refresh_from_db()

    retry(child, "nap")
    sweep.sweep()
    factories.drain_all()

    child.refresh_from_db()
    assert (execution.status, child.status, child.stop_requested) == ("failed", "running", "")


@pytest.mark.parametrize("wait", [True, False])
def test_a_call_that_finds_no_slot_is_tried_again_and_then_fails_its_step_as_any_other(wait: bool) -> None:
    owner = factories.make_owner()
    busy = factories.make_workflow([nap(6000)], owner=owner, concurrency_limit=1, concurrency_policy="skip")
    factories.run(busy)
    calling = {**call(busy, wait=wait), "on_error": "continue", "retry": {"max_attempts": 2, "initial_interval": 5}}
    steps = [log_step("before", "x"), calling, log_step("after", "{{steps.call.error_code}}")]

    execution = factories.run(factories.make_workflow(steps, owner=owner))
    waits_on = Branch.objects.get(execution=execution).waiting_on
    with clock.moved_by(seconds=10):
        factories.drain_all()

    execution.refresh_from_db()
    first, second = StepAttempt.objects.filter(execution=execution, path="call").order_by("attempt")
    assert (waits_on, execution.status) == ("retry", "completed")
    assert factories.statuses(execution) == [
        ("before", 1, "completed"),
        ("call", 1, "failed"),
        ("call", 2, "failed"),
        ("after", 1, "completed"),
    ]
    assert first.error_code == second.error_code == "slots_taken"
    assert second.error_message == "Skipped: 1 executions run already, which is the workflow's limit"
    assert factories.outputs(execution)["after"]["message"] == "slots_taken"
    assert Execution.objects.filter(parent=execution).count() == 0


@pytest.mark.parametrize("wait", [True, False])
def test_a_call_whose_concurrency_key_cannot_be_made_fails_its_step_at_once(wait: bool) -> None:
    owner = factories.make_owner()
    odd = factories.make_workflow([], owner=owner, concurrency_limit=1, concurrency_key="{{trigger.x ** 9}}")

    execution = factories.run(factories.make_workflow([call(odd, wait=wait, input={"x": "a"})], owner=owner))

    assert (execution.status, execution.error_code) == ("failed", "validation_error")
    assert execution.error_message.startswith("Step 'call' failed: The workflow's concurrency key cannot be made: ")
    assert factories.statuses(execution) == [("call", 1, "failed")]
