"""Executions that no worker can take up, or whose end fails over and over: they end all the same."""

from typing import Any

import pytest
from django.db import OperationalError, connection

from tests import factories
from workflows.choices import Lane
from workflows.engine import program, sweep
from workflows.engine.closing import Close
from workflows.engine.drain import drain
from workflows.models import Branch, EventWait, Execution, WorkflowInstance

NAP = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
LOG = {"name": "log", "type": "log", "config": {"message": "x"}}
UNDO = {"type": "log", "config": {"message": "undone"}}


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Versions whose definitions nobody can compile any more."""
    versions: list[int] = []
    of_version = program.of_version

    def compiled(version_id: int) -> program.Program:
        if version_id in versions:
            raise KeyError("steps\x00")
        return of_version(version_id)

    monkeypatch.setattr("workflows.engine.program.of_version", compiled)
    return versions


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1e30, 10**30, 2**64, -(2**70)])
def test_numbers_of_any_size_in_a_definition_run(number: float) -> None:
    step = {"name": "log", "type": "log", "config": {"message": "{{variables.big}}", "extra": number}}

    execution = factories.run(factories.make_workflow([step], config={"variables": {"big": number}}))

    assert execution.status == "completed"
    assert float(factories.outputs(execution)["log"]["message"]) == float(number)


@pytest.mark.django_db
def test_an_execution_whose_definition_cannot_be_read_fails_with_the_reason_and_holds_up_nobody(
    unreadable: list[int],
) -> None:
    broken, fine = factories.start(factories.make_workflow([LOG])), factories.start(factories.make_workflow([LOG]))
    unreadable.append(broken.version_id)

    drain(Lane.FLOW)

    broken.refresh_from_db()
    fine.refresh_from_db()
    assert (broken.status, broken.error_code) == ("failed", "checkpoint_refused")
    assert broken.error_message == "The engine could not go on: KeyError: 'steps\\x00'"
    assert fine.status == "completed"
    assert not Branch.objects.exists()


@pytest.mark.django_db
def test_with_it_end_its_other_branches_its_waits_and_what_it_called(unreadable: list[int]) -> None:
    owner = factories.make_owner()
    call = {
        "name": "call",
        "type": "workflow",
        "config": {"workflow_id": factories.make_workflow([NAP], owner=owner).pk},
    }
    wait = {"name": "wait", "type": "wait_for_event", "config": {"event_type": "order.paid"}}
    both = {"name": "both", "type": "parallel", "config": {"steps": [call, wait, {**NAP, "config": {"seconds": 0.1}}]}}
    execution = factories.run(factories.make_workflow([both], owner=owner))
    unreadable.append(execution.version_id)

    Branch.objects.filter(waiting_on="timer", execution=execution).update(wake_at="2020-01-01T00:00:00Z")
    factories.drain_all()

    assert list(Execution.objects.order_by("pk").values_list("status", flat=True)) == ["failed", "cancelled"]
    assert EventWait.objects.get().status == "cancelled"
    assert not Branch.objects.exists()


@pytest.mark.django_db
def test_what_it_was_undoing_is_left_to_an_operator(unreadable: list[int]) -> None:
    bad = {"name": "bad", "type": "delay", "config": {"seconds": "{{'soon'}}"}}
    workflow = factories.make_workflow([{**LOG, "compensate": {**NAP, "name": "undo"}}, bad])
    execution = factories.run(workflow)
    unreadable.append(execution.version_id)

    Branch.objects.update(wake_at="2020-01-01T00:00:00Z")
    factories.drain_all()

    execution.refresh_from_db()
    saga = WorkflowInstance.objects.get(execution=execution)
    assert (execution.status, execution.error_code) == ("failed", "config_invalid")
    assert (saga.status, [entry["status"] for entry in saga.steps_data]) == ("failed", ["open"])


@pytest.mark.django_db
def test_an_end_that_fails_over_and_over_is_given_up_after_a_hundred_recoveries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def goes_on(self: Close, *args: Any) -> bool:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Close, "goes_on", goes_on)
    execution = factories.start(factories.make_workflow([LOG], config={"finally": [{**LOG, "name": "bye"}]}))
    Branch.objects.update(recoveries=101)
    with pytest.raises(ZeroDivisionError):
        drain(Lane.FLOW)
    factories.expire_leases()
    sweep.free_expired_leases()

    drain(Lane.FLOW)

    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "recovery_exhausted")
    assert execution.error_message == "Execution was recovered 100 times after crashes and is given up"
    assert not Branch.objects.exists()


@pytest.mark.django_db
def test_a_database_that_is_away_is_no_reason_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = factories.start(factories.make_workflow([LOG]))

    def away(version_id: int) -> None:
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr("workflows.engine.program.of_version", away)
        drain(Lane.FLOW)
    factories.expire_leases()
    sweep.free_expired_leases()
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["in_checkpoint", "in_finish"])
def test_a_checkpoint_that_a_deadlock_rolled_back_is_stored_all_the_same(
    point: str, paid: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = factories.start(factories.make_workflow([{"name": name, "type": "pay"} for name in ("pay", "again")]))
    struck: list[str] = []

    def strike(name: str) -> None:
        if name == point and paid and not struck:
            struck.append(name)
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$")

    monkeypatch.setattr("workflows.engine.checkpoint.faults.point", strike)
    drain(Lane.FLOW)

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert (struck, paid) == ([point], ["pay", "again"])
    assert factories.statuses(execution) == [("pay", 1, "completed"), ("again", 1, "completed")]
