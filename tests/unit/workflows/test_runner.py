"""What a slice does with the steps of a workflow."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import override_settings

from core import clock
from tests import factories
from workflows.choices import Lane
from workflows.engine import sweep
from workflows.engine.drain import drain
from workflows.models import Branch, CounterDelta, Execution, StepAttempt

pytestmark = pytest.mark.django_db


def log_step(name: str, message: object = "hello", **envelope: object) -> dict[str, object]:
    return {"name": name, "type": "log", "config": {"message": message}, **envelope}


def test_pure_steps_run_in_order_and_see_earlier_outputs() -> None:
    workflow = factories.make_workflow(
        [
            log_step("greet", "hello {{trigger.who}}"),
            {
                "name": "shape",
                "type": "data_transform",
                "config": {
                    "source_data": "{{trigger}}",
                    "transformations": [{"type": "extract", "path": "who", "key": "name"}],
                },
            },
            log_step("end", "{{steps.shape.name}}"),
        ]
    )

    execution = factories.run(workflow, {"who": "Grace"})

    assert execution.status == "completed"
    assert execution.error_message is None
    assert factories.outputs(execution) == {
        "greet": {"message": "hello Grace", "level": "info"},
        "shape": {"name": "Grace", "result": "Grace"},
        "end": {"message": "Grace", "level": "info"},
    }
    assert [row.step_order for row in StepAttempt.objects.order_by("node")] == [1, 2, 3]


def test_a_finished_execution_leaves_no_branch_and_counts_once() -> None:
    workflow = factories.make_workflow([log_step("only")])

    execution = factories.run(workflow)

    assert not Branch.objects.filter(execution=execution).exists()
    assert list(CounterDelta.objects.values_list("workflow_id", "total", "successful", "failed")) == [
        (workflow.pk, 1, 1, 0)
    ]


def test_an_execution_without_steps_completes() -> None:
    execution = factories.run(factories.make_workflow([]))

    assert execution.status == "completed"


@pytest.mark.parametrize(("amount", "taken", "level"), [(11, "true", "info"), (9, "false", "warning")])
def test_a_conditional_runs_the_action_of_its_branch(amount: int, taken: str, level: str) -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {
            "condition": "{{trigger.amount}} > 10",
            "true_action": {"type": "log", "config": {"message": "much"}},
            "false_action": {"type": "log", "config": {"message": "little", "level": "warning"}},
        },
    }
    workflow = factories.make_workflow([check, log_step("end", "{{steps.check.branch}}")])

    execution = factories.run(workflow, {"amount": amount})

    out = factories.outputs(execution)
    assert out["check"] == {
        "condition_result": taken == "true",
        "condition_met": taken == "true",
        "branch": taken,
        "action_taken": "log",
        "result": {"message": {"true": "much", "false": "little"}[taken], "level": level},
    }
    assert out["end"]["message"] == taken
    assert f"check/{taken}" in out


def test_a_conditional_without_action_goes_on() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "false", "true_action": {"type": "log", "config": {"message": "no"}}},
    }

    execution = factories.run(factories.make_workflow([check, log_step("end")]))

    assert factories.statuses(execution) == [("check", 1, "completed"), ("end", 1, "completed")]
    assert factories.outputs(execution)["check"]["action_taken"] is None


def test_a_conditional_runs_a_branch_of_steps() -> None:
    inner = [log_step("first", "1"), log_step("second", "{{steps.first.message}}2")]
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "true", "true_action": {"steps": inner}},
    }

    execution = factories.run(factories.make_workflow([check, log_step("end")]))

    assert [path for path, _, _ in factories.statuses(execution)] == ["check", "check/first", "check/second", "end"]
    assert factories.outputs(execution)["check"]["result"] == {"message": "12", "level": "info"}


def test_skip_to_step_marks_what_it_passes_over_as_skipped() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "true", "true_action": {"skip_to_step": "end"}},
    }
    workflow = factories.make_workflow([check, log_step("passed_1"), log_step("passed_2"), log_step("end")])

    execution = factories.run(workflow)

    assert factories.statuses(execution) == [
        ("check", 1, "completed"),
        ("passed_1", 1, "skipped"),
        ("passed_2", 1, "skipped"),
        ("end", 1, "completed"),
    ]
    assert factories.outputs(execution)["check"]["action_taken"] == "skip_to_step:end"


def test_a_step_whose_when_is_false_is_skipped() -> None:
    workflow = factories.make_workflow([log_step("maybe", when="{{trigger.go}} == true"), log_step("end")])

    execution = factories.run(workflow, {"go": False})

    assert factories.statuses(execution) == [("maybe", 1, "skipped"), ("end", 1, "completed")]


def test_depends_on_orders_the_steps() -> None:
    workflow = factories.make_workflow(
        [log_step("last", depends_on=["first"]), log_step("first", depends_on=[])],
    )

    execution = factories.run(workflow)

    assert [path for path, _, _ in factories.statuses(execution)] == ["first", "last"]


def test_a_delay_frees_the_worker_and_goes_on_when_the_time_has_come() -> None:
    workflow = factories.make_workflow(
        [log_step("before"), {"name": "nap", "type": "delay", "config": {"seconds": 3 * 86_400}}, log_step("after")]
    )

    execution = factories.run(workflow)
    branch = Branch.objects.get(execution=execution)
    assert (execution.status, branch.waiting_on, branch.claimed_by) == ("running", "timer", "")
    assert "delay of 259200 s" in branch.waiting_reason
    assert factories.statuses(execution) == [("before", 1, "completed"), ("nap", 1, "waiting")]

    with clock.moved_by(days=3, seconds=1):
        factories.drain_all()
    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.outputs(execution)["nap"] == {"delayed": True, "delayed_seconds": 259_200}


def test_a_delay_does_not_eat_the_default_time_limit() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 5000}, "timeout_seconds": 10}
    execution = factories.run(factories.make_workflow([nap, {**nap, "name": "again"}]))
    while_waiting = execution.deadline_at
    before = factories.left_by(execution.attempts.get())
    StepAttempt.objects.update(deadline_at=F("started_at") + timedelta(seconds=70))

    with clock.moved_by(seconds=5001):
        factories.drain_all()

    execution.refresh_from_db()
    assert (while_waiting, execution.deadline_at) == (None, None)
    assert before == pytest.approx(300, abs=5)
    assert factories.left_by(execution.attempts.get(path="again")) == pytest.approx(70, abs=5)
    assert execution.waited_ms == pytest.approx(10_000_000, abs=1000)


@override_settings(RETRY_BASE_SECONDS=60)
@pytest.mark.parametrize(
    "step",
    [
        {"name": "wait", "type": "delay", "config": {"seconds": 60}},
        {"name": "wait", "type": "http_request", "config": {"url": "http://127.0.0.1:1/"}, "max_retries": 1},
    ],
    ids=["timer", "retry"],
)
def test_a_wait_that_ended_while_no_worker_ran_does_not_eat_the_default_time_limit(step: dict[str, Any]) -> None:
    workflow = factories.make_workflow([{**step, "on_error": "continue"}, log_step("end")])
    execution = factories.run(workflow)

    with clock.moved_by(seconds=1000):
        sweep.sweep()
        factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_message) == ("completed", None)
    assert factories.outputs(execution)["end"]["message"] == "hello"


def test_the_authors_own_time_limit_counts_a_timer_and_an_outage() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([nap], timeout_seconds=300))

    with clock.moved_by(seconds=301):
        sweep.sweep()

    execution.refresh_from_db()
    assert execution.status == "timeout"


@override_settings(RETRY_BASE_SECONDS=1.0)
def test_a_failing_step_is_tried_again_after_1_2_4_seconds_then_fails_the_execution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)  # what a pause is must not depend on how long its reader takes
    workflow = factories.make_workflow(
        [log_step("first"), {"name": "call", "type": "http_request", "config": {"url": "http://127.0.0.1:1/"}}]
    )

    execution = factories.run(workflow)
    pauses = []
    for _ in range(3):
        branch = Branch.objects.get(execution=execution)
        assert branch.waiting_on == "retry"
        pauses.append((branch.wake_at - clock.now()).total_seconds())
        Branch.objects.update(wake_at=clock.now())
        factories.drain_all()
    execution.refresh_from_db()

    assert [attempt for _, attempt, _ in factories.statuses(execution)[1:]] == [1, 2, 3, 4]
    for pause, expected in zip(pauses, [1, 2, 4], strict=True):
        assert expected <= pause <= expected * 1.2
    assert (execution.status, execution.retry_count) == ("failed", 3)
    assert execution.error_message.startswith("Step 'call' failed: ")
    assert factories.outputs(execution) == {"first": {"message": "hello", "level": "info"}}


def test_a_pause_before_a_retry_does_not_count_against_the_default_time_limit() -> None:
    calling = {"name": "call", "type": "http_request", "config": {"url": "http://127.0.0.1:1/"}}
    patient = factories.make_workflow([{**calling, "retry": {"initial_interval": 200}, "timeout_seconds": 10}])
    explicit = factories.make_workflow([{**calling, "retry": {"initial_interval": 200}}], timeout_seconds=300)
    waiting, limited = (factories.run(workflow) for workflow in (patient, explicit))
    before = factories.left_by(waiting.attempts.get())
    StepAttempt.objects.update(deadline_at=F("started_at") + timedelta(seconds=70))

    with clock.moved_by(seconds=250):
        factories.drain_all()

    assert waiting.deadline_at is None
    assert before == pytest.approx(300, abs=5)
    assert factories.left_by(waiting.attempts.get(attempt=2)) == pytest.approx(70, abs=5)
    assert (limited.deadline_at - limited.started_at).total_seconds() == pytest.approx(300, abs=5)


def test_on_error_continue_goes_on_after_the_last_attempt() -> None:
    bad = {"name": "bad", "type": "delay", "config": {"seconds": "{{trigger.x}}"}, "continue_on_error": True}
    workflow = factories.make_workflow([bad, log_step("end", "{{steps.bad.error_code}}")])

    execution = factories.run(workflow, {"x": "soon"})

    assert execution.status == "completed"
    assert factories.statuses(execution) == [("bad", 1, "failed"), ("end", 1, "completed")]
    assert factories.outputs(execution)["end"]["message"] == "config_invalid"


FAILING = {"type": "delay", "config": {"seconds": "{{trigger.x}}"}}


def test_an_error_branch_runs_when_the_step_failed_and_the_list_goes_on_behind_it() -> None:
    rescue = [log_step("note", "{{steps.bad.error_code}}"), log_step("tell", "{{steps.note.message}}")]
    workflow = factories.make_workflow([{"name": "bad", **FAILING, "on_error": rescue}, log_step("end")])

    failed = factories.run(workflow, {"x": "soon"})
    passed = factories.run(workflow, {"x": 0})

    assert (failed.status, passed.status) == ("completed", "completed")
    assert factories.statuses(failed) == [
        ("bad", 1, "failed"),
        ("bad/on_error/note", 1, "completed"),
        ("bad/on_error/tell", 1, "completed"),
        ("end", 1, "completed"),
    ]
    assert factories.outputs(failed)["bad/on_error/tell"]["message"] == "config_invalid"
    assert [path for path, _, _ in factories.statuses(passed)] == ["bad", "end"]


def test_a_failure_inside_an_error_branch_fails_the_execution() -> None:
    bad = {"name": "bad", **FAILING, "on_error": {"steps": [{"name": "worse", **FAILING}]}}

    execution = factories.run(factories.make_workflow([bad, log_step("end")]), {"x": "soon"})

    assert (execution.status, execution.error_code) == ("failed", "config_invalid")
    assert factories.statuses(execution) == [("bad", 1, "failed"), ("bad/on_error/worse", 1, "failed")]


def test_an_error_branch_of_an_error_branch_ends_behind_the_outermost_step() -> None:
    inner = {"name": "worse", **FAILING, "on_error": log_step("last_resort")}
    bad = {"name": "bad", **FAILING, "on_error": [inner]}

    execution = factories.run(factories.make_workflow([bad, log_step("end")]), {"x": "soon"})

    assert execution.status == "completed"
    assert [path for path, _, status in factories.statuses(execution) if status == "completed"] == [
        "bad/on_error/worse/on_error/last_resort",
        "end",
    ]


def test_an_error_branch_goes_on_after_a_wait_of_its_own() -> None:
    pause = {"name": "pause", "type": "delay", "config": {"seconds": 5}}
    bad = {"name": "bad", **FAILING, "on_error": [pause, log_step("note", "{{steps.bad.error_code}}")]}
    execution = factories.run(factories.make_workflow([bad, log_step("end")]), {"x": "soon"})

    with clock.moved_by(seconds=6):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.outputs(execution)["bad/on_error/note"]["message"] == "config_invalid"


def test_a_conditional_rescues_what_fails_inside_its_action() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "true", "true_action": FAILING},
        "on_error": [log_step("rescue", "{{steps.check.error_code}}")],
    }

    execution = factories.run(factories.make_workflow([check, log_step("end")]), {"x": "soon"})

    assert execution.status == "completed"
    assert sorted(factories.statuses(execution)) == [
        ("check", 1, "failed"),
        ("check/on_error/rescue", 1, "completed"),
        ("check/true", 1, "failed"),
        ("end", 1, "completed"),
    ]
    assert factories.outputs(execution)["check/on_error/rescue"]["message"] == "config_invalid"


def test_a_failure_inside_an_action_fails_the_conditional_too() -> None:
    check = {
        "name": "check",
        "type": "conditional",
        "config": {"condition": "true", "true_action": {"type": "delay", "config": {"seconds": "{{trigger.x}}"}}},
    }

    execution = factories.run(factories.make_workflow([check, log_step("end")]), {"x": "soon"})

    assert execution.status == "failed"
    assert factories.statuses(execution) == [("check", 1, "failed"), ("check/true", 1, "failed")]


def test_an_unknown_step_type_waits_for_a_newer_worker() -> None:
    workflow = factories.make_workflow([log_step("first"), log_step("second")])
    version = workflow.published_version
    version.definition["steps"][1]["type"] = "from_the_future"
    version.save()

    execution = factories.run(workflow)

    branch = Branch.objects.get(execution=execution)
    assert execution.status == "running"
    assert branch.waiting_reason == (
        "step 'second' has the type 'from_the_future', which no worker that looked at it knows"
    )


def test_a_step_of_another_lane_moves_the_branch_there() -> None:
    workflow = factories.make_workflow(
        [log_step("first"), {"name": "call", "type": "http_request", "config": {"url": "http://127.0.0.1:1/"}}]
    )
    execution = factories.start(workflow)

    drain(Lane.FLOW)

    branch = Branch.objects.get(execution=execution)
    assert (branch.lane, branch.cursor, branch.claimed_by) == ("io", 1, "")


def test_secrets_of_the_environment_are_masked_in_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    from workflows.engine import context

    monkeypatch.setenv("API_TOKEN", "s3cret-value")
    with override_settings(WORKFLOW_ENV_ALLOWLIST=["API_TOKEN"]):
        context.allowed_environment.cache_clear()
        context.environment_needles.cache_clear()
        execution = factories.run(factories.make_workflow([log_step("leak", "token {{env.API_TOKEN}}!")]))
    context.allowed_environment.cache_clear()
    context.environment_needles.cache_clear()

    row = StepAttempt.objects.get(execution=execution)
    assert row.input_data == {"message": "token ***!"}
    assert row.output_data == {"message": "token ***!", "level": "info"}


def test_values_that_postgresql_cannot_hold_are_cleaned_with_a_warning() -> None:
    execution = factories.run(factories.make_workflow([log_step("odd", "{{trigger.text}}")]), {"text": "a\ud800b"})

    assert execution.status == "completed"
    assert factories.outputs(execution)["odd"]["message"] == "a?b"


def test_statements_do_not_grow_with_the_number_of_pure_steps(django_assert_num_queries: object) -> None:
    few = factories.make_workflow([log_step(f"s{n}") for n in range(2)])
    many = factories.make_workflow([log_step(f"s{n}") for n in range(40)])
    for workflow in (few, many):
        factories.run(workflow)

    counts = []
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for workflow in (few, many):
        factories.start(workflow)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            drain(Lane.FLOW)
        counts.append(len(captured))

    assert counts[0] == counts[1]
    assert Execution.objects.filter(status="completed").count() == 4
