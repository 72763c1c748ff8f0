"""Servers on loopback and a stub resolver for the tests of the egress door."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core import egress
from core.egress import network

Handler = Callable[[socket.socket], None]
Serve = Callable[[Handler], int]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(name="serve")
def serve_fixture() -> Iterator[Serve]:
    """Start a server for a handler of one connection; returns its port. All connections close at the end."""
    opened: list[socket.socket] = []

    def start(handler: Handler) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)
        threading.Thread(target=accept, args=(listener, handler), daemon=True).start()
        return int(listener.getsockname()[1])

    def accept(listener: socket.socket, handler: Handler) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            threading.Thread(target=handle, args=(connection, handler), daemon=True).start()

    def handle(connection: socket.socket, handler: Handler) -> None:
        try:
            handler(connection)
        except OSError:
            return
        finally:
            connection.close()

    yield start
    for sock in opened:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
        finally:
            sock.close()


@pytest.fixture(name="names")
def names_fixture(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Names and the answers to their successive look-ups; the last answer is repeated."""
    answers: dict[str, list[list[str]]] = {}

    async def lookup(host: str, port: int) -> list[str]:
        left = answers[host]
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(network, "lookup", lookup)
    return answers


def read_request(connection: socket.socket) -> bytes:
    """Return one request's bytes, or nothing when the peer is done."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(65536)):
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answering(answer: bytes, seen: list[bytes] | None = None) -> Handler:
    def handler(connection: socket.socket) -> None:
        while request := read_request(connection):
            if seen is not None:
                seen.append(request)
            connection.sendall(answer)

    return handler


def answer_with(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def get(port: int, path: str = "/", **options: Any) -> egress.Response:
    options.setdefault("allow", [f"127.0.0.1:{port}"])
    return egress.request("GET", f"http://127.0.0.1:{port}{path}", **options)


def failure(method: str, url: str, **options: Any) -> egress.EgressError:
    with pytest.raises(egress.EgressError) as caught:
        egress.request(method, url, **options)
    return caught.value


def get_failure(port: int, **options: Any) -> egress.EgressError:
    return failure("GET", f"http://127.0.0.1:{port}/", **{"allow": [f"127.0.0.1:{port}"]} | options)


def answering_once(answer: bytes) -> Handler:
    def handler(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    return handler
