"""Tell people something. Nothing is stored here yet: whoever asks keeps the outcome and decides about repeats."""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings

from notifications.addresses import header_text, parse_addresses
from notifications.channels import email
from notifications.channels.email import Refusal
from notifications.errors import InvalidMessage

MOST_RECIPIENTS = 100


def send_email(
    notification_id: UUID,
    *,
    to: str | Sequence[str],
    subject: str,
    text: str,
    html: str = "",
    cc: str | Sequence[str] = (),
    bcc: str | Sequence[str] = (),
    timeout_seconds: float,
) -> list[Refusal]:
    """Send one mail now, all recipients in one message; returns those whom the server refused while it took others.

    The Message-ID is made from `notification_id`, so that a mail which had to be repeated can be recognised.
    `timeout_seconds` is wall clock, at most SMTP_TIMEOUT.

    Raises: InvalidMessage, DeliveryFailed.
    Source: contract sections 9 and 16; design/NOTIFICATIONS.md, points 4 and 5.
    """
    mail = email.Mail(
        to=parse_addresses(to, field="to"),
        cc=parse_addresses(cc, field="cc"),
        bcc=parse_addresses(bcc, field="bcc"),
        subject=header_text(subject, field="subject"),
        text=text,
        html=html,
        message_id=message_id(notification_id),
    )
    if not mail.to:
        raise InvalidMessage("to is required")
    if not mail.subject:
        raise InvalidMessage("subject is required")
    if (count := len(mail.to) + len(mail.cc) + len(mail.bcc)) > MOST_RECIPIENTS:
        raise InvalidMessage(f"{count} recipients; at most {MOST_RECIPIENTS} are allowed")
    return email.send(mail, timeout_seconds=min(timeout_seconds, settings.EMAIL_TIMEOUT))


def message_id(notification_id: UUID) -> str:
    """Return the Message-ID of a notification's mail: the same for every try."""
    domain = settings.NOTIFICATION_FROM_EMAIL.rpartition("@")[2]
    return f"<{notification_id}@{domain}>"
