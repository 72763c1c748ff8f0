"""A real SMTP server on loopback that keeps what it takes and refuses what it is told to."""

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.ports import Port

USER, PASSWORD = "automation", "s3cret-of-the-mail-server"


@dataclass
class Mailbox:
    """What arrived, and the replies to give instead of 250: by recipient, or to every content."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    sender_reply: str = ""
    content_replies: list[str] = field(default_factory=list)
    # Called with the content before it is kept: hang or break the connection here.
    before_verdict: Callable[[SMTP], None] | None = None

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.sender_reply:
            return self.sender_reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := self.replies.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.content_replies:
            return self.content_replies.pop(0)
        if self.before_verdict is not None:
            self.before_verdict(server)
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.mails.append(message_from_bytes(content, policy=policy.default))  # type: ignore[arg-type]
        self.envelopes.append(envelope)
        self.over_tls.append(session.ssl is not None)
        return "250 taken"


def text_of(mail: EmailMessage, *, kind: str = "plain") -> str:
    """Return the text of a mail's plain or html part, with the line ends that people type."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n").rstrip("\n")


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate: `path` holds it alone, `key_path` its key."""

    path: Path
    key_path: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key_path)
        return context


def make_certificate(folder: Path, *, address: str = "127.0.0.1") -> Certificate:
    """Write a certificate for an IP address, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail server of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{address}.pem", folder / f"{address}.key")
    made.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@contextmanager
def running(
    *, certificate: Certificate | None = None, implicit_tls: bool = False, accounts: bool = False
) -> Iterator[Mailbox]:
    """Serve on loopback: plain, with STARTTLS, or with TLS from the first byte; `accounts` asks for USER's password."""
    mailbox = Mailbox()
    options: dict[str, Any] = {}
    if accounts:
        options |= {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": certificate is not None}
    if certificate is not None and not implicit_tls:
        options["tls_context"] = certificate.context()
    tls = certificate.context() if certificate is not None and implicit_tls else None
    port = Port()
    mailbox.port = port.number
    server = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, ssl_context=tls, **options)
    server.start()
    try:
        yield mailbox
    finally:
        server.stop()
        port.let_go()


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    success = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=success, handled=False)
