"""Ways to have an extraction child: what the sandbox asks of each, and the plain one. Imports no Django."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

PROJECT = Path(__file__).resolve().parent.parent
# How long a child that has closed its output may take to end.
WAIT_SECONDS = 1.0


class NoChild(Exception):
    """No child could be had, or it was lost through no fault of its file. Says nothing about the file."""


class Child(Protocol):
    """A process at work on one file."""

    # The descriptor to read its answer from, to the end.
    answer: int

    def has_started(self) -> bool:
        """Tell whether the child has been running at all."""

    def end(self, *, patient: bool) -> int:
        """Collect the child and return its exit status as Popen does; kill its session if it still runs.

        A patient caller gives a child that has closed its output a second to end by itself, so that its own exit
        status tells the cause. Raises NoChild where the exit status cannot be known.
        """


# Descriptor of the file, request -> the child. Raises NoChild.
Start = Callable[[int, dict[str, Any]], Child]


class PlainChild:
    """A program of its own for one file: needs nothing but the time that Python and the parsers take to load."""

    def __init__(self, source: int, request: dict[str, Any]) -> None:
        argument = json.dumps(request | {"parent": os.getpid()})
        self._process = subprocess.Popen(  # noqa: S603  (our own program; the argument is JSON, not a command)
            [sys.executable, "-E", "-s", "-m", "files.extraction_child", argument],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=PROJECT,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101  (Popen was given a pipe)
        self._output = self._process.stdout
        self.answer = self._output.fileno()

    def has_started(self) -> bool:
        return True

    def end(self, *, patient: bool) -> int:
        """See Child."""
        if patient:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=WAIT_SECONDS)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()
        return self._process.wait()
