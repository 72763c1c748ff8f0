"""Branches of branches: `parallel`, `foreach`, and lists whose `depends_on` leave steps free of each other."""

from typing import Any

import pytest

from core import clock
from tests import factories
from tests.unit.workflows.touching import Touch, log_step, loop, touch, touched
from workflows import services
from workflows.choices import Lane
from workflows.engine import lease, sweep
from workflows.engine.runner import Slice
from workflows.models import Branch, StepAttempt

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nothing_touched")]


# --- parallel -------------------------------------------------------------------------------------


def test_parallel_steps_run_in_branches_of_their_own_and_their_outputs_come_by_name() -> None:
    both = {"name": "both", "type": "parallel", "config": {"parallel_steps": [touch("a", 1), touch("b", 2)]}}
    execution = factories.start(factories.make_workflow([both, log_step("end", "{{steps.both.completed_count}}")]))
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    children = sorted(Branch.objects.filter(parent__isnull=False).values_list("path", "kind"))

    factories.drain_all()

    execution.refresh_from_db()
    out = factories.outputs(execution)
    assert children == [("both/a", "parallel"), ("both/b", "parallel")]
    assert execution.status == "completed"
    assert out["both"] == {"parallel_results": {"a": {"value": 1}, "b": {"value": 2}}, "completed_count": 2}
    assert out["end"]["message"] == 2
    assert not Branch.objects.filter(execution=execution).exists()


def test_a_parallel_step_sees_what_ran_before_but_nothing_of_its_siblings() -> None:
    inner = [log_step("a", "{{steps.first.message}}"), log_step("b", "{{steps.a.message}}")]
    both = {"name": "both", "type": "parallel", "config": {"steps": inner}}

    execution = factories.run(factories.make_workflow([log_step("first", "hello"), both]))

    out = factories.outputs(execution)
    assert (out["both/a"]["message"], out["both/b"]["message"]) == ("hello", None)


def test_one_failed_branch_fails_the_parallel_step_after_the_others_have_ended() -> None:
    inner = [{"name": "a", "type": "touch", "config": {"fails": True}}, touch("b", 2)]
    both = {"name": "both", "type": "parallel", "config": {"steps": inner}}

    execution = factories.run(factories.make_workflow([both, log_step("end", "")]))

    assert (execution.status, execution.error_code) == ("failed", "broken")
    assert execution.error_message == (
        "Step 'both' failed: 1 of 2 branches failed: a: Step 'a' failed: both/a is broken"
    )
    assert factories.statuses(execution) == [("both", 1, "failed"), ("both/a", 1, "failed"), ("both/b", 1, "completed")]


def test_a_branch_may_be_a_list_of_steps_with_conditions_and_waits() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "{{steps.nap.delayed}}", "true_action": touch("then", "{{steps.nap.delayed_seconds}}")},
    }
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    both = {
        "name": "both",
        "type": "parallel",
        "config": {"steps": [{"name": "slow", "steps": [nap, check]}, touch("fast")]},
    }
    execution = factories.run(factories.make_workflow([both]))
    waiting = Branch.objects.get(path="both/slow")

    with clock.moved_by(seconds=61):
        factories.drain_all()

    execution.refresh_from_db()
    assert (waiting.waiting_on, execution.status) == ("timer", "completed")
    out = factories.outputs(execution)
    assert out["both/slow/check/true"] == {"value": 60.0}
    assert out["both"]["parallel_results"]["slow"]["branch"] == "true"


def test_two_last_children_that_end_at_the_same_time_wake_the_parent_once() -> None:
    both = {"name": "both", "type": "parallel", "config": {"steps": [touch("a"), touch("b")]}}
    factories.start(factories.make_workflow([both]))
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    first, second = lease.claim(Lane.FLOW)

    Slice(first, lane=Lane.FLOW, hand_back=lambda: None).run()
    assert lease.claim(Lane.FLOW) == []
    Slice(second, lane=Lane.FLOW, hand_back=lambda: None).run()

    assert [claim.parent_id for claim in lease.claim(Lane.FLOW)] == [None]


# --- foreach --------------------------------------------------------------------------------------


def test_a_loop_gives_its_results_in_the_order_of_the_items() -> None:
    body = touch("call", "{{index}}:{{item.name}}")
    items = [{"name": f"n{index}"} for index in range(7)]

    execution = factories.run(factories.make_workflow([loop(body, max_concurrency=3)]), {"items": items})

    assert execution.status == "completed"
    assert factories.outputs(execution)["loop"] == {
        "results": [{"value": f"{index}:n{index}"} for index in range(7)],
        "count": 7,
        "succeeded": 7,
        "failed": 0,
        "errors": [],
    }
    assert sorted(touched) == [f"loop/{index}/call" for index in range(7)]


def test_a_loop_begins_no_more_branches_than_may_be_in_flight() -> None:
    factories.start(factories.make_workflow([loop(touch("call"), max_concurrency=3)]), {"items": list(range(1000))})
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()

    chunks = Branch.objects.filter(kind="foreach_chunk").order_by("pk")

    assert [(row.path, row.first_item, row.last_item, row.waiting_on) for row in chunks][:4] == [
        ("loop/0-99", 0, 99, ""),
        ("loop/100-199", 100, 199, ""),
        ("loop/200-299", 200, 299, ""),
        ("loop/300-399", 300, 399, "slot"),
    ]
    assert chunks.count() == 10
    assert len(lease.claim(Lane.FLOW)) == 3


def test_an_empty_loop_completes_at_once_and_an_object_gives_its_entries() -> None:
    workflow = factories.make_workflow([loop(log_step("say", "{{item.key}}={{item.value}}"))])

    empty = factories.run(workflow, {"items": []})
    entries = factories.run(workflow, {"items": {"a": 1, "b": 2}})

    assert factories.outputs(empty)["loop"]["results"] == []
    assert [item["message"] for item in factories.outputs(entries)["loop"]["results"]] == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("items", "code"), [("text", "items_invalid"), (None, "items_invalid"), (list(range(10_001)), "too_many_items")]
)
def test_what_cannot_be_looped_over_fails_the_step(items: object, code: str) -> None:
    execution = factories.run(factories.make_workflow([loop(touch("call"))]), {"items": items})

    assert (execution.status, execution.error_code, touched) == ("failed", code, [])


def test_a_failed_item_fails_the_loop_and_no_further_item_begins() -> None:
    Touch.broken.add("loop/1/call")
    workflow = factories.make_workflow([loop(touch("call"), max_concurrency=1)])

    execution = factories.run(workflow, {"items": list(range(150))})

    assert execution.status == "failed"
    assert execution.error_message == (
        "Step 'loop' failed: 1 of 150 items failed: item 1: Step 'call' failed: loop/1/call is broken"
    )
    assert touched == ["loop/0/call", "loop/1/call"]


def test_a_loop_may_go_on_after_failed_items() -> None:
    Touch.broken |= {"loop/1/call", "loop/4/call"}
    workflow = factories.make_workflow([loop(touch("call", "{{item}}"), max_concurrency=2, on_item_error="continue")])

    execution = factories.run(workflow, {"items": [10, 11, 12, 13, 14]})

    out = factories.outputs(execution)["loop"]
    assert execution.status == "completed"
    assert out["results"] == [{"value": 10}, None, {"value": 12}, {"value": 13}, None]
    assert (out["succeeded"], out["failed"]) == (3, 2)
    assert [item["index"] for item in out["errors"]] == [1, 4]


def test_an_item_whose_outcome_came_late_has_its_result_and_did_not_fail() -> None:
    Touch.broken |= {"loop/0/call", "loop/1/call"}
    workflow = factories.make_workflow([loop(touch("call"), max_concurrency=1, on_item_error="continue")])
    execution = factories.start(workflow, {"items": [10, 11]})
    for _ in range(2):
        Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    late = StepAttempt.objects.filter(execution=execution, path="loop/1/call")
    late.update(status="completed", output_data={"value": "late"})

    factories.drain_all()

    out = factories.outputs(execution)["loop"]
    assert out["results"] == [None, {"value": "late"}]
    assert (out["succeeded"], out["failed"], [item["index"] for item in out["errors"]]) == (1, 1, [0])


def test_items_with_several_steps_conditions_and_loops_inside() -> None:
    inner = {
        "name": "inner",
        "type": "foreach",
        "config": {"items": "{{item.parts}}", "steps": [touch("call", "{{item}}-{{steps.note.message}}")]},
    }
    workflow = factories.make_workflow([loop(log_step("note", "{{item.name}}"), inner)])

    execution = factories.run(workflow, {"items": [{"name": "x", "parts": [1, 2]}, {"name": "y", "parts": [3]}]})

    assert execution.status == "completed"
    results = factories.outputs(execution)["loop"]["results"]
    assert [[part["value"] for part in item["results"]] for item in results] == [["1-x", "2-x"], ["3-y"]]
    assert "loop/1/inner/0/call" in touched


def test_a_worker_that_dies_in_a_loop_costs_the_item_in_flight_only() -> None:
    workflow = factories.make_workflow([loop(touch("call"), max_concurrency=1)])
    execution = factories.start(workflow, {"items": list(range(5))})
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()
    dying = Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None)
    run = dying._call

    def die_at_the_third(call: Any, row: Any) -> Any:
        outcome = run(call, row)
        if row.path == "loop/2/call":
            raise KeyboardInterrupt
        return outcome

    dying._call = die_at_the_third  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dying.run()
    factories.expire_leases()
    sweep.sweep()

    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert touched == [*(f"loop/{index}/call" for index in (0, 1, 2, 2, 3, 4))]


def test_a_step_retry_repeats_only_the_items_that_were_not_done() -> None:
    Touch.broken.add("loop/3/call")
    workflow = factories.make_workflow([loop(touch("call", "{{item}}"), max_concurrency=5), log_step("end", "done")])
    execution = factories.run(workflow, {"items": [0, 1, 2, 3, 4]})
    touched.clear()
    Touch.broken.clear()

    services.retry_step(StepAttempt.objects.get(path="loop/3/call"))
    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, touched) == ("completed", ["loop/3/call"])
    assert [item["value"] for item in factories.outputs(execution)["loop"]["results"]] == [0, 1, 2, 3, 4]
    assert ("loop/3/call", 2, "completed") in factories.statuses(execution)


def test_a_retry_within_an_item_waits_without_holding_up_the_other_items() -> None:
    flaky = {
        "name": "call",
        "type": "http_request",
        "config": {"url": "http://127.0.0.1:1/"},
        "retry": {"max_attempts": 2, "initial_interval": 60},
    }
    workflow = factories.make_workflow([loop(flaky, max_concurrency=2, on_item_error="continue")])
    execution = factories.run(workflow, {"items": [0, 1]})
    waits = set(Branch.objects.filter(kind="foreach_chunk").values_list("waiting_on", flat=True))

    with clock.moved_by(seconds=80):
        factories.drain_all()

    execution.refresh_from_db()
    assert (waits, execution.status) == ({"retry"}, "completed")
    assert factories.outputs(execution)["loop"]["failed"] == 2


def test_a_loop_over_pure_steps_stores_its_results_in_few_transactions(django_assert_max_num_queries: Any) -> None:
    workflow = factories.make_workflow([loop(log_step("say", "{{item}}"), max_concurrency=1)])
    factories.start(workflow, {"items": list(range(100))})

    with django_assert_max_num_queries(60):
        factories.drain_all()

    assert StepAttempt.objects.filter(path__startswith="loop/", status="completed").count() == 100


# --- depends_on -----------------------------------------------------------------------------------


def test_steps_that_need_nothing_of_each_other_run_at_the_same_time() -> None:
    steps = [
        touch("a", depends_on=[]),
        touch("b", depends_on=[]),
        touch("c", "{{steps.a.value}}", depends_on=["a"]),
        touch("d", depends_on=["b", "c"]),
    ]
    execution = factories.start(factories.make_workflow(steps))
    Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()

    together = sorted(Branch.objects.filter(parent__isnull=False).values_list("path", flat=True))
    factories.drain_all()

    execution.refresh_from_db()
    assert together == ["a", "b"]
    assert execution.status == "completed"
    assert touched.index("d") == 3
    assert touched.index("c") > touched.index("a")
    assert [row.step_order for row in StepAttempt.objects.order_by("node")] == [1, 2, 3, 4]


def test_a_chain_or_a_list_with_one_effect_needs_no_branches() -> None:
    chain = [touch("a", depends_on=[]), touch("b", depends_on=["a"])]
    pure = [log_step("x", "", depends_on=[]), log_step("y", "", depends_on=[]), touch("z", depends_on=["x", "y"])]

    for steps in (chain, pure):
        factories.start(factories.make_workflow(steps))
        Slice(factories.claim_one(), lane=Lane.FLOW, hand_back=lambda: None).run()

    assert not Branch.objects.exists()


def test_a_failure_in_a_graph_lets_running_steps_end_and_begins_no_other() -> None:
    Touch.broken.add("a")
    steps = [touch("a", depends_on=[]), touch("b", depends_on=[]), touch("c", depends_on=["a"])]

    execution = factories.run(factories.make_workflow(steps))

    assert (execution.status, execution.error_message) == ("failed", "Step 'a' failed: a is broken")
    assert factories.statuses(execution) == [("a", 1, "failed"), ("b", 1, "completed")]


def test_a_step_retry_in_a_graph_repeats_the_failed_step_and_what_needs_it() -> None:
    Touch.broken.add("a")
    steps = [touch("a", depends_on=[]), touch("b", depends_on=[]), touch("c", depends_on=["a", "b"])]
    execution = factories.run(factories.make_workflow(steps))
    touched.clear()
    Touch.broken.clear()

    services.retry_step(StepAttempt.objects.get(path="a"))
    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, touched) == ("completed", ["a", "c"])


def test_a_failed_step_of_a_graph_may_be_rescued() -> None:
    Touch.broken.add("a")
    steps = [
        touch("a", depends_on=[], on_error=[log_step("rescue", "{{steps.a.error_code}}")]),
        touch("b", depends_on=[]),
        touch("c", depends_on=["a", "b"]),
    ]

    execution = factories.run(factories.make_workflow(steps))

    assert execution.status == "completed"
    assert factories.outputs(execution)["a/on_error/rescue"]["message"] == "broken"
