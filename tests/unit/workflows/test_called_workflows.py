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
from workflows.models import Branch, Execution, Workflow

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
        now = clock.now()

    execution.refresh_from_db()
    assert (branch.waiting_on, limit) == ("children", None)
    assert branch.waiting_reason == f"waits for workflow 'A workflow' (#{slow.pk}) to end"
    assert timedelta(seconds=350) < execution.deadline_at - now < timedelta(seconds=361)


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
