"""Mail through Django's email backend."""

import smtplib
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from django.core.mail import EmailMultiAlternatives, get_connection

from core import egress, logs
from notifications.errors import DeliveryFailed
from notifications.smtp import Report

log = logs.get(__name__)

_LONGEST_REPLY = 200
_FIRST_PERMANENT = 500
_REFUSALS = (
    (smtplib.SMTPAuthenticationError, "smtp_auth_failed", "The mail server does not accept user name and password"),
    (smtplib.SMTPSenderRefused, "smtp_sender_refused", "The mail server refuses the sender"),
    (smtplib.SMTPDataError, "smtp_message_refused", "The mail server refuses the message"),
)
# The first that fits; smtplib's exceptions are OSErrors too.
_BREAKS = (
    (ssl.SSLError, "smtp_tls", "The mail server broke the TLS handshake"),
    (socket.gaierror, "smtp_dns", "The mail server's name cannot be resolved"),
    (
        (smtplib.SMTPServerDisconnected, ConnectionResetError, BrokenPipeError),
        "smtp_disconnected",
        "The mail server broke the connection",
    ),
    (OSError, "smtp_refused", "The mail server cannot be reached"),
)


@dataclass(frozen=True)
class Mail:
    """A message whose addresses and header texts were checked. `message_id` is in angle brackets."""

    to: tuple[str, ...]
    subject: str
    text: str
    message_id: str
    html: str = ""
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A recipient whom the server refused although it took the message for others."""

    address: str
    code: int
    reason: str


def send(mail: Mail, *, timeout_seconds: float) -> list[Refusal]:
    """Hand one message to the mail server; returns the recipients who will not get it.

    The host comes from the environment only, so it may be private (design/WEBHOOKS.md section 3).

    Raises: DeliveryFailed; egress.TransactionOpen where the caller's database transaction is open.
    """
    egress.refuse_open_transaction()
    backend = get_connection(timeout=timeout_seconds)
    try:
        _message(mail, backend).send()
    except (smtplib.SMTPException, OSError) as error:
        failure = _failure(error, getattr(backend, "report", Report()))
        log.warning("mail.failed", code=failure.code, reason=str(error)[:_LONGEST_REPLY], message_id=mail.message_id)
        raise failure from error
    refused = [_refusal(address, reply) for address, reply in getattr(backend, "report", Report()).refused.items()]
    log.info("mail.accepted", message_id=mail.message_id, refused=len(refused))
    return refused


def _message(mail: Mail, backend: Any) -> EmailMultiAlternatives:
    headers = {
        "Message-ID": mail.message_id,
        # RFC 3834: absence notices must not answer a machine.
        "Auto-Submitted": "auto-generated",
    }
    message = EmailMultiAlternatives(
        mail.subject, mail.text, to=mail.to, cc=mail.cc, bcc=mail.bcc, headers=headers, connection=backend
    )
    if mail.html:
        message.attach_alternative(mail.html, "text/html")
    return message


def _failure(error: OSError, report: Report) -> DeliveryFailed:
    """Return what an exception of smtplib means to the one who wanted to send."""
    # First, since a reply that was cut off may look like a whole one.
    if report.overdue or isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return _broken("smtp_timeout", "The mail server did not answer in time", report)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _nobody_accepted(error.recipients)
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused_by_reply(error)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return DeliveryFailed("smtp_not_supported", f"The mail server cannot do what is asked: {error}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return DeliveryFailed("smtp_certificate", f"The mail server's certificate is not valid: {error.verify_message}")
    return next(_broken(code, message, report) for kinds, code, message in _BREAKS if isinstance(error, kinds))


def _broken(code: str, message: str, report: Report) -> DeliveryFailed:
    return DeliveryFailed(code, message, effect_happened=None if report.content_began else False)


def _refused_by_reply(error: smtplib.SMTPResponseException) -> DeliveryFailed:
    code, what = next(
        ((code, what) for kind, code, what in _REFUSALS if isinstance(error, kind)),
        ("smtp_server_refused", "The mail server refuses to talk"),
    )
    reply = _reply(error.smtp_code, error.smtp_error)
    return DeliveryFailed(code, f"{what}: {reply}", retryable=error.smtp_code < _FIRST_PERMANENT)


def _nobody_accepted(recipients: dict[str, tuple[int, bytes]]) -> DeliveryFailed:
    replies = "; ".join(f"{address}: {_reply(*reply)}" for address, reply in recipients.items())
    temporary = any(code < _FIRST_PERMANENT for code, _ in recipients.values())
    return DeliveryFailed(
        "smtp_recipient_refused", f"The mail server refuses every recipient: {replies}", retryable=temporary
    )


def _refusal(address: str, reply: tuple[int, bytes]) -> Refusal:
    return Refusal(address, reply[0], _text(reply[1]))


def _reply(code: int, text: bytes | str) -> str:
    return f"{code} {_text(text)}"


def _text(reply: bytes | str) -> str:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    return " ".join(text.split())[:_LONGEST_REPLY]
