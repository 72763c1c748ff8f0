"""A process that has imported the product once and forks its processes from then on: a restart costs no imports.

The suite restarts workers hundreds of times, and of a worker's start nine tenths are imports. What is forked
runs the same command line, as `python -m` would, in a process of its own with a log and a group of its own.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from config.launcher import processes

PRELOADED = (
    *("config.celery", "config.wsgi", "config.gunicorn", "config.urls", "workflows.beat"),
    *("celery.bin.celery", "celery.bin.worker", "celery.bin.beat", "celery.apps.worker", "celery.apps.beat"),
    *("celery.concurrency.prefork", "celery.concurrency.thread", "celery.worker.components"),
    *("celery.worker.autoscale", "celery.worker.consumer", "celery.worker.strategy", "kombu.transport.redis"),
    *("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "django_celery_beat.schedulers"),
)
ENDS_WITHIN_SECONDS = 10.0


class Forked:
    """A process of the nursery's, with what the stack uses of Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def poll(self) -> int | None:
        """Return None while it lives; the nursery reaps it, so its exit code is not known."""
        self._ended = self._ended or not processes.running(self.pid)
        return 0 if self._ended else None

    def kill(self) -> None:
        if self.poll() is None:
            processes.send(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        processes.wait_until(lambda: self.poll() is not None, seconds=ENDS_WITHIN_SECONDS)
        return 0


class Nursery:
    """The suite's side: starts the process, and asks it for children."""

    def __init__(self, environ: Mapping[str, str], *, cwd: Path, log: Path) -> None:
        command = [sys.executable, "-m", "tests.chaos.nursery", str(os.getpid())]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command, env=dict(environ), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output
            )
        self._lock = threading.Lock()

    def spawn(self, command: list[str], *, log: Path, group: int) -> Forked:
        """Fork a child that runs `python -m ...` as given, in a process group that exists or in its own (0)."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        wanted = {"command": command[command.index("-m") + 1 :], "log": str(log), "group": group}
        with self._lock:
            self._popen.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._popen.stdin.flush()
            answer = self._popen.stdout.readline()
        if not answer:
            raise RuntimeError("the nursery has died; its log says why")
        return Forked(int(answer))

    def close(self) -> None:
        """End it; whatever of its children still lives goes with it."""
        self._popen.kill()
        self._popen.communicate()


def main(parent: int) -> None:
    """Serve the suite's orders: one line of JSON each, answered with the child's process id."""
    processes.die_with_parent(signal.SIGKILL, parent=parent)
    _preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in sys.stdin.buffer:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
        _enter_group(pid, order["group"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _preload() -> None:
    import importlib

    import django
    from django.urls import get_resolver

    django.setup()
    for name in PRELOADED:
        importlib.import_module(name)
    from config.celery import app

    app.loader.import_default_modules()
    app.finalize()
    assert get_resolver().url_patterns
    from django.db import connections

    connections.close_all()
    gc.collect()
    gc.freeze()


def _enter_group(pid: int, group: int) -> None:
    """Join the group, or lead one where its last member has died just now; parent and child both do so."""
    try:
        os.setpgid(pid, group)
    except (PermissionError, ProcessLookupError):
        try:
            os.setpgid(pid, 0)
        except (PermissionError, ProcessLookupError):
            return


def _become(order: dict[str, object]) -> None:
    """Run the command in this child and exit; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        processes.die_with_parent(signal.SIGKILL, parent=os.getppid())
        _enter_group(0, int(str(order["group"])))
        _redirect(str(order["log"]))
        command = [str(part) for part in order["command"]]  # type: ignore[attr-defined]
        sys.argv = [command[0], *command[1:]]
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (there is nobody above: the log is told)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


if __name__ == "__main__":
    main(int(sys.argv[1]))
