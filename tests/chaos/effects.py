"""The outside world of the suite: an HTTP server that performs effects, remembers each and misbehaves as told."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LATE_SECONDS = 0.5
LONGEST_SILENCE_SECONDS = 30.0


class Mode(StrEnum):
    """What the server does after it has performed an effect."""

    NORMAL = "normal"
    SILENT = "never answers"
    RESET = "resets"
    ERROR = "answers 500"
    LATE = "answers late"


# After these the caller cannot know whether the effect took place.
UNCLEAR = frozenset({Mode.SILENT, Mode.RESET, Mode.ERROR})


@dataclass
class Effect:
    """One performed effect; `nth` counts those of the same step of the same execution from 1.

    From `at` until `ended_at` (monotonic seconds) its request is live: None while it still is.
    """

    execution_id: int
    step: str
    key: str
    nth: int
    mode: Mode
    at: float
    ended_at: float | None = None


class EffectServer:
    """Performs `POST /effects/<execution>/<step>`: records it, then answers as `choose` says.

    `choose(execution_id, step, nth)` is asked for the mode; `watch(effect)` is called before the answer.
    Both are called in the request's thread and may be exchanged at any time.
    """

    def __init__(self) -> None:
        self.choose: Callable[[int, str, int], Mode] = always_normal
        self.watch: Callable[[Effect], None] = ignore
        self._effects: list[Effect] = []
        self._counts: Counter[tuple[int, str]] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.world = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "EffectServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Host and port, as EGRESS_ALLOWLIST wants them."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/effects"

    def all(self) -> list[Effect]:
        """Return the effects so far, in the order in which they took place."""
        with self._lock:
            return list(self._effects)

    def perform(self, execution_id: int, step: str, key: str) -> Effect:
        """Do it once more, and remember."""
        with self._lock:
            self._counts[execution_id, step] += 1
            nth = self._counts[execution_id, step]
            effect = Effect(execution_id, step, key, nth, self.choose(execution_id, step, nth), time.monotonic())
            self._effects.append(effect)
        self.watch(effect)
        return effect


def always_normal(execution_id: int, step: str, nth: int) -> Mode:
    return Mode.NORMAL


def ignore(effect: Effect) -> None:
    """Watch nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    world: EffectServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of this server get killed: a connection that breaks is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, _, execution_id, step = self.path.split("/")
        effect = self.server.world.perform(int(execution_id), step, self.headers.get("Idempotency-Key", ""))
        try:
            self._end(effect)
        finally:
            effect.ended_at = effect.ended_at or time.monotonic()

    def _end(self, effect: Effect) -> None:
        match effect.mode:
            case Mode.SILENT:
                self._stay_silent()
            case Mode.RESET:
                self._reset(effect)
            case Mode.ERROR:
                self._answer(500, effect)
            case _:
                if effect.mode == Mode.LATE:
                    time.sleep(LATE_SECONDS)
                self._answer(200, effect)

    def _answer(self, status: int, effect: Effect) -> None:
        body = json.dumps({"done": True if status == 200 else "perhaps", "step": effect.step}).encode()
        # Before the caller can know: what it does next must not look as if it were beside this one.
        effect.ended_at = time.monotonic()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stay_silent(self) -> None:
        """Hold the connection until the client goes away."""
        self.close_connection = True
        self.connection.settimeout(LONGEST_SILENCE_SECONDS)
        with contextlib.suppress(OSError):
            self.connection.recv(1)

    def _reset(self, effect: Effect) -> None:
        """End the connection with a RST instead of an answer."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        effect.ended_at = time.monotonic()
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        """Say nothing: the record is what counts."""
