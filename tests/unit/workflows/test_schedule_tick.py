"""The beat tick: each slot once in the ledger, and what becomes of it."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from core import clock
from tests import factories
from tests.unit.workflows.schedules import at, crontab, every, ledger, make_schedule, schedule_of, utc
from workflows import services
from workflows.choices import SlotOutcome
from workflows.models import Branch, Execution, ScheduleSlot, Workflow, WorkflowSchedule
from workflows.services import slots

pytestmark = pytest.mark.django_db

PATIENCE_SECONDS = 30
NAP = [{"name": "nap", "type": "delay", "config": {"seconds": 3600}}]


def hourly(steps: list[dict[str, Any]] | None = None, **policy: Any) -> WorkflowSchedule:
    """Make a workflow that is due at every full hour from 9:00 on 1 September 2025."""
    with at(2025, 9, 1, 8, 30):
        workflow = factories.make_workflow(steps or [])
        return make_schedule(workflow, crontab=crontab("0 * * * *"), policy=policy)


def tick(*moment: int) -> float | None:
    with at(*moment):
        return services.run_due_slots()


def executions(schedule: WorkflowSchedule) -> list[Execution]:
    return list(Execution.objects.filter(workflow=schedule.workflow).order_by("pk"))


def test_a_due_slot_becomes_an_execution_and_a_ledger_row() -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    schedule = schedule_of(workflow)

    tick(2025, 9, 1, 9, 0, 1)

    [execution] = executions(schedule)
    assert (execution.trigger_type, execution.status) == ("scheduled", "pending")
    assert execution.trigger_data == {"scheduled_time": "2025-09-01T09:00:00Z", "cron_schedule": "0 9 * * 1"}
    assert Branch.objects.get().execution_id == execution.pk
    [slot] = ScheduleSlot.objects.all()
    assert (slot.slot_at, slot.outcome, slot.reason, slot.execution_id) == (
        utc(2025, 9, 1, 9),
        "ran",
        "",
        execution.pk,
    )
    schedule.refresh_from_db()
    assert schedule.next_slot_at == utc(2025, 9, 8, 9)


def test_nothing_happens_before_the_slot_and_nothing_again_after_it() -> None:
    schedule = hourly()

    assert tick(2025, 9, 1, 8, 59, 30) == pytest.approx(30, abs=25)
    tick(2025, 9, 1, 9)
    tick(2025, 9, 1, 9)
    assert tick(2025, 9, 1, 9, 30) == pytest.approx(1800, abs=60)

    assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]
    assert len(executions(schedule)) == 1


def test_the_schedules_input_is_what_trigger_and_input_see() -> None:
    step = {
        "name": "say",
        "type": "log",
        "config": {"message": "{{input.city}} {{trigger.city}} {{trigger.scheduled_time}}"},
    }
    schedule = hourly([step], input_data={"city": "Bonn", "scheduled_time": "never"})

    tick(2025, 9, 1, 9)
    factories.drain_all()

    assert factories.outputs(executions(schedule)[0])["say"]["message"] == "Bonn Bonn 2025-09-01T09:00:00Z"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_enabled": False}, "the workflow is disabled"),
        ({"status": "paused"}, "the workflow is paused"),
        ({"status": "inactive"}, "the workflow is inactive"),
    ],
)
def test_a_workflow_that_may_not_start_skips_its_slot_and_says_why(change: dict[str, Any], reason: str) -> None:
    schedule = hourly()
    services.update_workflow(schedule.workflow, body=change, actor="ada")

    tick(2025, 9, 1, 9)

    assert ledger(schedule) == [("09-01 09:00:00", "skipped", reason)]
    assert executions(schedule) == []


def test_a_deleted_workflow_is_due_no_more_and_is_skipped_if_its_rows_say_otherwise() -> None:
    schedule = hourly()
    services.delete_workflow(schedule.workflow, actor="ada")
    tick(2025, 9, 1, 9)
    assert ledger(schedule) == []

    PeriodicTask.objects.update(enabled=True)
    with at(2025, 9, 1, 9, 10):
        services.follow_edits(everything=True)
    tick(2025, 9, 1, 10)

    assert ledger(schedule) == [("09-01 10:00:00", "skipped", "the workflow is deleted")]


def test_a_workflow_that_cannot_be_started_is_skipped_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, fine = hourly(), hourly()
    start = slots.start_execution

    def start_or_break(workflow: Workflow, asked: services.Start) -> services.Started:
        if workflow.pk == broken.workflow_id:
            raise TypeError("a bug in one definition")
        return start(workflow, asked)

    monkeypatch.setattr(slots, "start_execution", start_or_break)
    tick(2025, 9, 1, 9)

    assert ledger(broken) == [("09-01 09:00:00", "skipped", "could not be started: a bug in one definition")]
    assert ledger(fine) == [("09-01 09:00:00", "ran", "")]


# --- Overlap ----------------------------------------------------------------------------------------


def test_overlap_skip_leaves_the_slot_out_while_any_execution_of_the_workflow_runs() -> None:
    schedule = hourly(NAP)
    running = factories.start(schedule.workflow)

    tick(2025, 9, 1, 9)

    assert ledger(schedule) == [("09-01 09:00:00", "skipped", f"execution {running.pk} is still running")]
    assert executions(schedule) == [running]


def test_a_test_run_of_a_draft_holds_no_slot_up() -> None:
    schedule = hourly(NAP)
    services.run_draft(schedule.workflow, services.Start(trigger_type="manual"))  # type: ignore[arg-type]

    tick(2025, 9, 1, 9)

    assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]


def test_overlap_allow_runs_side_by_side() -> None:
    schedule = hourly(NAP, overlap_policy="allow")

    tick(2025, 9, 1, 9)
    tick(2025, 9, 1, 10)

    assert ledger(schedule) == [("09-01 09:00:00", "ran", ""), ("09-01 10:00:00", "ran", "")]
    assert [run.status for run in executions(schedule)] == ["pending", "pending"]


def test_overlap_queue_runs_the_slots_one_after_the_other_in_their_order() -> None:
    schedule = hourly(NAP, overlap_policy="queue")
    for hour in (9, 10, 11):
        tick(2025, 9, 1, hour)
    waits = "waits until no execution of the workflow is running"
    assert ledger(schedule) == [
        ("09-01 09:00:00", "ran", ""),
        ("09-01 10:00:00", "queued", waits),
        ("09-01 11:00:00", "queued", waits),
    ]

    for number in (1, 2):
        services.cancel_execution(executions(schedule)[-1])
        tick(2025, 9, 1, 11, number)

    assert [outcome for _, outcome, _ in ledger(schedule)] == ["ran", "ran", "ran"]
    times = [run.trigger_data["scheduled_time"][11:16] for run in executions(schedule)]
    assert times == ["09:00", "10:00", "11:00"]
    rows = ScheduleSlot.objects.order_by("slot_at").values_list("execution_id", flat=True)
    assert list(rows) == [run.pk for run in executions(schedule)]


def test_a_queued_slot_is_skipped_when_the_schedule_or_the_workflow_is_switched_off() -> None:
    one, other = hourly(NAP, overlap_policy="queue"), hourly(NAP, overlap_policy="queue")
    tick(2025, 9, 1, 9)
    tick(2025, 9, 1, 10)
    services.update_workflow(one.workflow, body={"is_enabled": False}, actor="ada")
    services.update_workflow(other.workflow, body={"is_scheduled": False}, actor="ada")

    tick(2025, 9, 1, 10, 1)

    assert ledger(one)[-1] == ("09-01 10:00:00", "skipped", "the workflow is disabled")
    assert ledger(other)[-1] == ("09-01 10:00:00", "skipped", "the schedule was switched off")


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MOST_QUEUED", 1)
    schedule = hourly(NAP, overlap_policy="queue")

    for hour in (9, 10, 11):
        tick(2025, 9, 1, hour)

    assert ledger(schedule)[-1] == ("09-01 11:00:00", "skipped", "1 earlier slots are waiting already")


def test_overlap_cancel_running_ends_what_runs_and_starts_the_slot() -> None:
    schedule = hourly(NAP, overlap_policy="cancel_running")
    tick(2025, 9, 1, 9)
    first = executions(schedule)[0]

    tick(2025, 9, 1, 10)

    assert ledger(schedule)[-1] == ("09-01 10:00:00", "ran", f"cancelled for it: {first.pk}")
    assert [run.status for run in executions(schedule)] == ["cancelled", "pending"]


# --- Missed -----------------------------------------------------------------------------------------

LATEST = "nobody ran it in time; the latest missed slot runs instead"


def test_after_a_pause_the_latest_slot_runs_once_and_the_others_are_missed() -> None:
    schedule = hourly(overlap_policy="allow")

    tick(2025, 9, 1, 11, 20)

    assert ledger(schedule) == [
        ("09-01 09:00:00", "missed", LATEST),
        ("09-01 10:00:00", "missed", LATEST),
        ("09-01 11:00:00", "ran", ""),
    ]
    [execution] = executions(schedule)
    assert execution.trigger_data["scheduled_time"] == "2025-09-01T11:00:00Z"


def test_missed_skip_runs_none_of_them() -> None:
    schedule = hourly(missed_policy="skip")

    tick(2025, 9, 1, 10, 20)
    tick(2025, 9, 1, 11, 0, 5)

    assert ledger(schedule) == [
        ("09-01 09:00:00", "missed", "nobody ran it in time"),
        ("09-01 10:00:00", "missed", "nobody ran it in time"),
        ("09-01 11:00:00", "ran", ""),
    ]


def test_missed_all_runs_those_inside_the_window() -> None:
    schedule = hourly(missed_policy="all", missed_window_seconds=2 * 3600, overlap_policy="allow")

    tick(2025, 9, 1, 12, 30)

    assert [row[1] for row in ledger(schedule)] == ["missed", "missed", "ran", "ran"]
    assert ledger(schedule)[0][2] == "nobody ran it within the window of 7200 s"
    assert len(executions(schedule)) == 2


def test_nothing_is_missed_within_the_check_interval() -> None:
    with at(2025, 9, 1, 9):
        schedule = make_schedule(factories.make_workflow([]), interval=every(10), policy={"overlap_policy": "allow"})

    tick(2025, 9, 1, 9, 0, 30)
    tick(2025, 9, 1, 9, 1, 11)

    assert [row[:2] for row in ledger(schedule)] == [
        ("09-01 09:00:10", "ran"),
        ("09-01 09:00:20", "ran"),
        ("09-01 09:00:30", "ran"),
        ("09-01 09:00:40", "missed"),
        ("09-01 09:00:50", "missed"),
        ("09-01 09:01:00", "missed"),
        ("09-01 09:01:10", "ran"),
    ]


def test_a_very_long_pause_writes_the_newest_slots_and_says_since_when_the_others_were_missed() -> None:
    with at(2025, 9, 1):
        schedule = make_schedule(factories.make_workflow([]), interval=every(60))

    tick(2025, 9, 2)

    rows = ledger(schedule)
    assert len(rows) == 1000
    assert (rows[-1][:2], rows[0]) == (
        ("09-02 00:00:00", "ran"),
        ("09-01 07:21:00", "missed", f"{LATEST}; so were all before it, from 2025-09-01 00:01:00 UTC on"),
    )


def test_an_edit_is_no_miss_and_switching_on_again_makes_up_for_nothing() -> None:
    schedule = hourly()
    services.update_workflow(schedule.workflow, body={"is_scheduled": False}, actor="ada")
    with at(2025, 9, 1, 10, 30):
        services.update_workflow(schedule.workflow, body={"is_scheduled": True}, actor="ada")

    tick(2025, 9, 1, 11)

    assert ledger(schedule) == [("09-01 11:00:00", "ran", "")]


def test_rows_edited_a_moment_before_the_slot_do_not_run_the_old_time() -> None:
    schedule = hourly()
    PeriodicTask.objects.update(crontab=crontab("30 9 * * *"))

    tick(2025, 9, 1, 9, 0, 1)
    assert ledger(schedule) == []
    tick(2025, 9, 1, 9, 30)

    assert ledger(schedule) == [("09-01 09:30:00", "ran", "")]


# --- Ends -------------------------------------------------------------------------------------------


def test_a_clocked_schedule_runs_once_and_is_switched_off() -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([])
        clocked = ClockedSchedule.objects.create(clocked_time=utc(2025, 9, 1, 9))
        schedule = make_schedule(workflow, clocked=clocked, one_off=True)

    tick(2025, 9, 1, 9)
    tick(2025, 9, 1, 10)

    assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]
    assert executions(schedule)[0].trigger_data == {"scheduled_time": "2025-09-01T09:00:00Z", "cron_schedule": None}
    assert not PeriodicTask.objects.get().enabled
    workflow.refresh_from_db()
    assert not workflow.is_scheduled


def test_a_one_off_crontab_is_switched_off_when_it_ran_not_when_it_was_skipped() -> None:
    with at(2025, 9, 1, 8, 30):
        schedule = make_schedule(factories.make_workflow(NAP), crontab=crontab("0 * * * *"), one_off=True)
    running = factories.start(schedule.workflow)

    tick(2025, 9, 1, 9)
    assert PeriodicTask.objects.get().enabled
    services.cancel_execution(running)
    tick(2025, 9, 1, 10)

    assert not PeriodicTask.objects.get().enabled
    assert [row[1] for row in ledger(schedule)] == ["skipped", "ran"]


def test_run_now_starts_with_the_schedules_input_and_uses_no_slot_up() -> None:
    schedule = hourly(input_data={"city": "Bonn"})

    started = slots.run_now(schedule)

    execution = Execution.objects.get(pk=started.execution_id)
    assert execution.trigger_type == "manual"
    assert (execution.trigger_data["city"], execution.trigger_data["cron_schedule"]) == ("Bonn", "0 * * * *")
    assert ledger(schedule) == []


def test_a_tick_without_due_slots_takes_five_queries_however_many_schedules_there_are(
    django_assert_num_queries: Any,
) -> None:
    for _ in range(5):
        hourly()
    with at(2025, 9, 1, 8, 45):
        services.follow_edits()
        with django_assert_num_queries(2):
            services.follow_edits()
        with django_assert_num_queries(3):
            services.run_due_slots()


# --- Several beats ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_beats_at_once_run_each_slot_once() -> None:
    schedules = [hourly(overlap_policy="allow") for _ in range(6)]
    barrier = threading.Barrier(3)
    faults: list[Exception] = []

    def beat() -> None:
        try:
            barrier.wait(PATIENCE_SECONDS)
            services.run_due_slots()
        except Exception as error:  # noqa: BLE001  (whatever it is: the main thread tells)
            faults.append(error)
        finally:
            connection.close()

    with clock.moved_by(seconds=(utc(2025, 9, 1, 9, 0, 1) - clock.now()).total_seconds()):
        threads = [threading.Thread(target=beat) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        services.run_due_slots()

    assert faults == []
    for schedule in schedules:
        assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]
        assert len(executions(schedule)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_slot_whose_workflow_is_being_edited_waits_for_the_next_tick() -> None:
    schedule = hourly()
    edited, ticked = threading.Event(), threading.Event()

    def edit() -> None:
        with transaction.atomic():
            Workflow.objects.select_for_update(no_key=True).get(pk=schedule.workflow_id)
            edited.set()
            ticked.wait(PATIENCE_SECONDS)
        connection.close()

    thread = threading.Thread(target=edit)
    thread.start()
    edited.wait(PATIENCE_SECONDS)
    tick(2025, 9, 1, 9)
    in_between = ledger(schedule)
    ticked.set()
    thread.join(PATIENCE_SECONDS)
    tick(2025, 9, 1, 9, 0, 2)

    assert in_between == []
    assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]


@pytest.mark.django_db(transaction=True)
def test_a_tick_that_dies_before_its_commit_leaves_the_slot_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = hourly()

    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "before_slot_commit":
            raise Killed

    monkeypatch.setattr("workflows.services.slots.faults.point", die)
    with pytest.raises(Killed):
        tick(2025, 9, 1, 9)
    assert (ledger(schedule), executions(schedule), Branch.objects.count()) == ([], [], 0)

    monkeypatch.setattr("workflows.services.slots.faults.point", lambda name: None)
    tick(2025, 9, 1, 9, 0, 1)

    assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]
    assert len(executions(schedule)) == 1


def test_slots_are_counted_by_outcome_when_they_are_committed(django_capture_on_commit_callbacks: Any) -> None:
    from workflows import metrics

    def count(outcome: SlotOutcome) -> float:
        return metrics.slots_total.labels(outcome.value)._value.get()

    before = {outcome: count(outcome) for outcome in SlotOutcome}
    hourly()
    with django_capture_on_commit_callbacks(execute=True):
        tick(2025, 9, 1, 11, 20)

    assert {outcome: count(outcome) - before[outcome] for outcome in SlotOutcome} == {
        SlotOutcome.RAN: 1,
        SlotOutcome.MISSED: 2,
        SlotOutcome.SKIPPED: 0,
        SlotOutcome.QUEUED: 0,
    }


def test_the_lag_is_the_age_of_the_oldest_due_slot() -> None:
    from workflows import metrics

    hourly()

    def lag() -> float:
        families = {family.name: family for family in metrics.gauges()}
        return float(families["automation_services_scheduler_lag_seconds"].samples[0].value)

    with at(2025, 9, 1, 8, 59):
        assert lag() == 0
    with at(2025, 9, 1, 9, 0, 40):
        assert lag() == pytest.approx(40, abs=5)


def test_workers_look_for_slots_when_no_beat_does(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = hourly()
    monkeypatch.setattr(slots, "_looked_at", -timedelta(days=1).total_seconds())

    with at(2025, 9, 1, 9):
        services.run_overdue_slots()
        services.run_overdue_slots()

    assert ledger(schedule) == [("09-01 09:00:00", "ran", "")]
