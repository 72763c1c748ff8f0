"""Mail through a real SMTP server: what arrives, and what each kind of failure is called."""

import socket
import ssl
import time
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from pytest_django import Settings

from core import egress
from notifications import services
from notifications.channels.email import Refusal
from notifications.errors import DeliveryFailed, InvalidMessage
from tests import mail_server
from tests.mail_server import PASSWORD, USER, Certificate
from tests.ports import Port
from tests.unit.core.egress_servers import Serve, serve_fixture  # noqa: F401 - the fixture is used by name
from tests.unit.notifications.conftest import StartServer

# How long what ends at once may take on a machine that has much else to do; what does not end takes longer.
PATIENCE_SECONDS = 30

ID = UUID("01890000-0000-7000-8000-00000000abcd")


def send(**fields: Any) -> list[Refusal]:
    given = {
        "to": "ada@example.com",
        "subject": "Report",
        "text": "It is done.",
        "timeout_seconds": 3.0 * PATIENCE_SECONDS,
    }
    return services.send_email(ID, **given | fields)


def failure(**fields: Any) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        send(**fields)
    return caught.value


def facts(error: DeliveryFailed) -> tuple[str, bool, bool | None]:
    return error.code, error.retryable, error.effect_happened


# --- What arrives ----------------------------------------------------------------------------


def test_a_mail_arrives_as_it_was_meant(start_server: StartServer) -> None:
    mailbox = start_server()

    refused = send(
        to=["Ada <ada@example.com>", "bob@example.com"],
        cc="carol@example.com",
        bcc=["dan@example.com"],
        subject="Grüße: 3 Rechnungen",
        text="Zwei Zeilen:\näöü",
        html="<p>äöü</p>",
    )

    [mail], [envelope] = mailbox.mails, mailbox.envelopes
    assert refused == []
    assert mail["From"] == "PyAirtable <noreply@pyairtable.com>"
    assert mail["To"] == "Ada <ada@example.com>, bob@example.com"
    assert mail["Cc"] == "carol@example.com"
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Grüße: 3 Rechnungen"
    assert mail["Message-ID"] == f"<{ID}@pyairtable.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail_server.text_of(mail) == "Zwei Zeilen:\näöü"
    assert mail_server.text_of(mail, kind="html") == "<p>äöü</p>"
    assert envelope.mail_from == "noreply@pyairtable.com"
    assert envelope.rcpt_tos == ["ada@example.com", "bob@example.com", "carol@example.com", "dan@example.com"]


def test_every_try_of_a_notification_has_the_same_message_id(start_server: StartServer) -> None:
    mailbox = start_server()

    send()
    send()

    assert [mail["Message-ID"] for mail in mailbox.mails] == [f"<{ID}@pyairtable.com>"] * 2


def test_starttls_and_a_password_are_used(start_server: StartServer, smtp: Settings, trusted: Certificate) -> None:
    mailbox = start_server(certificate=trusted, accounts=True)
    smtp.EMAIL_USE_TLS, smtp.EMAIL_HOST_USER, smtp.EMAIL_HOST_PASSWORD = True, USER, PASSWORD

    send()

    assert mailbox.over_tls == [True]


def test_tls_from_the_first_byte_is_used(start_server: StartServer, smtp: Settings, trusted: Certificate) -> None:
    mailbox = start_server(certificate=trusted, implicit_tls=True)
    smtp.EMAIL_USE_SSL = True

    send()

    assert len(mailbox.mails) == 1


def test_recipients_refused_beside_others_are_told(start_server: StartServer) -> None:
    mailbox = start_server()
    mailbox.replies["gone@example.com"] = "550 5.1.1 no such user"

    refused = send(to=["ada@example.com", "gone@example.com"])

    assert refused == [Refusal("gone@example.com", 550, "5.1.1 no such user")]
    assert mailbox.envelopes[0].rcpt_tos == ["ada@example.com"]


def test_a_farewell_that_is_never_answered_takes_no_time(serve: Serve, smtp: Settings) -> None:
    def handler(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 ready\r\n")
        for reply in (b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
            lines.readline()
            connection.sendall(reply + b"\r\n")
        while lines.readline() != b".\r\n":
            pass
        connection.sendall(b"250 taken\r\n")
        while lines.readline():
            pass

    smtp.EMAIL_PORT = serve(handler)
    smtp.EMAIL_TIMEOUT = 3 * PATIENCE_SECONDS
    began_at = time.monotonic()

    assert send() == []
    assert time.monotonic() - began_at < PATIENCE_SECONDS


# --- Refusals in words -----------------------------------------------------------------------


@pytest.mark.parametrize(("reply", "retryable"), [("550 5.1.1 no such user", False), ("451 4.7.1 greylisted", True)])
def test_a_refused_recipient_is_named_with_the_servers_words(
    start_server: StartServer, reply: str, retryable: bool
) -> None:
    start_server().replies["ada@example.com"] = reply

    error = failure()

    assert facts(error) == ("smtp_recipient_refused", retryable, False)
    assert error.message == f"The mail server refuses every recipient: ada@example.com: {reply}"


@pytest.mark.parametrize(("reply", "retryable"), [("552 5.3.4 too big", False), ("452 4.3.1 disk full", True)])
def test_a_refused_message_tells_whether_another_try_may_help(
    start_server: StartServer, reply: str, retryable: bool
) -> None:
    start_server().content_replies = [reply]

    error = failure()

    assert facts(error) == ("smtp_message_refused", retryable, False)
    assert error.message == f"The mail server refuses the message: {reply}"


def test_a_refused_sender_is_permanent(start_server: StartServer) -> None:
    start_server().sender_reply = "553 5.7.1 not your address"

    assert facts(failure()) == ("smtp_sender_refused", False, False)


def test_a_wrong_password_is_permanent_and_not_in_the_message(
    start_server: StartServer, smtp: Settings, trusted: Certificate
) -> None:
    mailbox = start_server(certificate=trusted, accounts=True)
    smtp.EMAIL_USE_TLS, smtp.EMAIL_HOST_USER, smtp.EMAIL_HOST_PASSWORD = True, USER, "wrong-password"

    error = failure()

    assert facts(error) == ("smtp_auth_failed", False, False)
    assert error.message == (
        "The mail server does not accept user name and password: 535 5.7.8 Authentication credentials invalid"
    )
    assert mailbox.mails == []


def test_a_server_without_starttls_gets_neither_password_nor_mail(start_server: StartServer, smtp: Settings) -> None:
    mailbox = start_server()
    smtp.EMAIL_USE_TLS, smtp.EMAIL_HOST_USER, smtp.EMAIL_HOST_PASSWORD = True, USER, PASSWORD

    error = failure()

    assert facts(error) == ("smtp_not_supported", False, False)
    assert "STARTTLS" in error.message
    assert mailbox.mails == []


@pytest.mark.parametrize(("greeting", "retryable"), [(b"554 no service here\r\n", False), (b"421 busy\r\n", True)])
def test_a_server_that_refuses_to_talk(serve: Serve, smtp: Settings, greeting: bytes, retryable: bool) -> None:
    smtp.EMAIL_PORT = serve(lambda connection: connection.sendall(greeting))

    assert facts(failure()) == ("smtp_server_refused", retryable, False)


# --- Certificates ----------------------------------------------------------------------------


@pytest.mark.parametrize("implicit_tls", [False, True])
def test_an_unknown_certificate_is_refused_before_anything_is_said(
    start_server: StartServer, smtp: Settings, certificate: Certificate, implicit_tls: bool
) -> None:
    mailbox = start_server(certificate=certificate, implicit_tls=implicit_tls)
    smtp.EMAIL_USE_TLS, smtp.EMAIL_USE_SSL = not implicit_tls, implicit_tls

    error = failure()

    assert facts(error) == ("smtp_certificate", False, False)
    assert error.message == "The mail server's certificate is not valid: self-signed certificate"
    assert mailbox.mails == []


def test_a_certificate_of_another_host_is_refused(
    start_server: StartServer, smtp: Settings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = mail_server.make_certificate(tmp_path, address="127.0.0.9")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.path))
    start_server(certificate=other)
    smtp.EMAIL_USE_TLS = True

    error = failure()

    assert facts(error) == ("smtp_certificate", False, False)
    assert "IP address mismatch" in error.message


# --- Bad networks ----------------------------------------------------------------------------


def test_a_server_that_is_down_names_no_host(smtp: Settings) -> None:
    port = Port()
    smtp.EMAIL_PORT = port.number

    error = failure()
    port.let_go()

    assert facts(error) == ("smtp_refused", True, False)
    assert error.message == "The mail server cannot be reached"


def test_a_name_that_does_not_resolve(smtp: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    smtp.EMAIL_HOST = "mail.invalid"

    assert facts(failure()) == ("smtp_dns", True, False)


def test_a_server_that_never_greets_is_left_at_the_deadline(serve: Serve, smtp: Settings) -> None:
    smtp.EMAIL_PORT = serve(lambda connection: connection.recv(1) and None)
    smtp.EMAIL_TIMEOUT = 3 * PATIENCE_SECONDS
    began_at = time.monotonic()

    error = failure(timeout_seconds=0.5)

    assert facts(error) == ("smtp_timeout", True, False)
    assert time.monotonic() - began_at < PATIENCE_SECONDS


def test_a_server_that_drips_is_left_at_the_deadline(serve: Serve, smtp: Settings) -> None:
    def drip(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"2")
            time.sleep(0.05)  # a hostile server's pace

    smtp.EMAIL_PORT = serve(drip)
    smtp.EMAIL_TIMEOUT = 3 * PATIENCE_SECONDS
    began_at = time.monotonic()

    error = failure(timeout_seconds=0.5)

    assert facts(error) == ("smtp_timeout", True, False)
    assert time.monotonic() - began_at < PATIENCE_SECONDS


def test_the_operators_limit_is_the_upper_one(serve: Serve, smtp: Settings) -> None:
    smtp.EMAIL_PORT = serve(lambda connection: connection.recv(1) and None)
    smtp.EMAIL_TIMEOUT = 1
    began_at = time.monotonic()

    assert failure(timeout_seconds=3 * PATIENCE_SECONDS).code == "smtp_timeout"
    assert time.monotonic() - began_at < PATIENCE_SECONDS


def test_a_connection_lost_after_the_content_leaves_the_outcome_open(serve: Serve, smtp: Settings) -> None:
    smtp.EMAIL_PORT = serve(_break_after_content)

    assert facts(failure()) == ("smtp_disconnected", True, None)


def test_a_connection_lost_before_the_content_is_certain(serve: Serve, smtp: Settings) -> None:
    smtp.EMAIL_PORT = serve(lambda connection: connection.sendall(b"220 ready\r\n"))

    assert facts(failure()) == ("smtp_disconnected", True, False)


def test_a_tls_port_that_does_not_speak_it(serve: Serve, smtp: Settings) -> None:
    smtp.EMAIL_PORT = serve(lambda connection: connection.sendall(b"220 plain text here\r\n"))
    smtp.EMAIL_USE_SSL = True

    assert facts(failure()) == ("smtp_tls", True, False)


def _break_after_content(connection: socket.socket) -> None:
    lines = connection.makefile("rb")
    connection.sendall(b"220 ready\r\n")
    for reply in (b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
        lines.readline()
        connection.sendall(reply + b"\r\n")
    while lines.readline() != b".\r\n":
        pass


# --- What is not sent at all -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"to": []}, "to is required"),
        ({"to": ""}, "to is required"),
        ({"subject": "  "}, "subject is required"),
        ({"subject": "Report\nBcc: eve@example.com"}, "subject must not contain line breaks"),
        ({"to": "ada@example.com\r\nBcc: eve@example.com"}, "to must not contain line breaks"),
        ({"cc": "nobody"}, "cc: 'nobody' is not a mail address"),
        ({"bcc": [f"u{n}@example.com" for n in range(100)]}, "101 recipients; at most 100 are allowed"),
    ],
)
def test_a_message_that_is_not_whole_is_refused_without_a_connection(
    start_server: StartServer, fields: dict[str, Any], message: str
) -> None:
    mailbox = start_server()

    with pytest.raises(InvalidMessage, match=message):
        send(**fields)

    assert mailbox.mails == []


@pytest.mark.django_db
def test_no_mail_goes_out_inside_a_transaction(start_server: StartServer) -> None:
    mailbox = start_server()

    with transaction.atomic(), pytest.raises(egress.TransactionOpen):
        send()

    assert mailbox.mails == []


def test_the_tls_context_verifies(smtp: Settings) -> None:
    from notifications.smtp import EmailBackend

    context = EmailBackend().ssl_context

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
