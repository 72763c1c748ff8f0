"""Why an execution is where it is: the exact sentence of each situation, and that it changes with its cause."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from core import breaker, clock
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine import lease
from workflows.engine.runner import Slice
from workflows.explanations import why
from workflows.models import Branch, Execution, Workflow

pytestmark = pytest.mark.django_db

NAP = {"name": "nap", "type": "delay", "config": {"seconds": 3600}}


def told(execution: Execution, **more: Any) -> str:
    execution.refresh_from_db()
    return str(why(execution, execution.branches.all(), **more)["why"])


def waiting_on(execution: Execution) -> str | None:
    found: str | None = why(execution, execution.branches.all())["waiting_on"]
    return found


def one_slice(lane: Lane = Lane.FLOW) -> None:
    Slice(factories.claim_one(lane), lane=lane, hand_back=lambda: None).run()


def log_step(name: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": message}, **more}


def test_1_nobody_has_taken_it_yet() -> None:
    execution = factories.start(factories.make_workflow([log_step("first")]))

    assert told(execution) == "waits for a free worker of lane flow to take step 'first'"
    assert waiting_on(execution) is None

    factories.drain_all()
    assert execution.branches.count() == 0


def test_2_no_worker_of_its_lane_runs() -> None:
    call = {"name": "call", "type": "http_request", "config": {"url": "http://example.com/"}}
    execution = factories.start(factories.make_workflow([call]))

    down, up = (told(execution, served=lambda lane, alive=alive: alive) for alive in (False, True))

    assert down == "waits for a worker of lane io, none of which runs, to take step 'call'"
    assert up == "waits for a free worker of lane io to take step 'call'"


def test_3_a_worker_runs_it_and_4_the_worker_died() -> None:
    execution = factories.start(factories.make_workflow([log_step("first")]))
    claim = factories.claim_one()
    host, pid, *_ = claim.claimed_by.split(":")

    running = told(execution)
    Branch.objects.update(lease_until=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    died = told(execution)
    Branch.objects.update(claimed_by="", lease_until=None, recoveries=1)

    assert running == f"worker {host}:{pid} runs step 'first'"
    assert died == f"worker {host}:{pid} has not been heard of since 03:04:05 UTC; another takes over"
    assert told(execution) == (
        "waits for a free worker of lane flow to take step 'first', after 1 recoveries from workers that died"
    )


def test_5_a_timer_and_6_a_timer_that_rang() -> None:
    execution = factories.run(factories.make_workflow([NAP]))
    until = Branch.objects.get().wake_at

    assert told(execution) == f"waits until {until:%Y-%m-%d %H:%M:%S} UTC (delay of 3600 s)"
    assert waiting_on(execution) == "timer"
    with clock.moved_by(seconds=3601):
        assert told(execution) == (
            f"waits for a free worker of lane flow to take step 'nap', due since {until:%H:%M:%S} UTC"
        )


def test_7_a_retry_names_the_attempt_and_what_went_wrong() -> None:
    call = {"name": "call", "type": "http_request", "config": {"url": "http://127.0.0.1:1/"}}
    execution = factories.run(factories.make_workflow([{**call, "retry": {"initial_interval": 100}}]))
    at = Branch.objects.get().wake_at

    sentence = told(execution)

    assert sentence.startswith(f"retries step 'call' at {at:%H:%M:%S} UTC after attempt 1: ")
    assert waiting_on(execution) == "timer"


def test_8_a_host_that_keeps_failing_is_given_a_pause() -> None:
    call = {"name": "call", "type": "http_request", "config": {"url": "http://127.0.0.1:9/"}}
    workflow = factories.make_workflow([call])
    for _ in range(10):
        breaker.record_failure(f"{workflow.owner_id}:127.0.0.1:9")

    execution = factories.run(workflow)

    until = Branch.objects.get().wake_at
    assert told(execution) == f"waits for 127.0.0.1:9, which failed 10 times in a row; next try {until:%H:%M:%S} UTC"

    breaker.record_success(f"{workflow.owner_id}:127.0.0.1:9")
    with clock.moved_by(seconds=31):
        factories.drain_all()
    assert told(execution).startswith("retries step 'call' at")


def limited() -> Workflow:
    return factories.make_workflow([NAP], concurrency_limit=1, concurrency_key="{{trigger.customer}}")


def test_9_all_slots_are_taken() -> None:
    workflow = limited()
    first, second = (factories.start(workflow, {"customer": "c"}) for _ in range(2))
    factories.drain_all()

    assert told(second) == (
        "waits for one of 1 slots: 1 executions of workflow 'A workflow' with the same {{trigger.customer}} run"
    )
    assert waiting_on(second) == "slot"

    services.cancel_execution(first)
    assert told(second) == "waits for a free worker of lane flow to take step 'nap'"


def test_10_a_called_workflow_has_not_ended() -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([NAP], owner=owner)
    call = {"name": "call", "type": "workflow", "config": {"workflow_id": called.pk}}
    execution = factories.run(factories.make_workflow([call], owner=owner))

    assert told(execution) == f"waits for workflow 'A workflow' (#{called.pk}) to end"
    assert waiting_on(execution) == "children"


def test_11_a_loop_counts_what_is_left() -> None:
    loop = {
        "name": "loop",
        "type": "foreach",
        "config": {"items": "{{trigger.items}}", "max_concurrency": 2, "steps": [log_step("say")]},
    }
    execution = factories.start(factories.make_workflow([loop]), {"items": list(range(10))})
    one_slice()

    before = told(execution)
    one_slice()

    assert before == "loop 'loop' runs 10 items, at most 2 at once: 10 are still to be done"
    assert told(execution) == "loop 'loop' runs 10 items, at most 2 at once: 5 are still to be done"


def test_12_steps_side_by_side_are_named_each_with_its_own_reason() -> None:
    both = {"name": "both", "type": "parallel", "config": {"steps": [NAP, log_step("say")]}}
    execution = factories.start(factories.make_workflow([both]))
    one_slice()

    before = told(execution)
    factories.drain_all()
    until = Branch.objects.get(path="both/nap").wake_at

    assert before == (
        "waits for 2 steps that run side by side: 'nap' waits for a free worker of lane flow to take step 'nap'; "
        "'say' waits for a free worker of lane flow to take step 'say'"
    )
    assert told(execution) == (
        f"waits for 1 step that run side by side: 'nap' waits until {until:%Y-%m-%d %H:%M:%S} UTC (delay of 3600 s)"
    )


def test_13_a_step_type_that_only_newer_code_knows() -> None:
    workflow = factories.make_workflow([log_step("new")])
    version = workflow.published_version
    version.definition["steps"][0]["type"] = "from_the_future"
    version.save()

    execution = factories.run(workflow)

    assert told(execution) == "step 'new' has the type 'from_the_future', which no worker that looked at it knows"


def test_14_it_was_asked_to_stop_and_a_worker_still_runs_it() -> None:
    execution = factories.start(factories.make_workflow([log_step("first")]))
    factories.claim_one()

    services.cancel_execution(execution)

    assert re.fullmatch(
        r"was asked to stop \(cancel\), and ends as soon as it can: worker \S+ runs step 'first'", told(execution)
    )


def test_15_it_undoes_what_it_did_and_16_runs_its_last_steps() -> None:
    bad = {"name": "bad", "type": "delay", "config": {"seconds": "{{trigger.x}}"}}
    undo = {**log_step("a"), "compensate": {"type": "delay", "config": {"seconds": 60}}}
    last = {"finally": [{**NAP, "name": "last"}]}
    execution = factories.run(factories.make_workflow([undo, bad], config=last), {"x": "soon"})
    until = Branch.objects.get().wake_at
    failure = "Step 'bad' failed: seconds: Input should be a valid number, unable to parse string as a number"

    undoing = told(execution)
    with clock.moved_by(seconds=61):
        factories.drain_all()
        ending = told(execution)
        end = Branch.objects.get().wake_at

    assert undoing == (
        f"undoes what it did, since it ends failed ({failure}): "
        f"waits until {until:%Y-%m-%d %H:%M:%S} UTC (delay of 60 s)"
    )
    assert ending == (
        f"runs its last steps before it ends failed ({failure}): "
        f"waits until {end:%Y-%m-%d %H:%M:%S} UTC (delay of 3600 s)"
    )


def test_17_it_failed_and_18_it_was_cancelled() -> None:
    bad = {"name": "bad", "type": "delay", "config": {"seconds": "{{trigger.x}}"}}
    failed = factories.run(factories.make_workflow([bad]), {"x": "soon"})
    cancelled = factories.run(factories.make_workflow([NAP]))
    services.cancel_execution(cancelled)

    assert told(failed).startswith("Step 'bad' failed: seconds: Input should be a valid number")
    assert told(cancelled) == "Execution cancelled"


def test_a_claim_that_ran_out_is_seen_by_the_machines_clock_not_by_virtual_time() -> None:
    execution = factories.start(factories.make_workflow([log_step("first")]))
    lease.claim(Lane.FLOW)

    with clock.moved_by(days=3):
        assert "has not been heard of" not in told(execution)
