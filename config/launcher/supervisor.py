"""One small supervisor: starts children, prints their output, restarts what dies, stops all in order.

Single-threaded on purpose: the parent-death signal follows the forking thread, and a fork beside
threads may deadlock. Everything happens in `tick`, which every wait calls.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from config.launcher import processes
from config.launcher.errors import LaunchError, StopRequested
from config.launcher.output import Console

CHUNK_BYTES = 65536
DEATHS_LIMIT = 5
DEATHS_WINDOW_SECONDS = 60.0
# One Ctrl-C may arrive twice (from the terminal's group and through make); a person is slower than this.
SECOND_SIGNAL_AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Child:
    """One process to keep running. Children of a higher stage stop first, those of one stage together."""

    name: str
    command: Sequence[str]
    stage: int
    env: Mapping[str, str]
    cwd: Path
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 60.0
    # A file takes the output instead of the console.
    log: Path | None = None
    user: int | None = None
    # Called before every start, to clear what an earlier life left.
    prepare: Callable[[], None] = lambda: None
    # Servers get a proper stop even when everything else is being killed.
    is_server: bool = False


@dataclass
class _Life:
    """A child and how it is doing."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    partial: bytes = b""
    deaths: deque[float] = field(default_factory=deque)
    restart_at: float = 0.0
    reloading: bool = False


class Supervisor:
    """Keeps children running until told to stop.

    `backoff_seconds` is the wait before the first restart; it doubles with each death of the same
    child within a minute. The fifth death within a minute gives up.
    """

    def __init__(self, console: Console, *, backoff_seconds: float = 0.5) -> None:
        self._console = console
        self._backoff_seconds = backoff_seconds
        self._lives: list[_Life] = []
        self._selector = selectors.DefaultSelector()
        self._signalled_at = 0.0
        self._signal = signal.SIGTERM
        self._stopping = False
        self._hard = False
        self._reaped_at = 0.0

    def catch_signals(self) -> None:
        """Take Ctrl-C, SIGTERM and SIGHUP as the wish to stop, and adopt orphans."""
        processes.adopt_orphans()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._signalled_at:
            self._signalled_at = now
            self._signal = signal.Signals(number)
        elif now - self._signalled_at > SECOND_SIGNAL_AFTER_SECONDS:
            self._hard = True

    @property
    def pids(self) -> dict[str, int]:
        """The process id of every running child, by name."""
        return {life.child.name: life.process.pid for life in self._lives if life.process}

    def start(self, child: Child) -> None:
        """Start a child and keep it running from now on."""
        life = _Life(child)
        self._lives.append(life)
        self._spawn(life)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Serve the children until the condition holds; False when the time is over.

        Raises:
            StopRequested: a signal came meanwhile.
            LaunchError: a child died too often meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.tick(0.02)
        return True

    def run(self, *, each_second: Callable[[], None] = lambda: None) -> None:
        """Serve the children until a signal comes (StopRequested) or one dies too often (LaunchError)."""
        called_at = time.monotonic()
        while True:
            self.tick(0.1)
            if time.monotonic() - called_at >= 1:
                each_second()
                called_at = time.monotonic()

    def run_to_end(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> int:
        """Run a short command, its output into `log`; returns its exit code. Raises as `wait_until`."""
        with log.open("wb") as file:
            process = processes.spawn(command, env=env, cwd=cwd, output=file.fileno())
        try:
            while process.poll() is None:
                self.tick(0.02, known={process.pid})
        finally:
            if process.poll() is None:
                processes.kill_group(process.pid)
                process.wait()
        return process.returncode

    def run_foreground(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> int:
        """Run a command on our terminal to its end; returns its exit code. Signals are passed on, not acted on."""
        process = processes.spawn(command, env=env, cwd=cwd, output=None, new_session=False)
        passed_on = False
        while process.poll() is None:
            if self._signalled_at and not passed_on:
                passed_on = True
                # The terminal's own Ctrl-C reaches the command by itself: it is in our process group.
                if self._signal != signal.SIGINT or not sys.stdin.isatty():
                    processes.send(process.pid, self._signal)
            if self._hard:
                process.kill()
            self._tick(0.05, known={process.pid})
        return process.returncode

    def reload(self, names: Sequence[str]) -> None:
        """End children gently and start them again; not counted as deaths."""
        for life in self._lives:
            if life.child.name in names and life.process and not life.reloading:
                life.reloading = True
                processes.send(life.process.pid, life.child.stop_signal)

    def tick(self, timeout: float, *, known: set[int] | None = None) -> None:
        """Print output, notice deaths, restart what is due. Raises StopRequested after a signal."""
        if self._signalled_at and not self._stopping:
            raise StopRequested
        self._tick(timeout, known=known)

    def _tick(self, timeout: float, *, known: set[int] | None = None) -> None:
        self._read_output(timeout)
        for life in self._lives:
            if life.process and life.process.poll() is not None:
                self._bury(life)
            elif not life.process and not self._stopping and time.monotonic() >= life.restart_at:
                self._spawn(life)
        if time.monotonic() - self._reaped_at > 1:
            self._reaped_at = time.monotonic()
            processes.orphans(self._known() | (known or set()))

    def _spawn(self, life: _Life) -> None:
        child = life.child
        child.prepare()
        if child.log:
            with child.log.open("ab") as file:
                life.process = self._popen(child, file.fileno())
            return
        life.process = self._popen(child, subprocess.PIPE)
        if life.process.stdout:
            os.set_blocking(life.process.stdout.fileno(), False)
            self._selector.register(life.process.stdout, selectors.EVENT_READ, life)

    @staticmethod
    def _popen(child: Child, output: int) -> subprocess.Popen[bytes]:
        try:
            return processes.spawn(
                child.command,
                env=child.env,
                cwd=child.cwd,
                output=output,
                death_signal=child.stop_signal,
                user=child.user,
            )
        except OSError as error:
            raise LaunchError(f"{child.name} cannot be started: {child.command[0]}: {error.strerror}") from error

    def _read_output(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            self._drain(key.data)

    def _drain(self, life: _Life) -> None:
        """Print what a child has written so far, whole lines only."""
        stream = life.process.stdout if life.process else None
        if stream is None:
            return
        try:
            data = os.read(stream.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(stream)
            stream.close()
            if life.process:
                life.process.stdout = None
        *lines, life.partial = (life.partial + data).split(b"\n")
        if life.partial and (not data or len(life.partial) > CHUNK_BYTES):
            lines, life.partial = [*lines, life.partial], b""
        for line in lines:
            self._console.line(life.child.name, line.decode("utf-8", "replace"))

    def _bury(self, life: _Life) -> None:
        """Clean up after a child's end and decide when it comes back."""
        process, child = life.process, life.child
        if process is None:
            return
        # Its own children must not work on beside its successor.
        processes.kill_group(process.pid)
        for _ in range(64):
            if process.stdout is None:
                break
            self._drain(life)
        if process.stdout is not None:
            self._selector.unregister(process.stdout)
            process.stdout.close()
        life.process = None
        if self._stopping:
            return
        self._kill_orphans()
        if life.reloading:
            life.reloading, life.restart_at = False, 0.0
            return
        self._count_death(life, describe_exit(process.returncode), child)

    def _count_death(self, life: _Life, how: str, child: Child) -> None:
        now = time.monotonic()
        life.deaths.append(now)
        while life.deaths[0] < now - DEATHS_WINDOW_SECONDS:
            life.deaths.popleft()
        count = len(life.deaths)
        if count >= DEATHS_LIMIT:
            where = f"; see {child.log}" if child.log else ""
            raise LaunchError(f"{child.name} died {count} times within a minute (last: {how}), giving up{where}")
        wait = self._backoff_seconds * 2 ** (count - 1)
        life.restart_at = now + wait
        self._console.line("launcher", f"{child.name} died ({how}), restart {count} in {wait:.1f} s")

    def stop(self) -> None:
        """Stop all children, the highest stage first; a second signal kills. Leaves no process behind."""
        self._stopping = True
        for stage in sorted({life.child.stage for life in self._lives}, reverse=True):
            self._stop_stage([life for life in self._lives if life.child.stage == stage and life.process])
        self._kill_orphans()
        processes.wait_until(lambda: not processes.orphans(set()), seconds=5)
        self._lives.clear()

    def _stop_stage(self, lives: list[_Life]) -> None:
        for life in lives:
            if life.process:
                processes.send(life.process.pid, life.child.stop_signal)
        said_at = time.monotonic() + 3
        deadline = time.monotonic() + max((life.child.stop_seconds for life in lives), default=0)
        while alive := [life for life in lives if life.process]:
            names = ", ".join(life.child.name for life in alive)
            gentle = alive[0].child.is_server or not self._hard
            if not gentle or time.monotonic() > deadline:
                self._console.line("launcher", f"killing {names}")
                for life in alive:
                    if life.process:
                        processes.kill_group(life.process.pid)
                        life.process.wait()
            elif time.monotonic() > said_at:
                said_at = deadline + 1
                self._console.line("launcher", f"waiting for running work in {names}; Ctrl-C again kills it")
            self._tick(0.02)

    def _known(self) -> set[int]:
        return {life.process.pid for life in self._lives if life.process}

    def _kill_orphans(self) -> None:
        for pid in processes.orphans(self._known()):
            processes.send(pid, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """Say how a process ended, e.g. `exit code 1` or `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
