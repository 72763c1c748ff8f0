"""Keys and sessions over HTTP (contract section 2)."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import outside, services
from accounts.models import User
from tests.api.conftest import SERVICE_KEY

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.api.probe_urls")]

PATH = "/probe/users"


def make_key(*scopes: str) -> str:
    user = User.objects.create_user(f"{'-'.join(scopes)}@example.com", "pass-word-1")
    _, plaintext = services.create_api_key(owner=services.owner_of_user(user), name="test", scopes=scopes, actor="test")
    return plaintext


def test_a_missing_key_is_asked_for(anyone: Client) -> None:
    response = anyone.get(PATH)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    content = response.json()
    assert (content["detail"], content["error_code"], content["error"]) == (
        "API key required",
        "UNAUTHORIZED",
        "unauthorized",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wr\xf6ng"},
        {"X-API-Key": "x" * 10_000},
        {"Authorization": "Bearer pak_"},
    ],
)
def test_a_wrong_key_is_refused(anyone: Client, headers: dict[str, str]) -> None:
    response = anyone.get(PATH, headers=headers)

    assert response.status_code == 401
    assert response.json()["detail"] == response.json()["message"] == "Invalid API key"


@pytest.mark.parametrize("headers", [{"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"X-API-Key": " "}])
def test_what_carries_no_key_counts_as_missing(anyone: Client, headers: dict[str, str]) -> None:
    assert anyone.get(PATH, headers=headers).json()["detail"] == "API key required"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": SERVICE_KEY},
        {"Authorization": f"Bearer {SERVICE_KEY}"},
        {"Authorization": f"bearer  {SERVICE_KEY}"},
        {"Authorization": "Bearer some.other.token", "X-API-Key": SERVICE_KEY},
    ],
)
def test_a_key_of_the_environment_is_accepted_in_both_headers(anyone: Client, headers: dict[str, str]) -> None:
    assert anyone.get(PATH, headers=headers).status_code == 200


def test_a_stored_key_works_until_it_is_revoked(anyone: Client) -> None:
    plaintext = make_key("read")
    assert anyone.get(PATH, headers={"X-API-Key": plaintext}).status_code == 200

    services.revoke_api_key(services.ApiKey.objects.get().pk, actor="test")

    assert anyone.get(PATH, headers={"X-API-Key": plaintext}).status_code == 401


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [("read", (200, 403, 403)), ("write", (403, 200, 403)), ("execute", (403, 403, 200))],
)
def test_each_scope_opens_its_own_doors(anyone: Client, scope: str, statuses: tuple[int, int, int]) -> None:
    headers = {"X-API-Key": make_key(scope)}

    answers = [
        anyone.get(PATH, headers=headers),
        anyone.post("/probe/echo", {}, content_type="application/json", headers=headers),
        anyone.post("/probe/execute", headers=headers),
    ]

    assert tuple(answer.status_code for answer in answers) == statuses
    assert next(a for a in answers if a.status_code == 403).json()["detail"].startswith("This key lacks the scope '")


def test_a_session_of_staff_reads_and_needs_csrf_to_write() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("admin@example.com", "pass-word-1"))

    assert client.get(PATH).status_code == 200
    assert client.post("/probe/echo").status_code == 403


def test_a_session_without_the_staff_flag_is_no_credential(anyone: Client) -> None:
    anyone.force_login(User.objects.create_user("user@example.com", "pass-word-1"))

    assert anyone.get(PATH).status_code == 401


class AuthService(BaseHTTPRequestHandler):
    """An outside auth service that knows one key."""

    asked: list[tuple[str, str]] = []
    answer = b""

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
        key = self.headers.get("X-API-Key") or body.get("token", [""])[0]
        self.asked.append((self.path, key))
        introspects = self.path == "/introspect"
        self.send_response(200 if introspects or key == "known-outside" else 401)
        self.end_headers()
        self.wfile.write(self.answer or b'{"active": %s}' % (b"true" if key == "known-outside" else b"false"))

    def log_message(self, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def auth_service(settings: Settings) -> Iterator[str]:
    AuthService.asked, AuthService.answer = [], b""
    server = ThreadingHTTPServer(("127.0.0.1", 0), AuthService)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # Each test runs in a transaction, which no request may go out of; requests themselves open none.
    settings.EGRESS_ALLOW_IN_TRANSACTION = True
    settings.AUTH_SERVICE_URL = f"http://127.0.0.1:{server.server_port}"
    yield settings.AUTH_SERVICE_URL
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_outside_auth_service_vouches_for_keys_and_is_asked_once(anyone: Client, auth_service: str) -> None:
    answers = [anyone.post("/probe/execute", headers={"X-API-Key": key}) for key in ("known-outside", "other") * 2]

    assert [answer.status_code for answer in answers] == [200, 401, 200, 401]
    assert AuthService.asked == [("/validate", "known-outside"), ("/validate", "other")]


def test_an_outside_auth_service_may_be_asked_by_introspection(
    anyone: Client, auth_service: str, settings: Settings
) -> None:
    settings.AUTH_SERVICE_URL, settings.AUTH_SERVICE_MODE = f"{auth_service}/introspect", "introspection"

    answers = [anyone.get(PATH, headers={"X-API-Key": key}) for key in ("known-outside", "other")]

    assert [answer.status_code for answer in answers] == [200, 401]
    assert AuthService.asked == [("/introspect", "known-outside"), ("/introspect", "other")]


def test_an_unreachable_auth_service_means_invalid(anyone: Client, settings: Settings) -> None:
    settings.EGRESS_ALLOW_IN_TRANSACTION = True
    settings.AUTH_SERVICE_URL = "http://127.0.0.1:1"

    response = anyone.get(PATH, headers={"X-API-Key": "known-outside"})

    assert response.status_code == 401
    assert response.json()["detail"] == "Invalid API key"


def test_the_auth_service_is_not_asked_for_our_own_keys(anyone: Client, auth_service: str) -> None:
    assert anyone.get(PATH, headers={"X-API-Key": SERVICE_KEY}).status_code == 200
    assert AuthService.asked == []


@pytest.mark.parametrize("answer", [b"<html>", b"[true]", b"null", b'"active"', b'{"active": "true"}'])
def test_an_introspection_that_cannot_be_read_means_invalid(
    anyone: Client, auth_service: str, settings: Settings, answer: bytes
) -> None:
    settings.AUTH_SERVICE_URL, settings.AUTH_SERVICE_MODE = f"{auth_service}/introspect", "introspection"
    AuthService.answer = answer

    assert anyone.get(PATH, headers={"X-API-Key": "known-outside"}).status_code == 401


def test_an_unreachable_auth_service_is_left_alone_for_a_while(
    anyone: Client, auth_service: str, settings: Settings
) -> None:
    settings.AUTH_SERVICE_URL = "http://127.0.0.1:1"
    anyone.get(PATH, headers={"X-API-Key": "guess"})
    settings.AUTH_SERVICE_URL = auth_service

    refused = anyone.get(PATH, headers={"X-API-Key": "known-outside"})
    asked_meanwhile = list(AuthService.asked)
    outside._silence.until = 0.0
    accepted = anyone.get(PATH, headers={"X-API-Key": "known-outside"})

    assert (refused.status_code, asked_meanwhile, accepted.status_code) == (401, [], 200)


def test_a_key_that_cannot_be_sent_keeps_out_nobody_else(anyone: Client, auth_service: str) -> None:
    odd = anyone.get(PATH, headers={"X-API-Key": "k\x7f\xe9"})
    other = anyone.get(PATH, headers={"X-API-Key": "known-outside"})

    assert (odd.status_code, other.status_code) == (401, 200)


def test_each_key_that_is_vouched_for_is_limited_by_itself(auth_service: str, settings: Settings) -> None:
    settings.AUTH_SERVICE_URL, settings.AUTH_SERVICE_MODE = f"{auth_service}/introspect", "introspection"
    AuthService.answer = b'{"active": true}'

    one, other = outside.find_principal("one"), outside.find_principal("other")

    assert one is not None
    assert other is not None
    assert one.rate_limit_key != other.rate_limit_key
