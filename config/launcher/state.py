"""The data folder: who holds it, what must be remembered between starts."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from config.launcher import processes
from config.launcher.errors import LaunchError


class DataFolder:
    """`DATA_DIR`: servers' data, uploads, logs, kept secrets; held by one launcher at a time."""

    def __init__(self, path: Path) -> None:
        # Processes are found by the folder they work in, which the kernel names without links.
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.uploads = self.path / "uploads"
        self.metrics = self.path / "metrics"
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Make the folder and hold it. Raises LaunchError if it cannot be written or somebody else holds it."""
        try:
            # Passable, not readable: PostgreSQL may have to run as another user below it.
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self.metrics.mkdir(mode=0o700, exist_ok=True)
            lock = (self.path / "launcher.lock").open("a+", encoding="ascii")
        except OSError as error:
            raise LaunchError(f"DATA_DIR {self.path} cannot be written: {error.strerror}") from error
        # A little patience: `holder` takes the lock for a moment too.
        if not processes.wait_until(lambda: _locked(lock), seconds=0.3):
            lock.close()
            raise LaunchError(
                f"Already running with DATA_DIR {self.path} (process {self.holder()}); `make stop` ends it"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def close(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def holder(self) -> int | None:
        """Return the process id of the launcher that holds the folder now, if any.

        The lock decides, not the file: the kernel drops it with a process that was killed.
        """
        try:
            with (self.path / "launcher.lock").open(encoding="ascii") as lock:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return None
                return int(lock.read() or 0) or None
        except (OSError, ValueError):
            return None

    def secret(self, name: str, *, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
        """Return a kept secret, made on first use; the file is readable by its owner only."""
        path = self.secret_path(name)
        with contextlib.suppress(FileNotFoundError):
            if value := path.read_text(encoding="utf-8").strip():
                return value
        value = make()
        self._write(path, value + "\n")
        return value

    def secret_path(self, name: str) -> Path:
        """Return the file of a kept secret."""
        return self.path / name

    def forget(self, name: str) -> None:
        """Remove a kept secret."""
        self.secret_path(name).unlink(missing_ok=True)

    def remember(self, name: str, value: object) -> None:
        """Keep a small JSON value."""
        self._write(self.path / f"{name}.json", json.dumps(value))

    def recall(self, name: str) -> dict[str, object]:
        """Return a remembered JSON object, empty when there is none or it is damaged."""
        try:
            value = json.loads((self.path / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _write(self, path: Path, text: str) -> None:
        """Write a file whole or not at all: a kill in the middle leaves the old one."""
        fresh = path.with_name(f"{path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)


def _locked(lock: IO[str]) -> bool:
    """Try to take an exclusive lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
