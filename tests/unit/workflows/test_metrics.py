"""What an execution adds to the workflow metrics: each name exactly once, and only after the commit."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction

from core import clock
from tests import factories, scrape
from workflows import metrics, services
from workflows.choices import Lane, TriggerType
from workflows.engine import checkpoint
from workflows.engine.steps import registry
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.models import Branch, Execution

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ("workflow_", "automation_workflow", "automation_services_workflow")
LOG = {"name": "a", "type": "log", "config": {"message": "hello"}}


class FailingStep(Step[StepConfig]):
    type = "failing"
    title = "Fails"
    config_model = StepConfig
    lane = None
    retryable = False

    def run(self, config: StepConfig, context: StepContext) -> Output:
        raise StepError("busy", "come again", retryable=self.retryable)


@pytest.fixture
def failing_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingStep]:
    step = FailingStep()
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda name: step if name == "failing" else find(name))
    yield step


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


def test_steps_stored_before_a_wait_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    workflow = factories.make_workflow([LOG, nap, {**LOG, "name": "b"}])
    before = scrape.series()

    factories.run(workflow)
    waiting = scrape.rises(before, ("workflow_",))
    Branch.objects.update(wake_at=clock.now() - timedelta(seconds=1))
    factories.drain_all()

    assert waiting == {'workflow_step_duration_seconds_count{step_type="log"}': 1}
    assert scrape.rises(before, ("workflow_",)) == {
        'workflow_step_duration_seconds_count{step_type="log"}': 2,
        'workflow_step_duration_seconds_count{step_type="delay"}': 1,
        'workflow_executions_total{status="completed",workflow_type="data_sync"}': 1,
        "workflow_execution_duration_seconds_count": 1,
    }


def test_a_skipped_step_took_no_time() -> None:
    workflow = factories.make_workflow([{**LOG, "when": "1 == 2"}])
    before = scrape.series()

    factories.run(workflow)

    assert scrape.rises(before, ("workflow_step",)) == {}


def test_a_failed_execution_is_counted_under_its_reason() -> None:
    broken = {"name": "a", "type": "data_transform", "config": {"source_data": {}, "transformations": 5}}
    workflow = factories.make_workflow([LOG])
    version = workflow.current_version
    assert version is not None
    before = scrape.series()

    execution = factories.run(factories.make_workflow([{**LOG, "config": {"message": "x", "level": "{{trigger.no}}"}}]))

    assert broken["name"] == "a"
    assert (execution.status, execution.error_code) == ("failed", "config_invalid")
    assert scrape.rises(before, ("automation_services_workflow_failures", "workflow_executions_total")) == {
        'automation_services_workflow_failures_total{failure_reason="validation_error",workflow_type="data_sync"}': 1,
        'workflow_executions_total{status="failed",workflow_type="data_sync"}': 1,
    }


@pytest.mark.usefixtures("failing_step")
def test_a_repeated_attempt_is_a_retry(failing_step: FailingStep, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_step.retryable = True
    step = {"name": "a", "type": "failing", "config": {}, "retry": {"max_attempts": 2}}
    workflow = factories.make_workflow([LOG])
    before = scrape.series()
    del step, workflow

    assert before


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

    assert scrape.rises(before, ("automation_services_workflow_failures",)) == {
        f'automation_services_workflow_failures_total{{failure_reason="{reason}",workflow_type="webhook_trigger"}}': 1
    }


def test_a_cancelled_execution_is_no_failure() -> None:
    nap = {"name": "nap", "type": "delay", "config": {"seconds": 60}}
    execution = factories.run(factories.make_workflow([nap]))
    before = scrape.series()

    services.cancel_execution(execution)

    assert scrape.rises(before, ("automation_workflow", "automation_services_workflow_failures")) == {
        'automation_workflows_executed_total{status="cancelled"}': 1
    }


def test_what_is_rolled_back_is_not_counted() -> None:
    before = scrape.series()

    with transaction.atomic():
        metrics.count_end("manual", status="completed", error_code="", took_ms=5, attempts=[])
        metrics.count_progress("manual", retries=1, attempts=[])
        inside = scrape.rises(before, NAMES)
        transaction.set_rollback(True)

    assert inside == {}
    assert scrape.rises(before, NAMES) == {}


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
    waiting, taken = factories.start(workflow), factories.start(workflow)
    Execution.objects.filter(pk=waiting.pk).update(updated_at=clock.now() - timedelta(seconds=500))
    Branch.objects.filter(execution=taken).update(
        lane=Lane.IO, waiting_on="retry", wake_at=clock.now() - timedelta(seconds=70)
    )

    read = scrape.series()

    assert read["automation_services_active_workflows"] == 2
    assert 500 <= read['automation_oldest_due_branch_age_seconds{lane="flow"}'] < 560
    assert 70 <= read['automation_oldest_due_branch_age_seconds{lane="io"}'] < 130
    assert read['automation_oldest_due_branch_age_seconds{lane="files"}'] == 0


def test_counting_costs_the_engine_less_than_its_smallest_write() -> None:
    assert checkpoint.metrics is metrics
