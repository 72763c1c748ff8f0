"""What an execution adds to the workflow metrics: each name exactly once, and only after the commit."""

from datetime import timedelta

import pytest
from django.db import transaction
from pytest_django import Settings

from core import clock
from tests import factories, scrape
from workflows import metrics, services
from workflows.choices import Lane, TriggerType
from workflows.models import Branch, Execution

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ("workflow_", "automation_workflow", "automation_services_workflow")
FAILURES = "automation_services_workflow_failures_total"
LOG = {"name": "a", "type": "log", "config": {"message": "hello"}}
NAP = {"name": "nap", "type": "delay", "config": {"seconds": 60}}


def test_one_execution_raises_every_name_by_exactly_one() -> None:
    workflow = factories.make_workflow([LOG])
    before = scrape.series()

    factories.run(workflow)

    assert scrape.rises(before, NAMES) == {
        'workflow_executions_total{status="completed",workflow_type="data_sync"}': 1,
        'automation_workflows_executed_total{status="completed"}': 1,
        'automation_services_workflow_executions_total{workflow_type="data_sync"}': 1,
        'automation_services_workflow_duration_seconds_count{workflow_type="data_sync"}': 1,
        "workflow_execution_duration_seconds_count": 1,
        'workflow_step_duration_seconds_count{step_type="log"}': 1,
        "automation_workflow_step_duration_seconds_count": 1,
    }


def test_steps_stored_before_a_wait_are_counted_once() -> None:
    workflow = factories.make_workflow([LOG, NAP, {**LOG, "name": "b"}])
    before = scrape.series()

    factories.run(workflow)
    waiting = scrape.rises(before, ("workflow_",))
    with clock.moved_by(seconds=61):
        factories.drain_all()

    assert waiting == {'workflow_step_duration_seconds_count{step_type="log"}': 1}
    assert scrape.rises(before, ("workflow_",)) == {
        'workflow_step_duration_seconds_count{step_type="log"}': 2,
        'workflow_step_duration_seconds_count{step_type="delay"}': 1,
        'workflow_executions_total{status="completed",workflow_type="data_sync"}': 1,
        "workflow_execution_duration_seconds_count": 1,
    }


def test_a_skipped_step_has_no_duration() -> None:
    workflow = factories.make_workflow([{**LOG, "when": "1 == 2"}])
    before = scrape.series()

    factories.run(workflow)

    assert scrape.rises(before, ("workflow_step",)) == {}


def test_durations_add_up_in_seconds() -> None:
    before = scrape.series()

    metrics.count_end("manual", status="completed", error_code="", took_ms=1500, attempts=[])

    after = scrape.series()
    assert after["workflow_execution_duration_seconds_sum"] - before.get(
        "workflow_execution_duration_seconds_sum", 0
    ) == pytest.approx(1.5)
    fast, slow = (f'workflow_execution_duration_seconds_bucket{{le="{bound}"}}' for bound in ("1.0", "2.5"))
    assert [after[name] - before.get(name, 0) for name in (fast, slow)] == [0, 1]


def test_a_failed_execution_is_counted_under_its_reason() -> None:
    workflow = factories.make_workflow([{**NAP, "config": {"seconds": "{{trigger.pause}}"}}])
    before = scrape.series()

    factories.run(workflow, {"pause": "later"})

    assert scrape.rises(before, (FAILURES, "workflow_executions_total")) == {
        f'{FAILURES}{{failure_reason="validation_error",workflow_type="data_sync"}}': 1,
        'workflow_executions_total{status="failed",workflow_type="data_sync"}': 1,
    }


def test_an_attempt_that_will_be_repeated_is_a_retry(settings: Settings) -> None:
    settings.EGRESS_ALLOWLIST = ["127.0.0.1:1"]
    call = {"name": "call", "type": "http_request", "config": {"url": "http://127.0.0.1:1/"}}
    workflow = factories.make_workflow([call])
    before = scrape.series()

    factories.run(workflow)

    assert scrape.rises(before, NAMES) == {
        'automation_services_workflow_retries_total{workflow_type="data_sync"}': 1,
        'workflow_step_duration_seconds_count{step_type="http_request"}': 1,
        "automation_workflow_step_duration_seconds_count": 1,
    }


@pytest.mark.parametrize(
    ("status", "error_code", "reason"),
    [
        ("timeout", "", "timeout"),
        ("failed", "step_timeout", "timeout"),
        ("failed", "too_large", "resource_limit"),
        ("failed", "config_invalid", "validation_error"),
        ("failed", "http_500", "other"),
    ],
)
def test_reasons_of_failure_are_four(status: str, error_code: str, reason: str) -> None:
    before = scrape.series()

    metrics.count_end("webhook", status=status, error_code=error_code, took_ms=5, attempts=[])

    assert scrape.rises(before, (FAILURES,)) == {
        f'{FAILURES}{{failure_reason="{reason}",workflow_type="webhook_trigger"}}': 1
    }


def test_a_cancelled_execution_is_no_failure() -> None:
    execution = factories.run(factories.make_workflow([NAP]))
    before = scrape.series()

    services.cancel_execution(execution)

    assert scrape.rises(before, ("automation_workflows", FAILURES)) == {
        'automation_workflows_executed_total{status="cancelled"}': 1
    }


def test_what_is_rolled_back_is_not_counted() -> None:
    before = scrape.series()

    with transaction.atomic():
        metrics.count_end("manual", status="completed", error_code="", took_ms=5, attempts=[])
        metrics.count_progress("manual", retries=1, attempts=[])
        transaction.set_rollback(True)

    assert scrape.rises(before, NAMES) == {}


def test_what_is_committed_later_is_counted_then() -> None:
    before = scrape.series()

    with transaction.atomic():
        metrics.count_progress("manual", retries=1, attempts=[])
        inside = scrape.rises(before, NAMES)

    assert inside == {}
    assert scrape.rises(before, NAMES) == {'automation_services_workflow_retries_total{workflow_type="data_sync"}': 1}


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (TriggerType.MANUAL, "data_sync"),
        (TriggerType.EVENT, "data_sync"),
        (TriggerType.SCHEDULED, "scheduled_task"),
        (TriggerType.WEBHOOK, "webhook_trigger"),
        (TriggerType.FILE_UPLOAD, "file_processing"),
        (TriggerType.FILE_PROCESSED, "file_processing"),
    ],
)
def test_the_type_is_what_begins_the_work(trigger: TriggerType, kind: str) -> None:
    assert metrics.workflow_type(trigger.value) == kind


def test_live_executions_and_the_oldest_due_branch_are_read_at_scrape() -> None:
    workflow = factories.make_workflow([LOG])
    ready, timed = factories.start(workflow), factories.start(workflow)
    Execution.objects.filter(pk=ready.pk).update(updated_at=clock.now() - timedelta(seconds=500))
    Branch.objects.filter(execution=timed).update(
        lane=Lane.IO, waiting_on="retry", wake_at=clock.now() - timedelta(seconds=70)
    )

    read = scrape.series()

    assert read["automation_services_active_workflows"] == 2
    assert 500 <= read['automation_oldest_due_branch_age_seconds{lane="flow"}'] < 560
    assert 70 <= read['automation_oldest_due_branch_age_seconds{lane="io"}'] < 130
    assert read['automation_oldest_due_branch_age_seconds{lane="files"}'] == 0


def test_a_continued_branch_that_nobody_takes_is_seen_too() -> None:
    execution = factories.start(factories.make_workflow([LOG]))
    Execution.objects.filter(pk=execution.pk).update(updated_at=clock.now() - timedelta(seconds=90))
    Branch.objects.filter(execution=execution).update(lane=Lane.IO, rank=-8)

    read = scrape.series()

    assert 90 <= read['automation_oldest_due_branch_age_seconds{lane="io"}'] < 150
