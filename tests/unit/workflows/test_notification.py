"""The step `notification`: log, webhook and mail, with their outputs, errors and repeats."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from core import clock
from tests import factories, mail_server
from tests.e2e.recorder import Recorder
from tests.mail_server import Mailbox
from tests.ports import Port
from tests.unit.core.egress_servers import Serve, serve_fixture  # noqa: F401 - the fixture is used by name
from workflows.engine.steps.notification import notification_id_of
from workflows.models import Branch, Execution, StepAttempt

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_transaction(settings: Settings) -> None:
    """The whole test is one transaction; what the door refuses in product code is inevitable here."""
    settings.EGRESS_ALLOW_IN_TRANSACTION = True


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[Mailbox]:
    with mail_server.running() as running:
        point_to(running.port, settings)
        yield running


def point_to(port: int, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "notifications.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""


def notify(**config: Any) -> dict[str, Any]:
    return {"name": "tell", "type": "notification", "config": config}


def mail(**config: Any) -> dict[str, Any]:
    given = {"type": "email", "to": "ada@example.com", "subject": "Report", "message": "It is done."}
    return notify(**given | config)


def run(step: dict[str, Any], data: dict[str, Any] | None = None, **fields: Any) -> Execution:
    return factories.run(factories.make_workflow([step], **fields), data)


def row(execution: Execution) -> StepAttempt:
    return StepAttempt.objects.filter(execution=execution).latest("attempt")


def test_a_mail_is_filled_in_and_sent(mailbox: Mailbox) -> None:
    step = mail(
        to=["{{trigger.who}}", "Bob <bob@example.com>"],
        cc="carol@example.com",
        subject="Invoice {{trigger.number}}",
        body="Sum: {{trigger.sum}}",
        html_body="<p>{{trigger.sum}}</p>",
    )

    execution = run(step, {"who": "ada@example.com", "number": 7, "sum": 12.5})

    [sent] = mailbox.mails
    notification_id = str(notification_id_of(execution.uuid, "tell"))
    assert factories.outputs(execution)["tell"] == {"sent": True, "type": "email", "notification_id": notification_id}
    assert sent["To"] == "ada@example.com, Bob <bob@example.com>"
    assert sent["Cc"] == "carol@example.com"
    assert sent["Subject"] == "Invoice 7"
    assert sent["Message-ID"] == f"<{notification_id}@pyairtable.com>"
    assert mail_server.text_of(sent) == "Sum: 12.5"
    assert mail_server.text_of(sent, kind="html") == "<p>12.5</p>"


@pytest.mark.parametrize("keys", [{"message": "text"}, {"message": None, "body": "text"}])
def test_the_text_may_be_called_message_or_body(mailbox: Mailbox, keys: dict[str, Any]) -> None:
    run(mail(**keys))

    assert mail_server.text_of(mailbox.mails[0]) == "text"


def test_an_object_as_text_becomes_json(mailbox: Mailbox) -> None:
    run(mail(message="{{trigger}}"), {"a": [1, None]})

    assert mail_server.text_of(mailbox.mails[0]) == '{"a":[1,null]}'


def test_notification_type_is_an_alias_of_type(mailbox: Mailbox) -> None:
    execution = run(notify(notification_type="email", to=["ada@example.com"], subject="Report", message="It is done."))

    assert factories.outputs(execution)["tell"]["type"] == "email"
    assert len(mailbox.mails) == 1


def test_a_template_that_nobody_knows_is_told_and_the_given_text_is_sent(mailbox: Mailbox) -> None:
    execution = run(mail(template_id="welcome_email"))

    assert row(execution).warnings == ["the template 'welcome_email' is not known; subject and body are sent as given"]
    assert mail_server.text_of(mailbox.mails[0]) == "It is done."


def test_a_recipient_refused_beside_others_is_in_the_output(mailbox: Mailbox) -> None:
    mailbox.replies["gone@example.com"] = "550 5.1.1 no such user"

    execution = run(mail(to=["ada@example.com", "gone@example.com"]))

    assert execution.status == "completed"
    assert factories.outputs(execution)["tell"]["refused"] == [
        {"address": "gone@example.com", "code": 550, "reason": "5.1.1 no such user"}
    ]
    assert row(execution).warnings == ["the mail server refused gone@example.com: 550 5.1.1 no such user"]


def test_a_permanent_refusal_fails_at_once(mailbox: Mailbox) -> None:
    mailbox.replies["ada@example.com"] = "550 5.1.1 no such user"

    execution = run(mail())

    assert (execution.status, execution.retry_count) == ("failed", 0)
    assert execution.error_message == (
        "Step 'tell' failed: The mail server refuses every recipient: ada@example.com: 550 5.1.1 no such user"
    )
    assert row(execution).error_code == "smtp_recipient_refused"


@pytest.mark.parametrize("effect", ["idempotent", "once"])
def test_a_greylisted_mail_is_tried_again_under_the_same_message_id(mailbox: Mailbox, effect: str) -> None:
    mailbox.content_replies = ["451 4.7.1 try again later"]
    execution = run({**mail(), "effect": effect})
    assert Branch.objects.get(execution=execution).waiting_on == "retry"

    with clock.moved_by(seconds=10):
        factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.retry_count) == ("completed", 1)
    assert [message["Message-ID"] for message in mailbox.mails] == [
        f"<{notification_id_of(execution.uuid, 'tell')}@pyairtable.com>"
    ]


@pytest.mark.parametrize(
    ("effect", "status", "code"),
    [("idempotent", "running", "smtp_disconnected"), ("once", "failed", "outcome_unknown")],
)
def test_a_verdict_that_never_came_is_repeated_only_where_that_is_allowed(
    serve: Serve, settings: Settings, effect: str, status: str, code: str
) -> None:
    def take_and_hang_up(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 ready\r\n")
        for reply in (b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
            lines.readline()
            connection.sendall(reply + b"\r\n")
        while lines.readline() != b".\r\n":
            pass

    point_to(serve(take_and_hang_up), settings)

    execution = run({**mail(), "effect": effect})

    assert execution.status == status
    assert row(execution).error_code == code


def test_a_mail_server_that_is_down_is_tried_again(settings: Settings) -> None:
    port = Port()
    point_to(port.number, settings)

    execution = run({**mail(), "effect": "once"})
    port.let_go()

    assert row(execution).error_code == "smtp_refused"
    assert Branch.objects.get(execution=execution).waiting_on == "retry"


def test_a_step_that_has_little_time_gives_the_server_no_more(serve: Serve, settings: Settings) -> None:
    point_to(serve(lambda connection: connection.recv(1) and None), settings)

    execution = run({**mail(), "timeout_seconds": 0.5, "max_retries": 0})

    assert execution.status == "failed"
    assert row(execution).error_code in {"smtp_timeout", "step_timeout"}  # whichever clock strikes first


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"to": ""}, "to is required"),
        ({"subject": ""}, "subject is required"),
        ({"subject": "{{trigger.subject}}"}, "subject must not contain line breaks or control characters"),
        ({"to": "{{trigger.to}}"}, "is not a mail address; give a list for several addresses"),
    ],
)
def test_values_from_outside_cannot_add_headers_or_recipients(
    mailbox: Mailbox, config: dict[str, Any], message: str
) -> None:
    execution = run(mail(**config), {"subject": "x\r\nBcc: eve@example.com", "to": "a@example.com, eve@example.com"})

    assert (execution.status, execution.retry_count) == ("failed", 0)
    assert row(execution).error_code == "config_invalid"
    assert message in execution.error_message
    assert mailbox.mails == []


def test_a_webhook_carries_message_payload_and_the_key_of_its_repeats(settings: Settings) -> None:
    with Recorder() as recorder:
        settings.EGRESS_ALLOWLIST = [recorder.address]
        step = notify(type="webhook", webhook_url=f"{recorder.url}/hook", message="done", payload={"n": 1})
        execution = run(step)

    [asked] = recorder.asked
    assert factories.outputs(execution)["tell"] == {"sent": True, "type": "webhook", "status_code": 201}
    assert (asked.path, asked.body) == ("/hook", {"message": "done", "n": 1})
    assert asked.headers["idempotency-key"] == f"{execution.uuid}:tell"


def test_a_webhook_at_a_private_address_is_refused_for_good() -> None:
    execution = run(notify(type="webhook", webhook_url="http://127.0.0.1:9/hook"))

    assert (execution.status, row(execution).error_code) == ("failed", "http_blocked_address")


def test_a_log_notification_writes_the_steps_log() -> None:
    execution = run(notify(message="seen {{trigger.n}}", level="warning"), {"n": 3})

    assert factories.outputs(execution)["tell"] == {"sent": True, "type": "log"}
    assert row(execution).log == [{"level": "warning", "message": "seen 3"}]
