"""Running executions again: from the start, the failed step or any step; one or many; error workflows."""

from typing import Any

import pytest

from accounts.principal import Principal
from core.errors import InvalidInput, InvalidState
from tests import factories
from workflows import services
from workflows.models import Execution, StepAttempt, Workflow
from workflows.services import reruns
from workflows.services.reruns import Filter, Rerun

pytestmark = pytest.mark.django_db


def log_step(name: str, message: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": message}, **more}


def nap(name: str = "nap") -> dict[str, Any]:
    return {"name": name, "type": "delay", "config": {"seconds": "{{trigger.seconds}}"}}


def again(execution: Execution, **wanted: Any) -> Execution:
    started = reruns.rerun_execution(execution, Rerun(**wanted), actor="op")
    factories.drain_all()
    return Execution.objects.get(pk=started.execution_id)


def three_steps() -> Workflow:
    return factories.make_workflow([log_step("a", "{{trigger.word}}"), nap(), log_step("c", "{{steps.a.message}}!")])


def test_from_the_start_everything_runs_again_linked_to_the_first() -> None:
    execution = factories.run(three_steps(), {"word": "hi", "seconds": 0})

    rerun = again(execution)

    assert (rerun.status, rerun.rerun_of_id, rerun.trigger_data) == ("completed", execution.pk, execution.trigger_data)
    assert factories.outputs(rerun) == factories.outputs(execution)


def test_from_the_failed_step_earlier_steps_are_copied_and_the_input_may_be_mended() -> None:
    execution = factories.run(three_steps(), {"word": "hi", "seconds": "soon"})

    rerun = again(execution, begin="failed", trigger_data={"word": "other", "seconds": 0})

    assert rerun.status == "completed"
    assert factories.outputs(rerun)["c"]["message"] == "hi!"
    copied, original = (StepAttempt.objects.get(execution=row, path="a") for row in (rerun, execution))
    assert (copied.completed_at, copied.output_data) == (original.completed_at, original.output_data)
    execution.refresh_from_db()
    assert execution.status == "failed"


def test_from_any_step_the_steps_after_it_run_again() -> None:
    execution = factories.run(three_steps(), {"word": "hi", "seconds": 0})

    rerun = again(execution, begin="c")

    assert StepAttempt.objects.get(execution=rerun, path="c").started_at > execution.completed_at
    assert StepAttempt.objects.get(execution=rerun, path="nap").completed_at < execution.completed_at


def test_the_published_version_may_take_the_place_of_the_original() -> None:
    workflow = three_steps()
    execution = factories.run(workflow, {"word": "hi", "seconds": "soon"})
    steps = [log_step("new", "n"), log_step("a", "changed"), log_step("nap", "now a log {{steps.a.message}}")]
    services.update_workflow(workflow, body={"workflow_config": {"steps": steps}}, actor="t")

    original, published = again(execution, begin="failed"), again(execution, begin="failed", published=True)

    assert original.status == "failed"
    assert published.status == "completed"
    assert factories.outputs(published)["nap"]["message"] == "now a log hi"
    assert [path for path, _, _ in factories.statuses(published)] == ["a", "nap"]


def test_a_step_of_a_graph_runs_again_with_what_needs_it() -> None:
    def call(name: str, *needs: str) -> dict[str, Any]:
        return {**nap(name), "depends_on": list(needs), "effect": "idempotent"}

    execution = factories.run(factories.make_workflow([call("a"), call("b"), call("c", "a")]), {"seconds": 0})

    rerun = again(execution, begin="a")

    fresh = {row.path for row in StepAttempt.objects.filter(execution=rerun, started_at__gt=execution.completed_at)}
    assert (rerun.status, fresh) == ("completed", {"a", "c"})


def test_a_step_that_does_not_exist_and_an_execution_that_runs_are_refused() -> None:
    ended = factories.run(three_steps(), {"word": "hi", "seconds": 0})
    running = factories.run(three_steps(), {"word": "hi", "seconds": 60})
    before = Execution.objects.count()

    for execution, begin, refusal in (
        (ended, "nothing", InvalidInput),
        (ended, "failed", InvalidInput),
        (running, "start", InvalidState),
    ):
        with pytest.raises(refusal):
            reruns.rerun_execution(execution, Rerun(begin=begin), actor="op")

    assert Execution.objects.count() == before


def test_a_filter_lists_what_would_run_again_and_then_runs_it_each_alone() -> None:
    workflow = three_steps()
    failed = [factories.run(workflow, {"word": "hi", "seconds": "soon"}) for _ in range(2)]
    factories.run(workflow, {"word": "hi", "seconds": 0})
    foreign = factories.run(factories.make_workflow([nap()]), {"seconds": "soon"})
    principal = Principal(owner=workflow.owner, scopes=frozenset({"read", "execute"}), actor="op", sees_all=False)

    listed = list(reruns.find_reruns(principal, Filter()))
    started, refused = reruns.rerun_executions(listed, Rerun(begin="failed"), actor="op")

    assert [row.pk for row in listed] == [row.pk for row in failed]
    assert [pk for pk, _ in started] == [row.pk for row in failed]
    assert refused == []
    assert not Execution.objects.filter(rerun_of=foreign).exists()


def test_a_failed_execution_starts_the_error_workflow_with_what_happened() -> None:
    owner = factories.make_owner()
    told = factories.make_workflow([log_step("tell", "{{trigger.error_message}}")], owner=owner)
    workflow = factories.make_workflow([nap()], owner=owner, config={"error_workflow_id": told.pk})

    failed = factories.run(workflow, {"seconds": "soon"})
    factories.run(workflow, {"seconds": 0})

    error = Execution.objects.get(workflow=told)
    assert (error.status, error.trigger_type, error.cause_chain) == ("completed", "workflow", [workflow.pk, told.pk])
    assert error.trigger_data["execution_id"] == failed.pk
    assert error.trigger_data["trigger"] == {"seconds": "soon"}
    assert factories.outputs(error)["tell"]["message"] == failed.error_message


def test_an_error_workflow_that_fails_itself_comes_to_an_end() -> None:
    workflow = factories.make_workflow([nap()])
    steps = {"steps": [nap()], "error_workflow_id": workflow.pk}
    services.update_workflow(workflow, body={"workflow_config": steps}, actor="t")
    workflow.refresh_from_db()

    factories.run(workflow, {"seconds": "soon"})

    assert Execution.objects.count() == 3
    assert set(Execution.objects.values_list("status", flat=True)) == {"failed"}


def test_a_key_expression_of_the_trigger_makes_equal_orders_one_execution() -> None:
    workflow = factories.make_workflow([nap()], trigger_config={"idempotency_key": "{{trigger.order}}"})

    ids = [factories.start(workflow, {"order": order, "seconds": 0}).pk for order in (7, 7, "7", 8, "", None)]

    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 4
    assert Execution.objects.count() == 4


@pytest.mark.parametrize(
    ("begin", "ran"), [("beside", ["beside", "halt"]), ("behind", ["behind"]), ("first", ["first", "halt"])]
)
def test_a_stop_in_a_graph_has_its_say_again_unless_the_rerun_begins_behind_it(begin: str, ran: list[str]) -> None:
    def free(name: str, *needs: str) -> dict[str, Any]:
        return log_step(name, "", effect="idempotent", depends_on=list(needs))

    halt = {"name": "halt", "type": "stop", "config": {}, "depends_on": ["first"]}
    steps = [free("first"), free("beside"), halt, free("behind", "halt")]
    execution = factories.run(factories.make_workflow(steps))

    rerun = again(execution, begin=begin)

    fresh = rerun.attempts.filter(status="completed", started_at__gte=rerun.created_at)
    assert rerun.status == "completed"
    assert sorted(fresh.values_list("path", flat=True)) == ran
