"""The web process as `make run` starts it, alone on the test's database; and what it takes of memory."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
from django.conf import settings
from django.db import connection

from config.launcher import plan, processes
from tests.ports import Port

KEY = "the-key-of-the-web-process"
READY_SECONDS = 240
_SAMPLE_SECONDS = 0.02


class WebProcess:
    """gunicorn with its workers on a port of its own."""

    def __init__(self, folder: Path, *, inside: Sequence[str] = (), **environ: str) -> None:
        self._held = Port()
        self.port = self._held.number
        self.log = folder / "web.log"
        self._inside = inside
        self._environ = dict(os.environ) | {
            "DATABASE_URL": _database_url(),
            "API_KEY": KEY,
            "DATA_DIR": str(folder / "data"),
            "UPLOAD_DIR": str(folder / "uploads"),
            "RATE_LIMIT_ENABLED": "false",
            **environ,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError with its last words."""
        command = plan.web_command(plan.Addresses("127.0.0.1", (self.port,)))
        with self.log.open("ab") as log:
            self._process = processes.spawn(
                [sys.executable, "-m", "tests.chaos.child", str(os.getpid()), *self._inside, *command],
                env=self._environ,
                cwd=plan.ROOT,
                output=log.fileno(),
            )
        give_up_at = time.monotonic() + READY_SECONDS
        while not self._is_live():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                raise RuntimeError(f"the web process does not answer:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)  # polling a server that starts

    def kill(self) -> None:
        """SIGKILL all of it."""
        if self._process is not None:
            processes.kill_group(self._process.pid)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._held.let_go()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=120, trust_env=False)

    def memory_bytes(self) -> int:
        """Return the resident memory of the process and all below it."""
        assert self._process is not None
        return sum(_resident_bytes(pid) for pid in [self._process.pid, *_below(self._process.pid)])

    def most_memory_bytes(self, act: Callable[[], object]) -> int:
        """Return the most memory that it takes while something is done."""
        most, ended = 0, threading.Event()

        def sample() -> None:
            nonlocal most
            while not ended.wait(_SAMPLE_SECONDS):
                most = max(most, self.memory_bytes())

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            act()
        finally:
            ended.set()
            sampler.join()
        return most

    def _is_live(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/live", timeout=2, trust_env=False).is_success
        return False


@contextlib.contextmanager
def running(folder: Path, *, inside: Sequence[str] = (), **environ: str) -> Iterator[WebProcess]:
    """Run it; `inside` is a command that runs it as its own last arguments."""
    web = WebProcess(folder, inside=inside, **environ)
    try:
        web.start()
        yield web
    finally:
        web.close()


def _database_url() -> str:
    database = settings.DATABASES["default"]
    host, port = database["HOST"], database["PORT"]
    name = connection.settings_dict["NAME"]
    password = f":{database['PASSWORD']}" if database["PASSWORD"] else ""
    return f"postgresql://{database['USER']}{password}@/{name}?host={host}&port={port}"


def _below(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found + [deeper for child in found for deeper in _below(child)]


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
