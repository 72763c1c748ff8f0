"""The door against hanging, dripping, resetting and lying servers; TLS, cancel, threads, forks."""

import asyncio
import os
import select
import signal
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction
from pytest_django import Settings

from core import egress
from core.egress import network
from tests.ports import Port
from tests.unit.core.egress_servers import (  # noqa: F401 - the fixtures are used by name
    OK,
    Handler,
    Serve,
    answer_with,
    answering,
    answering_once,
    failure,
    get,
    get_failure,
    names_fixture,
    read_request,
    serve_fixture,
)

# How long what ends at once may take on a machine that has much else to do; what does not end takes longer.
PATIENCE_SECONDS = 30


# --- Bad networks ----------------------------------------------------------------------------


def test_a_refused_connection_is_certain_not_to_have_sent() -> None:
    port = Port()

    error = get_failure(port.number)

    port.let_go()
    assert (error.code, error.retryable, error.sent) == ("refused", True, False)


def test_a_connect_that_hangs_times_out_without_having_sent() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.socket() as filler,
        socket.socket() as more,
    ):
        for sock in (filler, more):
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())

        error = get_failure(listener.getsockname()[1], connect_timeout_seconds=0.2)

    assert (error.code, error.retryable, error.sent) == ("timeout", True, False)


def test_a_server_that_never_answers_times_out_after_sending(serve: Serve) -> None:
    port = serve(
        lambda connection: (
            connection.recv(1) and connection.recv(1_000_000) and threading.Event().wait(PATIENCE_SECONDS) and None
        )
    )

    error = get_failure(port, timeout_seconds=0.3)

    assert (error.code, error.retryable, error.sent, error.address) == ("timeout", True, True, "127.0.0.1")
    assert 300 <= error.durations_ms["total"] < PATIENCE_SECONDS * 1000


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_dripping_server_meets_the_wall_clock(serve: Serve, start: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(start or b"H")
        while not stop.wait(0.02):
            connection.sendall(b"x" if start else b"")

    port = serve(drip)

    error = get_failure(port, timeout_seconds=0.4)

    stop.set()
    assert (error.code, error.sent) == ("timeout", True)
    assert 400 <= error.durations_ms["total"] < PATIENCE_SECONDS * 1000


def test_resets_and_half_answers_are_resets(serve: Serve) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    handlers = [
        reset,
        *(answering_once(text) for text in (b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")),
    ]
    for handler in handlers:
        error = get_failure(serve(handler))
        assert (error.code, error.retryable, error.sent) == ("reset", True, True)


@pytest.fixture
def kept_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep connections for longer than a busy machine may take from one request to the next."""
    monkeypatch.setattr("core.egress.client._KEEPALIVE_SECONDS", 60.0)


@pytest.mark.usefixtures("kept_long")
def test_nothing_is_sent_twice_when_a_kept_connection_breaks(serve: Serve) -> None:
    seen: list[bytes] = []

    def second_time_silent(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(OK)
        seen.append(read_request(connection))

    port = serve(second_time_silent)
    get(port)

    error = get_failure(port)

    assert (error.code, error.sent) == ("reset", True)
    assert len([request for request in seen if request]) == 2


@pytest.mark.usefixtures("kept_long")
def test_connections_are_kept_only_where_wanted(serve: Serve) -> None:
    connections: list[int] = []

    def counting(connection: socket.socket) -> None:
        connections.append(1)
        answering(OK)(connection)

    port = serve(counting)

    get(port)
    get(port)
    kept = len(connections)
    get(port, reuse_connection=False)

    assert (kept, len(connections)) == (1, 2)


# --- TLS -------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for service.test, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service.test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("service.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = tmp_path / "both.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + built.public_bytes(pem))
    return path


@pytest.fixture
def tls_server(serve: Serve, certificate: Path) -> tuple[int, list[str | None]]:
    """The port of a TLS server, and the names that clients asked for."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    def handler(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            answering(OK)(wrapped)

    return serve(handler), asked


def test_a_self_signed_certificate_is_refused(tls_server: tuple[int, list[str | None]]) -> None:
    port, _ = tls_server

    error = failure("GET", f"https://127.0.0.1:{port}/", allow=[f"127.0.0.1:{port}"])

    assert (error.code, error.retryable, error.sent) == ("tls", False, False)


def test_tls_uses_the_name_while_connecting_to_the_checked_address(
    tls_server: tuple[int, list[str | None]],
    certificate: Path,
    names: dict[str, list[list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, asked = tls_server
    names |= {"service.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]}
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(network, "tls_context", lambda: trusting)
    options: dict[str, Any] = {"allow": [f"127.0.0.1:{port}"], "reuse_connection": False}

    good = egress.request("GET", f"https://service.test:{port}/", **options)
    wrong = failure("GET", f"https://other.test:{port}/", **options)

    assert (good.content, good.address) == (b"ok", "127.0.0.1")
    assert good.durations_ms["tls"] > 0
    assert (wrong.code, wrong.sent) == ("tls", False)
    assert asked == ["service.test", "other.test"]


def test_plain_text_where_tls_is_expected_and_a_hanging_handshake(serve: Serve) -> None:
    plain = serve(lambda connection: connection.sendall(b"hello\r\n" * 10))
    hanging = serve(lambda connection: threading.Event().wait(PATIENCE_SECONDS) and None)
    codes = {}
    for port in (plain, hanging):
        error = failure("GET", f"https://127.0.0.1:{port}/", allow=[f"127.0.0.1:{port}"], connect_timeout_seconds=0.3)
        codes[port] = (error.code, error.sent)

    assert codes == {plain: ("tls", False), hanging: ("timeout", False)}


# --- Cancel, threads, processes, transactions ------------------------------------------------


def hanging_until_closed(closed: threading.Event, reached: threading.Event) -> Handler:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        reached.set()
        try:
            connection.recv(1)
        finally:
            closed.set()

    return handler


def test_a_cancelled_request_ends_at_once_and_closes_its_connection(serve: Serve) -> None:
    closed, reached = threading.Event(), threading.Event()
    port = serve(hanging_until_closed(closed, reached))
    askers: set[int] = set()

    def cancelled() -> bool:
        askers.add(threading.get_ident())
        return reached.is_set()

    error = get_failure(port, cancelled=cancelled)

    assert (error.code, error.retryable, error.sent) == ("cancelled", False, True)
    assert askers == {threading.get_ident()}
    assert closed.wait(PATIENCE_SECONDS)


def test_a_signal_that_interrupts_waiting_cancels_the_request(serve: Serve) -> None:
    closed, reached = threading.Event(), threading.Event()
    port = serve(hanging_until_closed(closed, reached))

    class TimeLimitError(BaseException):
        """No OSError: asyncio swallows one that is raised while it wakes its loop."""

    def time_limit(*_: object) -> None:
        raise TimeLimitError

    def strike() -> None:
        # Not before it waits: a loaded machine may have sent the request before its sender gets so far.
        if reached.wait(PATIENCE_SECONDS) and waits.wait(PATIENCE_SECONDS):
            os.kill(os.getpid(), signal.SIGUSR1)

    waits = threading.Event()
    before = signal.signal(signal.SIGUSR1, time_limit)
    threading.Thread(target=strike).start()
    try:
        with pytest.raises(TimeLimitError):
            get(port, timeout_seconds=3 * PATIENCE_SECONDS, cancelled=waits.set)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert closed.wait(PATIENCE_SECONDS)


def test_many_threads_share_the_door(serve: Serve) -> None:
    port = serve(answering(OK))

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: get(port).content, range(200)))

    assert answers == [b"ok"] * 200


def test_a_hanging_server_does_not_hold_up_others(serve: Serve) -> None:
    closed, reached, answered = threading.Event(), threading.Event(), threading.Event()
    hanging, quick = serve(hanging_until_closed(closed, reached)), serve(answering(OK))
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(get_failure, hanging, timeout_seconds=2 * PATIENCE_SECONDS, cancelled=answered.is_set)
        try:
            assert reached.wait(PATIENCE_SECONDS)

            answer = get(quick)

            assert (answer.content, slow.done()) == (b"ok", False)
        finally:
            answered.set()
    assert slow.result().code == "cancelled"


def test_the_async_twin_works_on_any_loop_and_in_a_batch(serve: Serve) -> None:
    port = serve(answering(OK))
    allow = [f"127.0.0.1:{port}"]

    async def batch() -> list[bytes]:
        calls = (egress.request_async("GET", f"http://127.0.0.1:{port}/", allow=allow) for _ in range(20))
        return [response.content for response in await asyncio.gather(*calls)]

    assert egress.run(batch()) == [b"ok"] * 20
    assert asyncio.run(batch()) == [b"ok"] * 20


def test_the_async_twin_can_be_cancelled_both_ways(serve: Serve) -> None:
    closed, reached = threading.Event(), threading.Event()
    port = serve(hanging_until_closed(closed, reached))
    url, allow = f"http://127.0.0.1:{port}/", [f"127.0.0.1:{port}"]

    with pytest.raises(egress.EgressError) as caught:
        egress.run(egress.request_async("GET", url, allow=allow, cancelled=reached.is_set))
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(egress.request_async("GET", url, allow=allow), 0.2))

    assert (caught.value.code, caught.value.sent) == ("cancelled", True)
    assert closed.wait(PATIENCE_SECONDS)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_loop_and_connections(serve: Serve) -> None:
    port = serve(answering(OK))
    get(port)
    reader, writer = os.pipe()

    if (child := os.fork()) == 0:
        try:
            os.write(writer, get(port).content)
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], PATIENCE_SECONDS)
    received = os.read(reader, 10) if ready else b"nothing"
    os.close(reader)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert received == b"ok"
    assert get(port).content == b"ok"


@pytest.mark.django_db(transaction=True)
def test_the_door_is_closed_while_a_transaction_is_open(serve: Serve, settings: Settings) -> None:
    seen: list[bytes] = []
    port = serve(answering(OK, seen))

    with transaction.atomic(), pytest.raises(egress.TransactionOpen):
        get(port)

    assert seen == []
    assert get(port).content == b"ok"
    settings.EGRESS_ALLOW_IN_TRANSACTION = True
    with transaction.atomic():
        assert get(port).content == b"ok"


def test_a_deadline_counts_from_the_call_not_from_the_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(network, "lookup", slow)
    started = time.monotonic()

    error = failure("GET", "http://slow.test/", timeout_seconds=0.2)

    assert (error.code, error.sent) == ("timeout", False)
    assert time.monotonic() - started < PATIENCE_SECONDS
