"""How branches end before their time: stops, time limits, retries of what a stop had ended."""

import pytest

from core import clock
from tests import factories
from tests.unit.workflows.touching import Touch, log_step, loop, touch, touched
from workflows import services
from workflows.choices import Lane
from workflows.engine import lease, sweep
from workflows.engine.drain import drain
from workflows.engine.runner import Slice
from workflows.models import Branch, StepAttempt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_touched")]


def test_cancelling_ends_every_branch_and_nothing_begins_after() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    workflow = factories.make_workflow([loop(nap, touch("call"), max_concurrency=2), touch("end")])
    execution = factories.run(workflow, {"items": list(range(6))})

    services.cancel_execution(execution)

    execution.refresh_from_db()
    assert (execution.status, touched) == ("cancelled", [])
    assert not Branch.objects.filter(execution=execution).exists()
    assert set(StepAttempt.objects.values_list("status", flat=True)) == {"cancelled"}


def test_a_cancelled_execution_ends_once_the_last_running_branch_has_obeyed() -> None:
    both = {"name": "both", "type": "parallel", "config": {"steps": [touch("a"), touch("b")]}}
    execution = factories.start(factories.make_workflow([both]))
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    first, second = lease.claim(Lane.FLOW)

    services.cancel_execution(execution)
    execution.refresh_from_db()
    before = execution.status
    for claim in (first, second):
        Slice(claim, lane=Lane.FLOW, hand_back=lambda: None).run()

    execution.refresh_from_db()
    assert (before, execution.status, touched) == ("running", "cancelled", [])
    assert not Branch.objects.filter(execution=execution).exists()


def test_a_time_out_in_one_branch_ends_the_execution_when_the_others_have_ended() -> None:
    workflow = factories.make_workflow([loop(touch("call"), max_concurrency=2)], timeout_seconds=10)
    execution = factories.start(workflow, {"items": [0, 1]})
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()

    with clock.moved_by(seconds=11):
        sweep.sweep()
        factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("timeout", "Execution timed out")


def test_stop_ends_the_execution_here_completed_or_failed() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {
            "condition": "{{trigger.fine}}",
            "true_action": {"type": "stop", "config": {"message": "enough"}},
            "false_action": {"type": "stop", "config": {"status": "failed", "message": "too little"}},
        },
    }
    workflow = factories.make_workflow([check, touch("end")])

    fine, short = factories.run(workflow, {"fine": True}), factories.run(workflow, {"fine": False})

    assert (fine.status, short.status, short.error_code) == ("completed", "failed", "stopped")
    assert short.error_message == "Step 'false' failed: too little"
    assert factories.statuses(fine) == [("check", 1, "completed"), ("check/true", 1, "completed")]
    assert touched == []


def test_the_time_limit_runs_on_after_a_branch_has_waited_from_where_it_stood() -> None:
    owner = factories.make_owner()
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 4000}}
    called = factories.make_workflow([nap], owner=owner)
    call = {"name": "call", "type": "workflow", "config": {"workflow_id": called.pk}}
    pause = {"name": "pause", "type": "delay", "config": {"seconds": 50}}
    both = {"name": "both", "type": "parallel", "config": {"steps": [{"name": "slow", "steps": [call, pause]}]}}
    behind = {**pause, "name": "behind"}
    execution = factories.run(factories.make_workflow([{**both, "timeout_seconds": 5}, behind], owner=owner))
    left = [factories.left_by(execution.attempts.get(path="both/slow/call"))]
    execution.refresh_from_db()
    limits = [execution.deadline_at]

    for seconds, path in ((4001, "both/slow/pause"), (4052, "behind")):
        with clock.moved_by(seconds=seconds):
            factories.drain_all()
        left.append(factories.left_by(execution.attempts.get(path=path)))
        execution.refresh_from_db()
        limits.append(execution.deadline_at)

    assert limits == [None, None, None]
    assert left == pytest.approx([300, 300, 300], abs=5)


def test_the_time_limit_stands_still_until_the_last_of_the_branches_that_wait_goes_on() -> None:
    quick = [{"name": "nap", "type": "delay", "config": {"seconds": 10}}, touch("work")]
    slow = [{"name": "nap", "type": "delay", "config": {"seconds": 500}}, touch("call")]
    both = {
        "name": "both",
        "type": "parallel",
        "config": {"steps": [{"name": "quick", "steps": quick}, {"name": "slow", "steps": slow}]},
    }
    execution = factories.run(factories.make_workflow([both, touch("end")]))

    for seconds in (11, 320):
        with clock.moved_by(seconds=seconds):
            sweep.sweep()
            factories.drain_all()
    execution.refresh_from_db()
    before = (execution.status, execution.deadline_at)
    with clock.moved_by(seconds=501):
        sweep.sweep()
        factories.drain_all()

    execution.refresh_from_db()
    assert before == ("running", None)
    assert execution.status == "completed"
    assert touched == ["both/quick/work", "both/slow/call", "end"]


def test_a_branch_that_ends_with_its_wait_lets_the_time_limit_run_on_for_the_others() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 10}}
    call = {"name": "call", "type": "http_request", "config": {"url": "http://10.0.0.1/"}}
    both = {"name": "both", "type": "parallel", "config": {"steps": [nap, call]}}
    execution = factories.start(factories.make_workflow([both]))
    drain(Lane.FLOW)  # nobody is on the lane of the call
    execution.refresh_from_db()
    while_waiting = execution.deadline_at

    with clock.moved_by(seconds=11):
        drain(Lane.FLOW)
        execution.refresh_from_db()
        assert execution.deadline_at is not None
        left = (execution.deadline_at - clock.now()).total_seconds()
    with clock.moved_by(seconds=320):
        sweep.sweep()

    execution.refresh_from_db()
    assert while_waiting is None
    assert left == pytest.approx(300, abs=5)
    assert (execution.status, execution.error_code) == ("timeout", "execution_timeout")


def test_a_branch_that_ends_with_its_wait_leaves_the_limit_to_another_that_still_waits() -> None:
    naps = [{"name": name, "type": "delay", "config": {"seconds": s}} for name, s in (("short", 10), ("long", 500))]
    execution = factories.run(
        factories.make_workflow([{"name": "both", "type": "parallel", "config": {"steps": naps}}])
    )

    with clock.moved_by(seconds=11):
        factories.drain_all()
    execution.refresh_from_db()
    between = (execution.status, execution.deadline_at)
    with clock.moved_by(seconds=501):
        sweep.sweep()
        factories.drain_all()

    execution.refresh_from_db()
    assert between == ("running", None)
    assert execution.status == "completed"


def test_a_retried_loop_goes_on_in_no_item_that_a_stop_has_ended() -> None:
    Touch.broken = {"loop/1/last"}
    halt = {"type": "stop", "config": {"status": "completed"}}
    check = {"name": "check", "type": "conditional", "config": {"condition": "item == 0", "true_action": halt}}
    loop = {"name": "loop", "type": "foreach", "config": {"items": [0, 1], "steps": [check, touch("last")]}}
    execution = factories.run(factories.make_workflow([loop]))

    services.retry_step(execution.attempts.get(path="loop/1/last"))
    factories.drain_all()

    assert touched == ["loop/1/last", "loop/1/last"]


def test_a_retried_loop_goes_on_in_an_item_whose_stop_was_skipped() -> None:
    Touch.broken = {"loop/0/last"}
    halt = {"name": "halt", "type": "stop", "when": "false", "config": {}}
    config = {"items": [0], "steps": [halt, touch("last"), touch("end")]}
    execution = factories.run(factories.make_workflow([{"name": "loop", "type": "foreach", "config": config}]))

    Touch.broken = set()
    services.retry_step(execution.attempts.get(path="loop/0/last"))
    factories.drain_all()

    assert touched == ["loop/0/last", "loop/0/last", "loop/0/end"]


def test_a_retried_loop_leaves_out_what_an_item_has_skipped() -> None:
    Touch.broken = {"loop/0/last"}
    ahead = {"condition": True, "true_action": {"skip_to_step": "last"}}
    check = {"name": "check", "type": "conditional", "config": ahead}
    steps = [check, touch("between"), touch("last")]
    execution = factories.run(
        factories.make_workflow([{"name": "loop", "type": "foreach", "config": {"items": [0], "steps": steps}}])
    )

    services.retry_step(execution.attempts.get(path="loop/0/last"))
    factories.drain_all()

    assert touched == ["loop/0/last", "loop/0/last"]


@pytest.mark.parametrize("kind", ["foreach", "parallel"])
def test_a_retried_branch_that_changes_its_worker_repeats_nothing_that_was_done(kind: str) -> None:
    steps = [log_step("begin", ""), touch("done"), touch("last")]
    config = {"items": [0], "steps": steps} if kind == "foreach" else {"steps": [{"name": "0", "steps": steps}]}
    Touch.broken, Touch.lane = {"both/0/last"}, Lane.IO
    try:
        execution = factories.run(factories.make_workflow([{"name": "both", "type": kind, "config": config}]))
        services.retry_step(execution.attempts.get(path="both/0/last"))
        factories.drain_all()
    finally:
        Touch.lane = Lane.FLOW

    assert touched == ["both/0/done", "both/0/last", "both/0/last"]


def test_a_stop_in_a_graph_ends_the_execution_once_what_runs_beside_it_has_ended() -> None:
    steps = [
        touch("a", depends_on=[]),
        touch("b", depends_on=[]),
        {"name": "halt", "type": "stop", "config": {}, "depends_on": ["a"]},
        touch("behind", depends_on=["halt"]),
        touch("other", depends_on=["halt", "b"]),
    ]

    execution = factories.run(factories.make_workflow(steps))

    assert execution.status == "completed"
    assert sorted(touched) == ["a", "b"]
    assert execution.attempts.get(path="halt").status == "completed"


def test_a_stop_in_a_graph_within_an_action_ends_what_is_around_it() -> None:
    graph = [
        touch("a", depends_on=[]),
        touch("b", depends_on=[]),
        {"name": "halt", "type": "stop", "config": {}, "depends_on": ["a", "b"]},
        touch("behind", depends_on=["halt"]),
    ]
    check = {"name": "check", "type": "conditional", "config": {"condition": True, "true_action": {"steps": graph}}}

    execution = factories.run(factories.make_workflow([check, touch("end")]))

    assert (execution.status, sorted(touched)) == ("completed", ["check/a", "check/b"])
    assert ("check", 1, "completed") in factories.statuses(execution)


def test_a_graph_that_was_stopped_begins_nothing_more_when_a_step_of_it_is_retried() -> None:
    Touch.broken = {"b"}
    steps = [
        touch("a", depends_on=[]),
        touch("b", depends_on=[]),
        {"name": "halt", "type": "stop", "config": {}, "depends_on": ["a"]},
        touch("behind", depends_on=["halt"]),
    ]
    # The stop comes before the failure.
    execution = factories.start(factories.make_workflow(steps))
    factories.drain_all()

    services.retry_step(execution.attempts.get(path="b"))
    Touch.broken = set()
    factories.drain_all()

    execution.refresh_from_db()
    assert "behind" not in touched
    assert execution.status == "completed"
