"""What is kept of ended executions, and what goes when."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Owner
from automation.models import Event
from automation.services import retention as event_retention
from core import clock, metrics
from tests import factories
from workflows import services
from workflows.engine import spill
from workflows.models import Evaluation, Execution, Spill, StepAttempt, Workflow
from workflows.services import retention

pytestmark = pytest.mark.django_db

GREET = [{"name": "greet", "type": "log", "config": {"message": "hi"}}]
FAIL = [{"name": "end", "type": "stop", "config": {"status": "failed", "message": "no"}}]


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    retention.begin_again()
    monkeypatch.setattr(event_retention, "_rests_until", 0.0)
    yield
    retention.begin_again()


def ended(workflow: Workflow, *, days_ago: float) -> Execution:
    """Run an execution to its end, so many days ago."""
    with clock.moved_by(days=-days_ago):
        return factories.run(workflow)


def prune() -> int:
    retention.begin_again()
    return services.prune_due(budget_seconds=30)


def left() -> set[int]:
    return set(Execution.objects.values_list("pk", flat=True))


def test_ended_executions_go_after_30_days_with_their_attempts() -> None:
    workflow = factories.make_workflow(GREET)
    old, young = ended(workflow, days_ago=30.1), ended(workflow, days_ago=29.9)

    assert prune() == 1

    assert left() == {young.pk}
    assert set(StepAttempt.objects.values_list("execution_id", flat=True)) == {young.pk}
    assert old.pk not in left()


def test_a_live_execution_is_never_touched() -> None:
    workflow = factories.make_workflow([{"name": "wait", "type": "delay", "config": {"seconds": 86_400 * 300}}])
    with clock.moved_by(days=-100):
        live = factories.start(workflow)
        pending = factories.start(workflow)
        factories.drain_all()

    assert prune() == 0
    assert left() == {live.pk, pending.pk}
    # Even if somebody claims that it should go.
    assert retention.prune_executions([live.pk, pending.pk]) == 0


def test_a_workflow_keeps_its_own_number_of_days() -> None:
    short = factories.make_workflow(GREET, retention_days=2)
    long = factories.make_workflow(GREET, retention_days=400)
    kept = {ended(short, days_ago=1).pk, ended(long, days_ago=399).pk}
    ended(short, days_ago=3)
    ended(long, days_ago=401)

    assert prune() == 2
    assert left() == kept


def test_failures_are_kept_longer_where_that_is_asked_for() -> None:
    workflow = factories.make_workflow(FAIL, retention_days=2, retention_failed_days=10)
    kept = ended(workflow, days_ago=9)
    ended(workflow, days_ago=11)
    own = factories.make_workflow(FAIL, retention_days=2)
    ended(own, days_ago=3)

    assert prune() == 2
    assert left() == {kept.pk}


def test_the_settings_hold_where_a_workflow_says_nothing(settings: Settings) -> None:
    settings.RETENTION_DAYS, settings.RETENTION_FAILED_DAYS = 5, 50
    good, bad = factories.make_workflow(GREET), factories.make_workflow(FAIL)
    kept = {ended(good, days_ago=4).pk, ended(bad, days_ago=49).pk}
    ended(good, days_ago=6)
    ended(bad, days_ago=51)

    assert prune() == 2
    assert left() == kept


def test_a_workflow_keeps_the_newest_of_a_number() -> None:
    workflow = factories.make_workflow(GREET, retention_count=2)
    other = ended(factories.make_workflow(GREET), days_ago=0)
    runs = [ended(workflow, days_ago=0).pk for _ in range(5)]

    assert prune() == 3
    assert left() == {other.pk, *runs[-2:]}


def test_failures_with_an_age_of_their_own_do_not_count() -> None:
    workflow = factories.make_workflow(GREET, retention_count=1, retention_failed_days=90)
    good = [ended(workflow, days_ago=0).pk for _ in range(3)]
    bad = [ended(workflow, days_ago=0).pk for _ in range(3)]
    Execution.objects.filter(pk__in=bad).update(status="failed")

    assert prune() == 2
    assert left() == {good[-1], *bad}


def test_a_count_for_all_workflows(settings: Settings) -> None:
    settings.RETENTION_COUNT = 1
    workflows = [factories.make_workflow(GREET), factories.make_workflow(GREET, retention_count=2)]
    for workflow in workflows:
        for _ in range(3):
            ended(workflow, days_ago=0)

    assert prune() == 3
    assert [workflow.executions.count() for workflow in workflows] == [1, 2]


def test_totals_of_workflows_do_not_change() -> None:
    workflow = factories.make_workflow(GREET)
    ended(workflow, days_ago=40)
    services.fold_counters()

    prune()

    workflow.refresh_from_db()
    assert (workflow.total_executions, workflow.successful_executions) == (1, 1)


def test_who_named_what_is_gone_names_nothing_any_more() -> None:
    workflow = factories.make_workflow(GREET)
    old, child, again = (ended(workflow, days_ago=days) for days in (40, 1, 1))
    Execution.objects.filter(pk=child.pk).update(parent=old)
    Execution.objects.filter(pk=again.pk).update(rerun_of=old)

    prune()

    child.refresh_from_db()
    again.refresh_from_db()
    assert (child.parent_id, again.rerun_of_id) == (None, None)


def test_what_a_live_parent_called_stays() -> None:
    workflow = factories.make_workflow(GREET)
    child = ended(workflow, days_ago=40)
    parent = factories.start(workflow)
    Execution.objects.filter(pk=child.pk).update(parent=parent)

    assert prune() == 0
    assert child.pk in left()


def test_what_a_live_parent_called_keeps_nothing_older_above_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    workflow = factories.make_workflow(GREET, retention_count=1)
    old = [ended(workflow, days_ago=2) for _ in range(3)]
    called = [ended(workflow, days_ago=1) for _ in range(3)]
    parent = factories.start(factories.make_workflow(GREET, owner=workflow.owner))
    Execution.objects.filter(pk__in=[execution.pk for execution in called]).update(parent=parent)

    assert prune() == len(old)

    assert left() == {parent.pk, *(execution.pk for execution in called)}


def test_outputs_in_the_storage_go_with_their_execution(settings: Settings, tmp_path: Path) -> None:
    settings.SPILL_OUTPUT_BYTES = 100
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path)}}}
    workflow = factories.make_workflow([{"name": "say", "type": "log", "config": {"message": "x" * 200}}])
    ended(workflow, days_ago=40)
    young = ended(workflow, days_ago=0)
    assert len(list(tmp_path.glob("spill/*.json"))) == 2

    prune()
    with clock.moved_by(hours=2):
        spill.sweep_spills()

    assert list(Spill.objects.values_list("pk", flat=True)) == [StepAttempt.objects.get(execution=young).spill_id]
    assert len(list(tmp_path.glob("spill/*.json"))) == 1


def test_an_output_that_a_rerun_copied_stays_as_long_as_one_of_both(settings: Settings, tmp_path: Path) -> None:
    settings.SPILL_OUTPUT_BYTES = 100
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path)}}}
    workflow = factories.make_workflow(
        [{"name": "say", "type": "log", "config": {"message": "x" * 200}}, {**GREET[0], "name": "then"}]
    )
    old = ended(workflow, days_ago=40)
    again = services.rerun_execution(old, services.Rerun(begin="then"), actor="test")
    factories.drain_all()
    spill_id = StepAttempt.objects.get(execution=again.execution_id, path="say").spill_id
    assert spill_id is not None
    assert StepAttempt.objects.get(execution=old, path="say").spill_id == spill_id

    prune()
    with clock.moved_by(hours=2):
        spill.sweep_spills()
    assert spill.read_all([spill_id])[spill_id]["message"] == "x" * 200

    retention.prune_executions([again.execution_id])
    with clock.moved_by(hours=4):
        spill.sweep_spills()
    assert not Spill.objects.exists()


def test_a_round_ends_within_its_time_and_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "WINDOW", 2)
    monkeypatch.setattr(retention, "BATCH", 1)
    workflow = factories.make_workflow(GREET, retention_days=400)
    kept = {ended(workflow, days_ago=50).pk for _ in range(3)}
    other = factories.make_workflow(GREET)
    for _ in range(3):
        ended(other, days_ago=40)
    retention.begin_again()

    rounds = 0
    while len(left()) > 3 and rounds < 50:
        services.prune_due(budget_seconds=0.001)
        rounds += 1

    assert left() == kept
    assert services.prune_due(budget_seconds=30) == 0


def test_a_step_retry_in_the_same_moment_wins_or_finds_nothing() -> None:
    """The rows are locked as they are judged: a reopened execution is not ended any more."""
    workflow = factories.make_workflow(FAIL)
    old = ended(workflow, days_ago=40)
    Execution.objects.filter(pk=old.pk).update(status="running")

    assert retention.prune_executions([old.pk]) == 0
    assert left() == {old.pk}


def make_evaluation(number: int, *, days_ago: float, evaluated: bool = True) -> Evaluation:
    at = timezone.now() - timedelta(days=days_ago)
    return Evaluation.objects.create(
        owner=Owner.objects.first() or factories.make_owner(),
        file_id=number,
        processing_number=1,
        request={},
        created_at=at,
        evaluated_at=at if evaluated else None,
    )


def test_old_evaluations_go_unless_they_are_still_to_be_made() -> None:
    kept = {
        make_evaluation(1, days_ago=29).pk,
        make_evaluation(2, days_ago=31, evaluated=False).pk,
    }
    make_evaluation(3, days_ago=31)

    prune()

    assert set(Evaluation.objects.values_list("pk", flat=True)) == kept


def make_event(number: int, *, days_ago: float, dispatched: bool = True) -> Event:
    at = timezone.now() - timedelta(days=days_ago)
    return Event.objects.create(
        stream_id="s",
        version=number,
        event_type="t",
        owner_id=1,
        created_at=at,
        dispatched_at=at if dispatched else None,
    )


def test_old_events_go_once_they_are_dispatched() -> None:
    kept = {make_event(1, days_ago=89).pk, make_event(2, days_ago=91, dispatched=False).pk}
    make_event(3, days_ago=91)

    assert event_retention.prune_events(budget_seconds=30) == 1
    assert event_retention.prune_events(budget_seconds=30) == 0

    assert set(Event.objects.values_list("pk", flat=True)) == kept


def ages() -> dict[str, float]:
    families = [*retention.gauges(), *event_retention.gauges()]
    return {sample.labels.get("table", sample.name): sample.value for family in families for sample in family.samples}


def test_the_age_of_the_oldest_row_of_each_table_is_a_metric() -> None:
    workflow = factories.make_workflow(GREET)
    ended(workflow, days_ago=3)
    make_event(1, days_ago=5)

    found = ages()

    assert found["workflow_executions"] == pytest.approx(3 * 86_400, abs=60)
    assert found["automation_oldest_event_age_seconds"] == pytest.approx(5 * 86_400, abs=60)
    assert found["workflow_evaluations"] == 0
    assert {"workflow_execution_steps", "workflow_schedule_slots"} <= set(found)
    assert {"automation_oldest_row_age_seconds", "automation_oldest_event_age_seconds"} <= {
        family.name for family in metrics.gauges()
    }


def plan_of(sql: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a statement's plan."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) " + sql, values)
        found = cursor.fetchone()[0]
    waiting = [(json.loads(found) if isinstance(found, str) else found)[0]["Plan"]]
    nodes = []
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += node.get("Plans", [])
    return nodes


def fill(count: int) -> Workflow:
    """Insert many ended executions, some of them old. Returns a workflow that has one in two hundred."""
    busy, rare = factories.make_workflow(GREET), factories.make_workflow(GREET)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO workflow_executions (uuid, workflow_id, version_id, owner_id, trigger_type, execution_config,"
            " status, priority, stop_requested, error_code, retry_count, input_file_ids, output_file_ids, saga_id,"
            " correlation_id, tenant_id, cause_chain, is_test, waited_ms, created_at, updated_at, completed_at)"
            " SELECT gen_random_uuid(), w.id, w.published_version_id, w.owner_id, 'manual', '{}', 'completed', 2,"
            " '', '', 0, '[]', '[]', '', '', '', '[]', false, 0, at, at, at"
            " FROM (SELECT now() - n * interval '1 hour' AS at, n FROM generate_series(1, %s) n) moments"
            " JOIN workflows w ON w.id = CASE n %% 200 WHEN 0 THEN %s ELSE %s END",
            [count, rare.pk, busy.pk],
        )
        cursor.execute("ANALYZE workflow_executions")
    return rare


def test_nothing_is_looked_for_by_reading_a_whole_table() -> None:
    workflow = fill(20_000)
    now = clock.now()
    by_age = plan_of(
        retention._OLD,
        {
            "now": now, "horizon": now - timedelta(days=30), "days": 30, "failed_days": 30,
            "failures": list(retention.FAILURES), "after": retention._BEGINNING, "after_id": 0, "window": 1000,
        },
    )  # fmt: skip
    surplus = plan_of(
        retention._SURPLUS, {"workflow": workflow.pk, "keep": 10, "statuses": ["completed"], "batch": 200}
    )

    for nodes, index in ((by_age, "executions_by_completion"), (surplus, "executions_by_workflow")):
        assert index in {node.get("Index Name") for node in nodes}
        scans = {node["Node Type"] for node in nodes if node.get("Relation Name") == "workflow_executions"}
        assert "Seq Scan" not in scans


def test_every_table_that_names_executions_finds_them_by_an_index() -> None:
    with connection.cursor() as cursor:
        for relation in Execution._meta.related_objects:
            table, column = relation.field.model._meta.db_table, relation.field.column
            found = connection.introspection.get_constraints(cursor, table).values()
            indexed = {item["columns"][0] for item in found if item["index"] or item["unique"]}
            assert column in indexed, f"{table}.{column}"
