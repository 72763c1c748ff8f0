"""Waits cost nothing while they wait: for days on the virtual clock, and by the hundred."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from automation import services as events
from automation.services.dispatch import _PICK
from core import clock
from tests import factories
from workflows import services
from workflows.choices import Lane
from workflows.engine import lease
from workflows.engine.sweep import sweep
from workflows.models import Approval, Branch, EventWait, Execution, StepAttempt

pytestmark = pytest.mark.django_db

MANY = 300
# On a machine that has much else to do; the shortest of the waits is a minute.
MOST_SECONDS = 30


def ask_many(step_type: str = "approval", **config: Any) -> list[Execution]:
    Group.objects.get_or_create(name="Finance")
    step = {"name": "wait", "type": step_type, "config": config}
    workflow = factories.make_workflow([step])
    executions = [factories.start(workflow) for _ in range(MANY)]
    factories.drain_all()
    return executions


def statements_of(call: Any) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        call()
    return [query["sql"] for query in captured]


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE workflow_branches, workflow_approvals, workflow_event_waits, event_store")
        cursor.execute("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) " + sql)
        return "\n".join(line for (line,) in cursor.fetchall())


def test_a_delay_of_three_days_takes_no_time() -> None:
    steps = [
        {"name": "nap", "type": "delay", "config": {"seconds": 3 * 86_400}},
        {"name": "end", "type": "log", "config": {"message": "awake"}},
    ]
    began = time.monotonic()
    execution = factories.run(factories.make_workflow(steps))
    branch = Branch.objects.get(execution=execution)

    with clock.moved_by(days=2, hours=23):
        factories.drain_all()
        still_waits = Branch.objects.filter(pk=branch.pk, waiting_on="timer").exists()
    with clock.moved_by(days=3, seconds=1):
        factories.drain_all()

    execution.refresh_from_db()
    assert (still_waits, execution.status) == (True, "completed")
    assert factories.outputs(execution)["end"]["message"] == "awake"
    assert time.monotonic() - began < MOST_SECONDS


def test_a_ladder_of_retries_takes_no_time() -> None:
    policy = {"max_attempts": 6, "initial_interval": 60, "backoff": 4, "max_interval": 300}
    step = {"name": "file", "type": "file_process", "config": {"file_id": 1}, "retry": policy}
    began = time.monotonic()
    execution = factories.run(factories.make_workflow([step]))
    pauses = []

    while (branch := Branch.objects.filter(execution=execution, waiting_on="retry").first()) is not None:
        pauses.append(branch.wake_at)
        ahead = (branch.wake_at - clock.now()).total_seconds()
        with clock.moved_by(seconds=ahead + 0.001):
            factories.drain_all()
            assert branch.attempt == StepAttempt.objects.filter(execution=execution).count()

    execution.refresh_from_db()
    assert execution.status == "failed"
    assert time.monotonic() - began < MOST_SECONDS


def test_hundreds_of_pending_approvals_add_no_statement_to_a_claim_or_a_sweep(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A drain sweeps too where nobody has for a while: now and then, in whichever of them it falls.
    settings.SWEEP_INTERVAL_SECONDS = 3600.0
    monkeypatch.setattr("workflows.engine.sweep._swept_at", time.monotonic())
    other = factories.make_workflow([{"name": "say", "type": "log", "config": {"message": "hi"}}])

    def work() -> list[str]:
        factories.start(other)
        sql = statements_of(lambda: services.drain_lane(Lane.FLOW))
        return sql + statements_of(sweep) + statements_of(events.sweep_events)

    work()
    alone = work()
    ask_many(group="Finance", timeout_seconds=86_400)
    work()

    among_many = work()

    assert Approval.objects.filter(status="pending").count() == MANY
    assert len(among_many) == len(alone)


def test_claim_and_timers_read_their_partial_indexes_past_what_waits() -> None:
    ask_many(group="Finance", timeout_seconds=86_400)
    claim = next(sql for sql in statements_of(lambda: lease.claim(Lane.FLOW)) if "RECURSIVE queues" in sql)

    plan = plan_of(claim)

    assert "branches_ready" in plan
    assert "branches_timer" in plan
    assert "Rows Removed by Filter" not in plan


def test_looking_for_who_waits_reads_the_index_of_open_waits() -> None:
    executions = ask_many("wait_for_event", event_type="order.paid")
    EventWait.objects.exclude(execution=executions[0]).update(status="matched")
    events.publish_event(
        owner=executions[0].owner, event_type="order.paid", aggregate_type="order", aggregate_id="1", data={}
    )
    looked = statements_of(events.dispatch_events)

    [awaited] = [sql for sql in looked if "SELECT DISTINCT" in sql and "workflow_event_waits" in sql]
    assert "event_waits_open" in plan_of(awaited)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "event_store_undispatched" in plan_of(_PICK.replace("%s", "%d") % (0, 100))


def test_one_event_wakes_hundreds_in_one_statement_each() -> None:
    executions = ask_many("wait_for_event", event_type="order.paid")
    while EventWait.objects.filter(scanned_at=None).exists():
        events.dispatch_events()
    events.publish_event(
        owner=executions[0].owner, event_type="order.paid", aggregate_type="order", aggregate_id="1", data={}
    )

    took = statements_of(events.dispatch_events)
    factories.drain_all()

    assert len(took) < MANY + 20
    assert Execution.objects.filter(status="completed").count() == MANY
