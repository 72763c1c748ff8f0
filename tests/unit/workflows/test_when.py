"""A step's `when` is asked once: what has begun is not taken for unwanted later."""

from datetime import timedelta

import pytest

from core import clock
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_step_that_waits_is_still_wanted_when_its_condition_has_come_to_an_end() -> None:
    soon = (clock.now() + timedelta(seconds=5)).isoformat()
    nap = {"name": "nap", "type": "delay", "when": f"{{{{ now < '{soon}' }}}}", "config": {"seconds": 10}}
    execution = factories.run(factories.make_workflow([nap]))

    with clock.moved_by(seconds=11):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.statuses(execution) == [("nap", 1, "completed")]


def test_now_in_a_condition_is_the_same_in_all_attempts_of_the_step() -> None:
    soon = (clock.now() + timedelta(seconds=5)).isoformat()
    step = {"name": "read", "type": "workflow", "when": f"{{{{ now < '{soon}' }}}}", "max_retries": 1}
    owner = factories.make_owner()
    paused = factories.make_workflow([], owner=owner, is_enabled=False)
    execution = factories.run(factories.make_workflow([step | {"config": {"workflow_id": paused.pk}}], owner=owner))

    with clock.moved_by(seconds=11):
        factories.drain_all()

    assert factories.statuses(execution) == [("read", 1, "failed"), ("read", 2, "failed")]
