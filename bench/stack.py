"""The default `make run` on our servers, and clients of its API."""

import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any

from bench.processes import API_KEY, environment, last_words, started
from bench.servers import Servers
from config.launcher import processes

HOST = "127.0.0.1"
LIVE_SECONDS = 60
BOUNDARY = "a-boundary-that-no-document-of-ours-holds"


class Client:
    """One keep-alive connection that costs the machine as little as it can: it shares the cores with the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST JSON and return the answer's. Raises RuntimeError unless the status is 200 or 201."""
        answer: dict[str, Any] = self._exchange("POST", path, json.dumps(body).encode())
        return answer

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT JSON and return the answer's. Raises RuntimeError as `post` does."""
        answer: dict[str, Any] = self._exchange("PUT", path, json.dumps(body).encode())
        return answer

    def upload(self, path: str, name: str, content: bytes) -> dict[str, Any]:
        """POST one file as a form's field `file`. Raises RuntimeError as `post` does."""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        answer: dict[str, Any] = self._exchange(
            "POST", path, body, content_type=f"multipart/form-data; boundary={BOUNDARY}"
        )
        return answer

    def get(self, path: str) -> Any:
        """GET an object or an array."""
        return self._exchange("GET", path, b"")

    def _exchange(self, method: str, path: str, body: bytes, content_type: str = "application/json") -> Any:
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: {API_KEY}\r\n"
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + body)
        status = self._answers.readline()
        length = 0
        while (line := self._answers.readline()) not in (b"\r\n", b""):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        answer = self._answers.read(length)
        if status[9:12] not in (b"200", b"201"):
            raise RuntimeError(f"{method} {path}: {status.decode()} {answer[:500].decode()}")
        return json.loads(answer)


@contextlib.contextmanager
def running(servers: Servers) -> Iterator[int]:
    """Start what `make run` starts, rate limits off; yields the port once it answers."""
    port = _free_port()
    log = servers.folder / "run.log"
    env = environment(servers) | {"PORT": str(port), "HOST": HOST, "EXTRA_PORTS": ""}
    with started([sys.executable, "-m", "config.launcher", "up"], env=env, log=log) as process:
        if not processes.wait_until(
            lambda: process.poll() is not None or _is_live(port), seconds=LIVE_SECONDS, pause=0.1
        ):
            raise RuntimeError(f"make run does not answer:\n{last_words(log)}")
        if process.poll() is not None:
            raise RuntimeError(f"make run ended:\n{last_words(log)}")
        yield port


def _is_live(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
