"""SAGA: completed steps are undone in reverse order after a final failure; finally-steps run whatever came."""

from typing import Any

import pytest
from django.db.models import F

from core import clock
from core.errors import InvalidInput, InvalidState
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine import lease, sweep
from workflows.engine.drain import SLICES
from workflows.engine.runner import Slice
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.registry import register
from workflows.models import Branch, Execution, StepAttempt, WorkflowInstance
from workflows.services import reruns, sagas
from workflows.services.reruns import Rerun

pytestmark = pytest.mark.django_db


class ActConfig(StepConfig):
    what: Any = None
    retryable: bool = False


acted: list[tuple[str, Any]] = []
broken: set[str] = set()


class Act(Step[ActConfig]):
    type = "act"
    config_model = ActConfig
    lane = Lane.FLOW

    def run(self, config: ActConfig, context: StepContext) -> Output:
        acted.append((context.path, config.what))
        if context.path in broken:
            raise StepError("broken", f"{context.path} is broken", retryable=config.retryable)
        return Output({"id": f"{context.path}!"})


@pytest.fixture(autouse=True)
def nothing_acted() -> None:
    register(Act)
    acted.clear()
    broken.clear()


def act(name: str, **more: Any) -> dict[str, Any]:
    undo = {"type": "act", "config": {"what": f"undo {{{{steps.{name}.id}}}}"}}
    return {"name": name, "type": "act", "config": {"what": "do"}, "compensate": undo, **more}


def log_step(name: str, message: str) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": message}}


def saga_of(execution: Execution) -> WorkflowInstance:
    return WorkflowInstance.objects.get(execution=execution)


def test_completed_steps_are_undone_in_reverse_order_with_what_they_made() -> None:
    broken.add("c")

    execution = factories.run(factories.make_workflow([act("a"), log_step("note", "x"), act("b"), act("c")]))

    assert acted[3:] == [("b/compensate", "undo b!"), ("a/compensate", "undo a!")]
    assert (execution.status, execution.error_message) == ("failed", "Step 'c' failed: c is broken")
    assert factories.statuses(execution) == [
        ("a", 1, "compensated"),
        ("a/compensate", 1, "completed"),
        ("note", 1, "completed"),
        ("b", 1, "compensated"),
        ("b/compensate", 1, "completed"),
        ("c", 1, "failed"),
    ]
    saga = saga_of(execution)
    assert (saga.status, saga.uuid, saga.current_step, saga.total_steps) == ("compensated", execution.uuid, 2, 2)
    assert saga.completed_at is not None
    assert not Branch.objects.exists()


def test_without_a_failure_nothing_is_undone_and_there_is_no_saga_row() -> None:
    execution = factories.run(factories.make_workflow([act("a"), act("b")]))

    assert execution.status == "completed"
    assert len(acted) == 2
    assert not WorkflowInstance.objects.exists()


def test_a_compensation_that_fails_stays_open_and_the_others_still_run() -> None:
    broken.update({"c", "b/compensate"})

    execution = factories.run(factories.make_workflow([act("a"), act("b"), act("c")]))

    saga = saga_of(execution)
    assert saga.status == "failed"
    assert [(entry["path"], entry["status"]) for entry in saga.steps_data] == [("b", "failed"), ("a", "compensated")]
    assert [entry["path"] for entry in services.open_entries(saga)] == ["b"]
    assert saga.steps_data[0]["error"] == "b/compensate is broken"
    assert StepAttempt.objects.get(path="b", attempt=1).status == "completed"


def test_an_operator_tries_again_what_stayed_open() -> None:
    broken.update({"c", "b/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), act("b"), act("c")]))
    acted.clear()
    broken.clear()

    services.retry_compensation(execution, actor="op")
    factories.drain_all()

    execution.refresh_from_db()
    assert acted == [("b/compensate", "undo b!")]
    assert (execution.status, execution.error_message) == ("failed", "Step 'c' failed: c is broken")
    assert saga_of(execution).status == "compensated"
    assert ("b/compensate", 2, "completed") in factories.statuses(execution)
    with pytest.raises(InvalidState):
        services.retry_compensation(execution, actor="op")


def test_an_operator_says_that_a_step_was_undone_by_hand_and_why() -> None:
    broken.update({"c", "b/compensate", "a/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), act("b"), act("c")]))

    services.compensate_by_hand(execution, path="b", reason="refunded by phone", actor="op")
    first = saga_of(execution).status
    services.compensate_by_hand(execution, path="a", reason="it expired", actor="op")

    saga = saga_of(execution)
    assert (first, saga.status) == ("failed", "compensated")
    assert [(entry["status"], entry["note"]) for entry in saga.steps_data] == [
        ("by_hand", "op: refunded by phone"),
        ("by_hand", "op: it expired"),
    ]
    with pytest.raises(InvalidState):
        services.compensate_by_hand(execution, path="a", reason="again", actor="op")


@pytest.mark.parametrize(("path", "reason"), [("b", " "), ("nothing", "why not")])
def test_by_hand_needs_a_reason_and_an_open_step(path: str, reason: str) -> None:
    broken.update({"c", "b/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), act("b"), act("c")]))

    with pytest.raises(InvalidInput):
        services.compensate_by_hand(execution, path=path, reason=reason, actor="op")

    assert saga_of(execution).status == "failed"


def test_a_worker_that_dies_between_two_compensations_repeats_none_of_those_stored() -> None:
    broken.add("d")
    workflow = factories.make_workflow([act("a"), act("b"), act("c"), act("d")])
    execution = factories.start(workflow)
    while Branch.objects.get(execution=execution).kind == "root":
        [claim] = lease.claim(Lane.FLOW)
        SLICES.get(claim.kind, Slice)(claim, lane=Lane.FLOW, hand_back=lambda: None).run()
    [claim] = lease.claim(Lane.FLOW)
    dying = SLICES[claim.kind](claim, lane=Lane.FLOW, hand_back=lambda: None)
    save = dying._save

    def die_after_the_second(*args: Any, **kwargs: Any) -> str:
        stored = save(*args, **kwargs)
        if acted[-1][0] == "b/compensate":
            raise KeyboardInterrupt
        return stored

    dying._save = die_after_the_second  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dying.run()
    factories.expire_leases()
    sweep.sweep()

    factories.drain_all()

    assert [path for path, _ in acted[4:]] == ["c/compensate", "b/compensate", "a/compensate"]
    assert saga_of(execution).status == "compensated"


def test_retries_of_a_compensation_wait_and_go_on_with_the_same_step() -> None:
    undo = {"type": "act", "config": {"retryable": True}, "retry": {"max_attempts": 2}}
    broken.update({"b", "x/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), {**act("x"), "compensate": undo}, act("b")]))
    waiting = Branch.objects.get(execution=execution)
    StepAttempt.objects.filter(path="x/compensate").update(deadline_at=F("started_at"))

    with clock.moved_by(seconds=10):
        factories.drain_all()

    execution.refresh_from_db()
    second = StepAttempt.objects.get(path="x/compensate", attempt=2)
    assert (waiting.kind, waiting.waiting_on) == ("compensation", "retry")
    assert second.error_code == "broken"
    assert [(path, attempt) for path, attempt, _ in factories.statuses(execution) if path == "x/compensate"] == [
        ("x/compensate", 1),
        ("x/compensate", 2),
    ]
    assert [entry["status"] for entry in saga_of(execution).steps_data] == ["failed", "compensated"]


def test_a_cancelled_execution_undoes_what_it_did_and_ends_cancelled() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([act("a"), nap]))

    services.cancel_execution(execution)
    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("cancelled", "Execution cancelled")
    assert acted == [("a", "do"), ("a/compensate", "undo a!")]
    assert saga_of(execution).status == "compensated"


def test_an_execution_that_times_out_undoes_what_it_did() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([act("a"), nap], timeout_seconds=30))

    with clock.moved_by(seconds=31):
        sweep.sweep()
        factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("timeout", "Execution timed out")
    assert acted[-1] == ("a/compensate", "undo a!")


def test_an_execution_that_compensates_cannot_be_cancelled_and_its_steps_not_retried() -> None:
    broken.add("b")
    undo = {"type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([{**act("a"), "compensate": undo}, act("b")]))

    with pytest.raises(InvalidState):
        services.cancel_execution(execution)
    with clock.moved_by(seconds=61):
        factories.drain_all()
    with pytest.raises(InvalidState, match="compensation has begun"):
        services.retry_step(StepAttempt.objects.get(path="b"))

    execution.refresh_from_db()
    assert (execution.status, saga_of(execution).status) == ("failed", "compensated")


def test_items_of_a_loop_are_undone_each_with_its_own_item() -> None:
    broken.add("end")
    undo = {"type": "act", "config": {"what": "undo {{item}} {{steps.call.id}}"}}
    loop = {
        "name": "loop",
        "type": "foreach",
        "config": {"items": [7, 8], "max_concurrency": 1, "steps": [{**act("call"), "compensate": undo}]},
    }

    execution = factories.run(factories.make_workflow([loop, act("end")]))

    assert acted[3:] == [
        ("loop/1/call/compensate", "undo 8 loop/1/call!"),
        ("loop/0/call/compensate", "undo 7 loop/0/call!"),
    ]
    assert execution.status == "failed"


def test_finally_steps_run_after_success_failure_and_cancel_and_know_the_outcome() -> None:
    last = [log_step("bye", "{{outcome.status}} {{outcome.error_code}}"), act("clean", compensate=None)]
    nap = {"name": "nap", "type": "delay", "config": {"seconds": "{{trigger.seconds}}"}}
    workflow = factories.make_workflow([nap], config={"finally": last})

    fine, bad, stopped = (factories.run(workflow, {"seconds": seconds}) for seconds in (0, "soon", 60))
    services.cancel_execution(stopped)
    factories.drain_all()

    for execution, status, message in (
        (fine, "completed", "completed "),
        (bad, "failed", "failed config_invalid"),
        (stopped, "cancelled", "cancelled "),
    ):
        execution.refresh_from_db()
        assert (execution.status, factories.outputs(execution)["finally/bye"]["message"]) == (status, message)
    assert [path for path, _ in acted] == ["finally/clean"] * 3


def test_compensation_comes_before_the_finally_steps() -> None:
    broken.add("b")
    last = [{"name": "clean", "type": "act", "config": {"what": "last"}}]

    execution = factories.run(factories.make_workflow([act("a"), act("b")], config={"finally": last}))

    assert [path for path, _ in acted] == ["a", "b", "a/compensate", "finally/clean"]
    assert execution.status == "failed"


def test_with_finally_steps_the_last_compensation_is_recorded() -> None:
    broken.add("b")
    last = [log_step("bye", "{{outcome.status}}")]

    execution = factories.run(factories.make_workflow([act("a"), act("b")], config={"finally": last}))

    saga = saga_of(execution)
    assert (saga.status, [entry["status"] for entry in saga.steps_data]) == ("compensated", ["compensated"])
    assert ("a", 1, "compensated") in factories.statuses(execution)


def test_a_failing_finally_step_fails_what_had_completed_and_keeps_an_earlier_reason() -> None:
    broken.update({"finally/clean", "b"})
    last = [{"name": "clean", "type": "act", "config": {}}]

    fine = factories.run(factories.make_workflow([log_step("a", "")], config={"finally": last}))
    bad = factories.run(factories.make_workflow([act("b")], config={"finally": last}))

    assert (fine.status, fine.error_message) == (
        "failed",
        "finally: Step 'clean' failed: finally/clean is broken",
    )
    assert (bad.status, bad.error_message) == ("failed", "Step 'b' failed: b is broken")


@pytest.mark.parametrize("limits", [{}, {"timeout_seconds": 5}])
def test_finally_steps_side_by_side_know_the_outcome_and_are_under_no_limit_of_the_execution(
    limits: dict[str, int],
) -> None:
    nap = {"type": "delay", "config": {"seconds": 10}}
    inner = [{**nap, "name": "one"}, log_step("bye", "{{outcome.status}}"), {**nap, "name": "two"}, act("clean")]
    both = {"name": "both", "type": "parallel", "config": {"steps": [{"name": "side", "steps": inner}]}}
    workflow = factories.make_workflow([log_step("a", "")], config={"finally": [both]}, **limits)
    execution = factories.run(workflow)

    deadlines = []
    for seconds in (11, 17, 400):
        with clock.moved_by(seconds=seconds):
            sweep.sweep()
            factories.drain_all()
        execution.refresh_from_db()
        deadlines.append(execution.deadline_at)

    assert deadlines == [None, None, None]
    assert execution.status == "completed", execution.error_message
    assert factories.outputs(execution)["finally/both/side/bye"]["message"] == "completed"
    assert [path for path, _ in acted] == ["finally/both/side/clean"]


def test_finally_steps_run_once_more_after_a_retry_and_know_the_new_outcome() -> None:
    broken.add("b")
    last = [log_step("bye", "{{outcome.status}}"), act("clean", compensate=None)]
    step = {"name": "b", "type": "act", "config": {}}
    execution = factories.run(factories.make_workflow([step], config={"finally": last}))

    broken.clear()
    services.retry_step(execution.attempts.get(path="b"))
    factories.drain_all()

    said = execution.attempts.filter(path="finally/bye").order_by("attempt")
    assert list(said.values_list("output_data__message", flat=True)) == ["failed", "completed"]
    assert [path for path, _ in acted] == ["b", "finally/clean", "b", "finally/clean"]


def test_finally_steps_do_not_run_again_because_something_is_undone_once_more() -> None:
    broken.update({"b", "a/compensate"})
    last = [act("clean", compensate=None)]
    execution = factories.run(factories.make_workflow([act("a"), act("b")], config={"finally": last}))

    sagas.retry_compensation(execution, actor="test")
    factories.drain_all()

    assert [path for path, _ in acted].count("finally/clean") == 1


def test_finally_steps_run_after_recovery_was_given_up() -> None:
    last = [{"name": "clean", "type": "act", "config": {}}]
    execution = factories.start(factories.make_workflow([log_step("a", "")], config={"finally": last}))
    Branch.objects.update(recoveries=101)

    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "recovery_exhausted")
    assert [path for path, _ in acted] == ["finally/clean"]


def test_a_re_run_that_would_build_on_undone_steps_is_refused_and_says_where_it_may_begin() -> None:
    broken.update({"d", "b/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), act("b"), act("c", compensate=None), act("d")]))
    services.compensate_by_hand(execution, path="b", reason="refunded by phone", actor="op")
    before = Execution.objects.count()

    for begin, undone in (("failed", "a, b"), ("d", "a, b"), ("b", "a")):
        with pytest.raises(InvalidState) as refusal:
            reruns.rerun_execution(execution, Rerun(begin=begin), actor="op")
        name = "d" if begin == "failed" else begin
        assert refusal.value.detail == (
            f"Execution cannot be re-run from step '{name}': steps before it were undone ({undone});"
            " re-run it from 'a' or from the start"
        )
    assert Execution.objects.count() == before

    acted.clear()
    broken.clear()
    reruns.rerun_execution(execution, Rerun(begin="a"), actor="op")
    factories.drain_all()
    assert [path for path, _ in acted] == ["a", "b", "c", "d"]


def test_a_re_run_keeps_what_could_not_be_undone_but_no_attempt_to_undo_it() -> None:
    broken.update({"b", "a/compensate"})
    execution = factories.run(factories.make_workflow([act("a"), act("b")]))
    acted.clear()
    broken.clear()

    started = reruns.rerun_execution(execution, Rerun(begin="failed"), actor="op")
    factories.drain_all()

    rerun = Execution.objects.get(pk=started.execution_id)
    assert (rerun.status, [path for path, _ in acted]) == ("completed", ["b"])
    assert factories.statuses(rerun) == [("a", 1, "completed"), ("b", 1, "completed")]


def test_cancelling_an_execution_that_undoes_steps_says_that_it_is_ending_already() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    undo = {"type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([{**act("a"), "compensate": undo}, nap]))
    services.cancel_execution(execution)
    factories.drain_all()

    with pytest.raises(InvalidState) as refusal:
        services.cancel_execution(execution)

    assert refusal.value.detail == "Execution is already ending (cancelled): it runs its last steps"
    execution.refresh_from_db()
    assert (execution.status, execution.stop_requested) == ("running", "")


def test_undoing_once_more_in_a_call_that_has_ended_wakes_nothing_that_its_caller_waits_for_now() -> None:
    broken.update({"b", "a/compensate"})
    owner = factories.make_owner()
    called = factories.make_workflow([act("a"), act("b")], owner=owner)
    slow = factories.make_workflow([{"name": "nap", "type": "delay", "config": {"seconds": 60}}], owner=owner)
    calls = [{"name": f"call{row.pk}", "type": "workflow", "config": {"workflow_id": row.pk}} for row in (called, slow)]
    execution = factories.run(factories.make_workflow([{**calls[0], "on_error": "continue"}, calls[1]], owner=owner))
    ended = Execution.objects.get(parent=execution, workflow=called)
    before = Branch.objects.get(execution=execution)
    broken.clear()

    services.retry_compensation(ended, actor="op")
    factories.drain_all()

    after = Branch.objects.get(execution=execution)
    assert saga_of(ended).status == "compensated"
    assert (after.waiting_on, after.fence) == ("children", before.fence)


def test_an_execution_whose_finally_steps_were_recovered_too_often_ends_as_it_was_to() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 50}}
    broken.add("b")
    failing = {"name": "b", "type": "act", "config": {}}
    fine, bad = (
        factories.run(factories.make_workflow([step], config={"finally": [nap]}))
        for step in (log_step("a", ""), failing)
    )
    Branch.objects.update(recoveries=101)

    with clock.moved_by(seconds=51):
        factories.drain_all()

    fine.refresh_from_db()
    bad.refresh_from_db()
    assert (fine.status, fine.error_code) == ("failed", "recovery_exhausted")
    assert (bad.status, bad.error_code, bad.error_message) == ("failed", "broken", "Step 'b' failed: b is broken")
