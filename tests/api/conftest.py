"""What API tests share: a service key, clients, and components asked anew for each test."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.db import close_old_connections
from django.test import Client
from pytest_django import Settings

from accounts import outside
from core import health

SERVICE_KEY = "the-service-key-of-these-tests"


@pytest.fixture(autouse=True)
def _settings(settings: Settings) -> None:
    settings.SERVICE_API_KEYS = [SERVICE_KEY]
    settings.RATE_LIMIT_ENABLED = False
    settings.AUTH_SERVICE_URL = ""


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What a busy machine is slow with is not down.
    monkeypatch.setattr(health, "CHECK_SECONDS", 60.0)
    health.forget()
    outside.forget_answers()
    yield
    health.forget()


@pytest.fixture
def anyone() -> Client:
    """A caller without credentials, who sees 500s as a client would."""
    return Client(raise_request_exception=False)


@pytest.fixture
def service() -> Client:
    """A caller with the environment's key."""
    return Client(raise_request_exception=False, headers={"X-API-Key": SERVICE_KEY})


@pytest.fixture
def unique() -> str:
    """Something no other test uses in Redis."""
    return uuid.uuid4().hex


class Unread:
    """A request body that fails the test if anybody reads more of it than allowed."""

    def __init__(self, most_bytes: int) -> None:
        self.read_bytes = 0
        self._most_bytes = most_bytes

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "an unbounded read of the body"
        self.read_bytes += size
        assert self.read_bytes <= self._most_bytes, "more of the body was read than allowed"
        return b"x" * size

    readline = read


def call_wsgi(path: str, body: Unread, *, length: str, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    """POST through the WSGI application itself; return status line, headers and body."""
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        answer.update(status=status, headers=dict(headers))

    base = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": length,
        "wsgi.input": body,
        "wsgi.url_scheme": "http",
    }
    # As the test client does: the test's own transaction must outlive the request.
    request_started.disconnect(close_old_connections)
    try:
        content = b"".join(WSGIHandler()(base | environ, start_response))
    finally:
        request_started.connect(close_old_connections)
    return answer["status"], answer["headers"], content
