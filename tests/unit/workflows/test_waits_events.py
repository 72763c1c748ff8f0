"""`wait_for_event` steps: what they take, until when they wait, and what they say meanwhile."""

from datetime import datetime, timedelta, tzinfo
from typing import Any, Self

import pytest

from accounts.models import Owner
from automation import services as events
from core import clock
from tests import factories
from workflows import services, transitions
from workflows.errors import DefinitionInvalid
from workflows.models import Branch, EventWait, Execution, StepAttempt

pytestmark = pytest.mark.django_db


def wait_step(**config: Any) -> dict[str, Any]:
    return {"name": "wait", "type": "wait_for_event", "config": {"event_type": "order.paid", **config}}


def waiting(owner: Owner, data: dict[str, Any] | None = None, **config: Any) -> Execution:
    """An execution that has come to its `wait_for_event` step and looked back."""
    workflow = factories.make_workflow([wait_step(**config)], owner=owner)
    execution = factories.run(workflow, data)
    events.dispatch_events()
    return execution


def publish(owner: Owner, data: dict[str, Any] | None = None, event_type: str = "order.paid") -> str:
    """Publish an event and dispatch it; return its id."""
    made = events.publish_event(
        owner=owner, event_type=event_type, aggregate_type="order", aggregate_id="1", data=data or {}
    )
    events.dispatch_events()
    factories.drain_all()
    return str(made)


def test_an_event_ends_the_wait_and_is_the_output() -> None:
    owner = factories.make_owner()
    execution = waiting(owner)
    branch = Branch.objects.get(execution=execution)

    made = publish(owner, {"total": 12})

    execution.refresh_from_db()
    assert (branch.waiting_on, branch.waiting_reason) == ("event", "waits for event 'order.paid'")
    assert execution.status == "completed"
    output = factories.outputs(execution)["wait"]
    at = output["event"].pop("at")
    assert output == {"event": {"id": made, "type": "order.paid", "data": {"total": 12}}, "timed_out": False}
    assert at.endswith("Z")


@pytest.mark.parametrize("awaited", ["workflow_completed", "workflow.completed"])
def test_both_spellings_wait_for_the_same_event(awaited: str) -> None:
    owner = factories.make_owner()
    execution = waiting(owner, event_type=awaited)

    other = factories.run(factories.make_workflow([], owner=owner))
    events.sweep_events()
    events.dispatch_events()
    factories.drain_all()

    execution.refresh_from_db()
    event = factories.outputs(execution)["wait"]["event"]
    assert (execution.status, event["type"], event["data"]["execution_id"]) == ("completed", awaited, other.pk)


def test_an_event_of_another_owner_never_matches() -> None:
    execution = waiting(factories.make_owner(), look_back_seconds=60)

    publish(factories.make_owner("Eve"))

    execution.refresh_from_db()
    assert execution.status == "running"
    assert EventWait.objects.get().status == "open"


def test_of_two_owners_who_wait_for_the_same_type_each_gets_his_own_event() -> None:
    ada, eve = factories.make_owner(), factories.make_owner("Eve")
    execution, foreign = waiting(ada), waiting(eve)

    made = publish(ada)

    foreign.refresh_from_db()
    assert factories.outputs(execution)["wait"]["event"]["id"] == made
    assert foreign.status == "running"


def test_an_event_of_another_type_does_not_match() -> None:
    owner = factories.make_owner()
    execution = waiting(owner)

    publish(owner, event_type="order.lost")

    execution.refresh_from_db()
    assert execution.status == "running"


@pytest.mark.parametrize(
    "condition",
    [
        "{{event.data.order}} == {{trigger.order}}",
        "event.data.order == trigger.order",
        {"field": "order", "operator": "equals", "value": "{{trigger.order}}"},
        {"field": "event.data.order", "operator": "equals", "value": "{{order_wanted}}"},
        "{{ event.data.order | string }} == {{ trigger.orders[0] | string }}",
        {"all": [{"left": "{{event.data.order}}", "operator": "in", "right": "{{trigger.orders}}"}]},
        {"not": {"any": ["event.data.order != order_wanted", "event.data.order == trigger.order and false"]}},
    ],
    ids=str,
)
def test_the_filter_compares_the_event_with_what_the_execution_knew(condition: Any) -> None:
    owner = factories.make_owner()
    execution = waiting(owner, {"order": 7, "orders": [7], "order_wanted": 7}, filter=condition)

    publish(owner, {"order": 8})
    execution.refresh_from_db()
    before = execution.status
    made = publish(owner, {"order": 7})

    execution.refresh_from_db()
    assert (before, execution.status) == ("running", "completed")
    assert factories.outputs(execution)["wait"]["event"]["id"] == made


def test_a_filter_that_cannot_be_decided_takes_nothing_and_the_time_out_says_why() -> None:
    owner = factories.make_owner()
    execution = waiting(owner, filter="{{ event.data.a / event.data.b }} > 1", timeout_seconds=60)
    publish(owner, {"a": 1, "b": 0})

    with clock.moved_by(seconds=61):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.error_code == "event_timeout"
    assert "no event 'order.paid' came in time; the filter could not be decided:" in execution.error_message
    assert "division by zero" in execution.error_message


def test_the_config_is_checked_when_the_workflow_is_saved() -> None:
    wrong = [
        {"filter": "event.data.x =="},
        {"filter": "{{secrets.x}} == 1"},
        {"look_back_seconds": -1},
        {"event_type": ""},
        {"deadline": "soon"},
    ]
    steps = [{**wait_step(**config), "name": f"s{number}"} for number, config in enumerate(wrong)]

    with pytest.raises(DefinitionInvalid) as refusal:
        factories.make_workflow(steps)

    places = ["/".join(map(str, problem.loc[1:])) for problem in refusal.value.problems]
    assert [place.split("/", 2)[2] for place in places] == [f"config/{next(iter(config))}" for config in wrong]


def test_one_event_ends_many_waits() -> None:
    owner = factories.make_owner()
    executions = [waiting(owner) for _ in range(3)]

    made = publish(owner)

    assert [factories.outputs(execution)["wait"]["event"]["id"] for execution in executions] == [made] * 3


def test_one_wait_takes_one_event_the_first() -> None:
    owner = factories.make_owner()
    execution = waiting(owner)
    args: dict[str, Any] = {"event_type": "order.paid", "aggregate_type": "order", "aggregate_id": "1"}
    first = events.publish_event(owner=owner, data={"n": 1}, **args)
    events.publish_event(owner=owner, data={"n": 2}, **args)

    events.dispatch_events()
    factories.drain_all()

    assert factories.outputs(execution)["wait"]["event"]["id"] == str(first)


def test_without_an_event_the_step_fails_at_its_deadline_and_is_not_retried() -> None:
    owner = factories.make_owner()
    execution = waiting(owner, timeout_seconds=3 * 86_400)
    until = EventWait.objects.get().deadline_at
    reason = Branch.objects.get(execution=execution).waiting_reason

    with clock.moved_by(days=3, seconds=1):
        factories.drain_all()

    execution.refresh_from_db()
    assert reason == f"waits for event 'order.paid' until {until:%Y-%m-%d %H:%M} UTC"
    assert (execution.status, execution.error_code) == ("failed", "event_timeout")
    assert execution.error_message == "Step 'wait' failed: no event 'order.paid' came in time"
    assert EventWait.objects.get().status == "expired"
    assert StepAttempt.objects.filter(execution=execution).count() == 1


def test_on_timeout_continue_goes_on_without_an_event() -> None:
    execution = waiting(factories.make_owner(), timeout_seconds=60, on_timeout="continue")

    with clock.moved_by(seconds=61):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.outputs(execution)["wait"] == {"event": None, "timed_out": True}


def test_the_earlier_of_deadline_and_timeout_counts() -> None:
    deadline = clock.now() + timedelta(hours=5)
    owner = factories.make_owner()

    waiting(owner, deadline=deadline.isoformat(), timeout_seconds=60)
    waiting(owner, deadline=deadline.replace(tzinfo=None).isoformat(), timeout_seconds=86_400)

    first, second = EventWait.objects.order_by("pk")
    assert timedelta(seconds=59) < first.deadline_at - first.created_at <= timedelta(seconds=60)
    assert second.deadline_at == deadline


@pytest.mark.parametrize(("look_back_seconds", "status"), [(0, "running"), (60, "completed")])
def test_an_event_from_before_the_wait_counts_within_the_look_back(look_back_seconds: int, status: str) -> None:
    owner = factories.make_owner()
    with clock.moved_by(seconds=-30):
        publish(owner, {"early": True})

    execution = waiting(owner, look_back_seconds=look_back_seconds)
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == status


@pytest.mark.parametrize(("is_before", "status"), [(True, "running"), (False, "completed")])
@pytest.mark.parametrize("wrong_by_seconds", [-5, 5])
def test_before_or_after_the_wait_is_told_by_one_clock_whatever_the_publishers_machine_shows(
    monkeypatch: pytest.MonkeyPatch, wrong_by_seconds: int, is_before: bool, status: str
) -> None:
    class WrongTime(datetime):
        """Stands for another machine's clock."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=wrong_by_seconds)

    owner = factories.make_owner()
    execution = None if is_before else waiting(owner)
    with monkeypatch.context() as machine:
        machine.setattr("core.clock.datetime", WrongTime)
        events.publish_event(owner=owner, event_type="order.paid", aggregate_type="order", aggregate_id="1", data={})
    execution = execution or waiting(owner)
    events.dispatch_events()
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == status


def test_the_look_back_reads_past_many_events_that_do_not_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automation.services.dispatch.LOOK_BACK_BATCH", 3)
    owner = factories.make_owner()
    with clock.moved_by(seconds=-30):
        for number in range(8):
            publish(owner, {"number": number})

    execution = waiting(owner, look_back_seconds=60, filter="event.data.number == 7")
    factories.drain_all()

    assert factories.outputs(execution)["wait"]["event"]["data"] == {"number": 7}


def test_an_event_stored_before_the_deadline_counts_though_nobody_dispatched_it() -> None:
    owner = factories.make_owner()
    execution = waiting(owner, timeout_seconds=60)
    args: dict[str, Any] = {"aggregate_type": "order", "aggregate_id": "1", "event_type": "order.paid"}
    with clock.moved_by(seconds=30):
        events.publish_event(owner=owner, data={"in": "time"}, **args)
    with clock.moved_by(seconds=61):
        events.publish_event(owner=owner, data={"too": "late"}, **args)

        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert factories.outputs(execution)["wait"]["event"]["data"] == {"in": "time"}


def test_an_event_after_the_deadline_does_not_end_a_wait_that_no_worker_has_ended_yet() -> None:
    owner = factories.make_owner()
    execution = waiting(owner, timeout_seconds=60)

    with clock.moved_by(seconds=61):
        publish(owner)

    execution.refresh_from_db()
    assert execution.error_code == "event_timeout"


@pytest.mark.parametrize("reason", ["cancel", "timeout"])
def test_a_stopped_execution_waits_no_more(reason: str) -> None:
    owner = factories.make_owner()
    execution = waiting(owner)
    if reason == "cancel":
        services.cancel_execution(execution)
    else:
        Execution.objects.filter(pk=execution.pk).update(deadline_at=clock.now())
        services.sweep_workflows()

    publish(owner)

    execution.refresh_from_db()
    assert execution.status == {"cancel": "cancelled", "timeout": "timeout"}[reason]
    assert EventWait.objects.get().status == "cancelled"


def test_a_retried_step_waits_anew() -> None:
    owner = factories.make_owner()
    execution = waiting(owner, timeout_seconds=60)
    with clock.moved_by(seconds=61):
        factories.drain_all()
        services.retry_step(StepAttempt.objects.get(execution=execution))
        factories.drain_all()
        events.dispatch_events()

        made = publish(owner)

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert list(EventWait.objects.order_by("pk").values_list("attempt", "status")) == [(1, "expired"), (2, "matched")]
    assert factories.outputs(execution)["wait"]["event"]["id"] == made


def test_the_items_of_a_loop_wait_each_for_its_own_event() -> None:
    owner = factories.make_owner()
    step = wait_step(filter="event.data.order == item")
    config = {"items": "{{trigger.orders}}", "steps": [step], "max_concurrency": 5}
    loop = {"name": "loop", "type": "foreach", "config": config}
    execution = factories.run(factories.make_workflow([loop], owner=owner), {"orders": [5, 6]})

    publish(owner, {"order": 6})
    publish(owner, {"order": 5})

    execution.refresh_from_db()
    results = factories.outputs(execution)["loop"]["results"]
    assert execution.status == "completed"
    assert [item["event"]["data"]["order"] for item in results] == [5, 6]


def test_the_default_time_limit_stands_still_while_it_waits() -> None:
    owner = factories.make_owner()
    execution = waiting(owner)

    with clock.moved_by(days=30):
        services.sweep_workflows()
        publish(owner)

    execution.refresh_from_db()
    assert execution.status == "completed"


def test_a_wait_that_is_over_takes_no_event() -> None:
    execution = waiting(factories.make_owner())
    wait = EventWait.objects.get(execution=execution)

    expired = [transitions.expire_event_wait(wait.pk), transitions.expire_event_wait(wait.pk)]
    matched = transitions.match_event_waits([wait.pk], {"id": "1"})

    wait.refresh_from_db()
    assert (expired, matched) == ([True, False], [])
    assert (wait.status, wait.event) == ("expired", None)


def test_a_filter_that_takes_along_too_much_fails_the_step() -> None:
    execution = waiting(factories.make_owner(), {"text": "x" * 70_000}, filter="event.data.x == trigger.text")

    execution.refresh_from_db()
    assert execution.error_code == "filter_too_large"
    assert not EventWait.objects.exists()


def test_the_filter_reads_the_environment_where_it_is_decided_and_stores_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workflows.engine.event_filter.allowed_environment", lambda: {"REGION": "the-secret-region"})
    owner = factories.make_owner()
    execution = waiting(owner, filter="{{event.data.region}} == {{env.REGION}}")

    publish(owner, {"region": "the-secret-region"})

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert EventWait.objects.get().names == {}
