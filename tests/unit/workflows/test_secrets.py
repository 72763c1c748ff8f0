"""`{{secrets.<name>}}`: a step gets the value, and nothing that is stored has it."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts import secret_services
from accounts.models import Owner, Secret
from core import clock
from tests import factories
from tests.e2e.recorder import Recorder
from workflows.choices import Lane
from workflows.engine import vault
from workflows.engine.drain import drain
from workflows.engine.steps import registry
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext
from workflows.models import Branch, Execution, StepAttempt

pytestmark = pytest.mark.django_db

VALUE = 'pl4nt"ed/v4lue+of&all'


@pytest.fixture
def owner() -> Owner:
    made = factories.make_owner()
    secret_services.create_secret(owner=made, name="token", value=VALUE, actor="x")
    return made


@pytest.fixture
def recorder(settings: Settings) -> Iterator[Recorder]:
    with Recorder() as running:
        settings.EGRESS_ALLOWLIST = [running.address]
        # The test's own transaction is open all the time.
        settings.EGRESS_ALLOW_IN_TRANSACTION = True
        yield running


class EchoConfig(StepConfig):
    says: Any = None
    quiet: bool = False


class Echo(Step[EchoConfig]):
    """Gives back what it gets in every form that it can think of, or fails with it."""

    type = "test_echo"
    config_model = EchoConfig
    lane = None

    def run(self, config: EchoConfig, context: StepContext) -> Output:
        text = str(config.says)
        if not config.quiet:
            context.log(f"got {text}")
            context.warnings.append(f"odd: {text}")
        return Output({"plain": text, "basic": base64.b64encode(f"ada:{text}".encode()).decode(), text: [text]})


class Crash(Echo):
    type = "test_crash"

    def run(self, config: EchoConfig, context: StepContext) -> Output:
        raise RuntimeError(f"{'x' * 1990} {config.says} is wrong")


@pytest.fixture(autouse=True)
def _step_types() -> Iterator[None]:
    registry.names()
    for kind in (Echo, Crash):
        registry.register(kind)
    yield
    for kind in (Echo, Crash):
        del registry._types[kind.type]


def log_step(name: str, message: object, **envelope: object) -> dict[str, object]:
    return {"name": name, "type": "log", "config": {"message": message}, **envelope}


def everything_stored() -> str:
    """Return all rows of all tables as text, but for the encrypted secrets."""
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor)) - {"secrets", "retired_secrets"}
        found = []
        for table in sorted(tables):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found += [row[0] for row in cursor.fetchall()]
    return "\n".join(found)


def test_a_step_gets_the_value_and_what_is_stored_does_not(owner: Owner, recorder: Recorder) -> None:
    call = {
        "url": f"{recorder.url}/a",
        "method": "POST",
        "headers": {"Authorization": "Bearer {{secrets.token}}"},
        "params": {"key": "{{secrets.token}}"},
        "json": {"nested": ["{{secrets.token}}", "in {{ secrets.token }} text"]},
    }
    workflow = factories.make_workflow([{"name": "call", "type": "http_request", "config": call}], owner=owner)

    execution = factories.run(workflow)

    assert execution.status == "completed"
    [asked] = recorder.asked
    assert asked.headers["authorization"] == f"Bearer {VALUE}"
    assert asked.body == {"nested": [VALUE, f"in {VALUE} text"]}
    row = StepAttempt.objects.get()
    assert row.input_data["headers"] == {"Authorization": "Bearer ***"}
    assert row.input_data["params"] == {"key": "***"}
    assert row.input_data["json"] == {"nested": ["***", "in *** text"]}
    assert "v4lue" not in everything_stored()


def test_later_steps_see_the_mask_in_the_same_slice_and_in_another(owner: Owner) -> None:
    steps = [
        {"name": "echo", "type": "test_echo", "config": {"says": "{{secrets.token}}"}},
        {"name": "quiet", "type": "test_echo", "config": {"says": "{{secrets.token}}", "quiet": True}},
        log_step("same", "{{steps.echo.plain}} {{steps.echo.basic}}"),
        {"name": "pause", "type": "delay", "config": {"seconds": 5}},
        log_step("other", "{{steps.echo.plain}} {{steps.echo.basic}}"),
    ]
    execution = factories.start(factories.make_workflow(steps, owner=owner))
    drain(Lane.FLOW)

    with clock.moved_by(seconds=6):
        factories.drain_all()

    outputs = factories.outputs(execution)
    assert outputs["quiet"] == outputs["echo"]
    assert outputs["echo"]["plain"] == "***"
    assert outputs["echo"]["***"] == ["***"]
    assert outputs["same"] == outputs["other"]
    assert outputs["same"]["message"].startswith("*** ")
    row = StepAttempt.objects.get(path="echo")
    assert row.log == [{"level": "info", "message": "got ***"}]
    assert row.warnings == ["odd: ***"]
    assert base64.b64encode(VALUE.encode()).decode()[4:16] not in everything_stored()


def test_a_slice_that_uses_no_secret_masks_those_that_an_earlier_one_sent_out(owner: Owner) -> None:
    """The other side may give back what an earlier slice sent it."""
    steps = [
        log_step("use", "{{secrets.token}}"),
        {"name": "pause", "type": "delay", "config": {"seconds": 5}},
        {"name": "echo", "type": "test_echo", "config": {"says": "{{trigger.answer}}"}},
    ]
    execution = factories.start(factories.make_workflow(steps, owner=owner), {"answer": VALUE})
    drain(Lane.FLOW)

    with clock.moved_by(seconds=6):
        factories.drain_all()

    assert factories.outputs(execution)["echo"]["plain"] == "***"


def test_a_retry_after_a_rotation_sends_the_new_value_and_masks_the_old_one(owner: Owner, recorder: Recorder) -> None:
    call = {"url": f"{recorder.url}/a", "method": "POST", "json": {"key": "{{secrets.token}}"}, "expected_status": 200}
    steps = [
        {"name": "call", "type": "http_request", "config": call, "retry": {"max_attempts": 2}},
    ]
    execution = factories.start(factories.make_workflow(steps, owner=owner), {})
    drain(Lane.IO)
    assert Branch.objects.get().waiting_on == "retry"
    secret_services.update_secret(Secret.objects.get().pk, value="rotated-value", actor="x")

    with clock.moved_by(seconds=60):
        factories.drain_all()

    assert [asked.body for asked in recorder.asked] == [{"key": VALUE}, {"key": "rotated-value"}]
    execution.refresh_from_db()
    assert execution.status == "failed"
    assert [row.input_data["json"] for row in StepAttempt.objects.order_by("attempt")] == [{"key": "***"}] * 2
    stored = everything_stored()
    assert "v4lue" not in stored
    assert "rotated-value" not in stored


def test_the_old_value_stays_masked_after_a_rotation(owner: Owner) -> None:
    secret_services.update_secret(Secret.objects.get().pk, value="rotated-value", actor="x")
    steps = [{"name": "echo", "type": "test_echo", "config": {"says": "{{trigger.old}} {{secrets.token}}"}}]

    execution = factories.run(factories.make_workflow(steps, owner=owner), {"old": VALUE})

    assert factories.outputs(execution)["echo"]["plain"] == "*** ***"


def test_an_error_at_the_edge_of_its_length_is_masked_before_it_is_cut(
    owner: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [{"name": "crash", "type": "test_crash", "config": {"says": "{{secrets.token}}"}, "max_retries": 0}]

    execution = factories.run(factories.make_workflow(steps, owner=owner))

    assert (execution.status, execution.error_code) == ("failed", "step_crashed")
    row = StepAttempt.objects.get()
    assert row.error_message == f"RuntimeError: {'x' * 1990} ***"[:2000]
    assert "pl4nt" not in everything_stored()
    assert "pl4nt" not in capsys.readouterr().err


def test_a_called_workflow_is_not_given_the_value(owner: Owner) -> None:
    called = factories.make_workflow([log_step("say", "{{trigger.key}} {{secrets.token}}")], owner=owner)
    call = {"workflow_id": called.pk, "input": {"key": "{{secrets.token}}"}}

    execution = factories.run(
        factories.make_workflow([{"name": "call", "type": "workflow", "config": call}], owner=owner)
    )

    assert execution.status == "completed"
    assert Execution.objects.get(parent=execution).trigger_data == {"key": "***"}
    assert "v4lue" not in everything_stored()


def test_a_reason_to_wait_holds_no_secret(owner: Owner, recorder: Recorder) -> None:
    steps = [
        {
            "name": "call",
            "type": "http_request",
            "config": {"url": f"{recorder.url}/{{{{secrets.token}}}}", "expected_status": 404},
            "retry": {"max_attempts": 2},
        }
    ]
    factories.start(factories.make_workflow(steps, owner=owner))

    drain(Lane.IO)

    branch = Branch.objects.get()
    assert branch.waiting_on == "retry"
    assert "v4lue" not in branch.waiting_reason
    assert "v4lue" not in everything_stored()


def test_a_type_of_event_to_wait_for_cannot_hold_a_secret(owner: Owner) -> None:
    wait = {"name": "wait", "type": "wait_for_event", "config": {"event_type": "paid.{{secrets.token}}"}}

    execution = factories.run(factories.make_workflow([wait], owner=owner))

    assert (execution.status, execution.error_code) == ("failed", "config_invalid")
    assert "event_type cannot hold a secret" in execution.error_message
    assert VALUE not in everything_stored()


def test_an_execution_without_secrets_reads_none(owner: Owner) -> None:
    workflow = factories.make_workflow([log_step("greet", "hello {{trigger.who}}")], owner=owner)
    factories.start(workflow)

    with CaptureQueriesContext(connection) as captured:
        drain(Lane.FLOW)

    assert not [query["sql"] for query in captured if "secrets" in query["sql"]]


def test_a_slice_reads_the_secrets_once(owner: Owner) -> None:
    steps = [log_step(f"step{number}", "{{secrets.token}}") for number in range(10)]
    factories.start(factories.make_workflow(steps, owner=owner))

    with CaptureQueriesContext(connection) as captured:
        drain(Lane.FLOW)

    assert len([query["sql"] for query in captured if '"secrets"' in query["sql"]]) == 1


def test_a_secret_that_does_not_exist_is_a_missing_name(owner: Owner) -> None:
    steps = [log_step("say", "<{{secrets.tokem}}>")]

    execution = factories.run(factories.make_workflow(steps, owner=owner))
    strict = factories.run(factories.make_workflow(steps, owner=owner, strict_expressions=True))

    assert factories.outputs(execution)["say"]["message"] == "<>"
    assert StepAttempt.objects.get(execution=execution).warnings == [
        "secrets.tokem: nothing called 'tokem' in secrets; did you mean secrets.token?"
    ]
    assert (strict.status, strict.error_code) == ("failed", "unknown_name")


def test_another_owners_secret_is_not_found() -> None:
    eve = factories.make_owner("Eve")
    secret_services.create_secret(owner=eve, name="token", value=VALUE, actor="x")

    execution = factories.run(factories.make_workflow([log_step("say", "<{{secrets.token}}>")]))

    assert factories.outputs(execution)["say"]["message"] == "<>"


def test_a_secret_no_key_opens_fails_the_step_with_the_reason(owner: Owner, settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]

    execution = factories.run(factories.make_workflow([log_step("say", "{{secrets.token}}")], owner=owner))

    assert (execution.status, execution.error_code) == ("failed", "secret_unreadable")
    assert "FIELD_ENCRYPTION_KEYS lacks the key" in (execution.error_message or "")


def test_definitions_are_looked_through_whole() -> None:
    deep = {
        "name": "maybe",
        "type": "conditional",
        "config": {
            "condition": "true",
            "true_action": {"type": "log", "config": {"message": "{{ secrets['token'] }}"}},
        },
    }
    naming = factories.make_workflow([deep])
    other = factories.make_workflow([log_step("say", "hello")])

    assert vault.names_secrets(naming.published_version_id) is True
    assert vault.names_secrets(other.published_version_id) is False
