"""A mail server that the settings point to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from tests import mail_server
from tests.mail_server import Certificate, Mailbox

StartServer = Callable[..., Mailbox]


@pytest.fixture
def smtp(settings: Settings) -> Settings:
    """Settings of a plain server without accounts; Django's test environment would not use SMTP at all."""
    settings.EMAIL_BACKEND = "notifications.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_TIMEOUT = 10
    return settings


@pytest.fixture
def start_server(smtp: Settings) -> Iterator[StartServer]:
    with ExitStack() as running:

        def start(**options: Any) -> Mailbox:
            mailbox = running.enter_context(mail_server.running(**options))
            smtp.EMAIL_PORT = mailbox.port
            return mailbox

        yield start


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return mail_server.make_certificate(tmp_path)


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    return certificate
