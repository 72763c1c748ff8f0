"""The processes that are measured: each in a session of its own, ended with us whatever happens."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.servers import Servers
from config.launcher import plan, processes

API_KEY = "bench-key"
STOP_SECONDS = 30


def environment(servers: Servers) -> dict[str, str]:
    """Return the product's environment: all defaults, but rate limits off."""
    return dict(os.environ) | {
        "DATABASE_URL": servers.database_url(),
        "REDIS_URL": servers.redis_url,
        "CELERY_BROKER_URL": servers.redis_url,
        "DATA_DIR": str(servers.folder / "data"),
        "UPLOAD_DIR": str(servers.folder / "uploads"),
        "API_KEY": API_KEY,
        "JWT_SECRET_KEY": "a secret for measurements only",
        "RATE_LIMIT_ENABLED": "false",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }


@contextlib.contextmanager
def started(command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the background, its output into `log`; ended at the end."""
    with log.open("ab") as file:
        process = processes.spawn(command, env=env, cwd=plan.ROOT, output=file.fileno())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            processes.kill_group(process.pid)
            process.wait()


class Peer:
    """A long-lived child that answers one JSON line per JSON line (`serve` is its other side)."""

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=dict(env),
                cwd=plan.ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def ask(self, **request: Any) -> Any:
        """Send a request and wait for its answer. Raises RuntimeError with the child's last words if it died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measured process died:\n{last_words(self._log)}")
        return json.loads(line)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def requests() -> Iterator[tuple[dict[str, Any], Any]]:
    """In a Peer: yield (request, answer function) until the other side hangs up. Stray prints go to the log."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    for line in sys.stdin:
        yield json.loads(line), answer


def last_words(log: Path, lines: int = 15) -> str:
    """Return the end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
