"""A workflow's totals count executions, however often one is taken up again."""

import pytest

from tests import factories
from workflows import services
from workflows.models import Execution, Workflow
from workflows.services import sagas

pytestmark = pytest.mark.django_db

FAILING = {"name": "pay", "type": "http_request", "config": {"url": "http://10.0.0.1/"}, "max_retries": 0}


def totals(workflow: Workflow) -> tuple[int, int, int]:
    services.fold_counters()
    workflow.refresh_from_db()
    return workflow.total_executions, workflow.successful_executions, workflow.failed_executions


def test_a_retried_execution_counts_once_and_not_while_it_runs() -> None:
    workflow = factories.make_workflow([FAILING])
    execution = factories.run(workflow)
    first = totals(workflow)

    services.retry_step(execution.attempts.get(path="pay"))
    meanwhile = totals(workflow)
    factories.drain_all()

    assert (first, meanwhile, totals(workflow)) == ((1, 0, 1), (0, 0, 0), (1, 0, 1))


def test_a_cancelled_execution_that_is_retried_takes_no_failure_back() -> None:
    workflow = factories.make_workflow([FAILING])
    execution = factories.run(workflow)
    Execution.objects.filter(pk=execution.pk).update(status="cancelled")

    services.retry_step(execution.attempts.get(path="pay"))

    assert totals(workflow) == (0, 0, 1)


def test_a_compensation_that_is_tried_again_counts_no_second_failure() -> None:
    kept = {"name": "kept", "type": "log", "config": {"message": "x"}, "compensate": {**FAILING, "name": "undo"}}
    stop = {"name": "stop", "type": "stop", "config": {"status": "failed", "message": "boom"}}
    workflow = factories.make_workflow([kept, stop])
    execution = factories.run(workflow)

    sagas.retry_compensation(execution, actor="test")
    factories.drain_all()

    assert totals(workflow) == (1, 0, 1)


def test_a_retried_test_run_takes_nothing_back() -> None:
    workflow = factories.make_workflow([FAILING])
    execution = factories.run(workflow)
    Execution.objects.filter(pk=execution.pk).update(is_test=True)

    services.retry_step(execution.attempts.get(path="pay"))

    assert totals(workflow) == (1, 0, 1)
