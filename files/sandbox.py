"""Extraction in a child process with limits of its own: the parent's side. Imports no Django.

Parsers are C and Rust code that ends in SIGABRT or in gigabytes on files of a kilobyte, so no worker parses
in its own process. A plain subprocess is used because Celery's prefork children may not fork by multiprocessing.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from files import answers
from files.answers import ChildDied
from files.extractors import registry
from files.extractors.base import Extraction, ExtractionFailed, Limits

_PROJECT = Path(__file__).resolve().parent.parent
# Escaped JSON needs at most 12 bytes for a character; tables and metadata have their own bounds.
_ANSWER_BYTES_PER_CHARACTER = 12
_ANSWER_SLACK_BYTES = 32 * 1024**2
_READ_BYTES = 256 * 1024
_TICK_SECONDS = 0.5


class Abandoned(Exception):
    """The caller's `heartbeat` said to stop; the child was killed and there is no result."""


def run_extraction(
    source: int | str | Path,
    extension: str,
    limits: Limits,
    *,
    heartbeat: Callable[[], bool] | None = None,
    heartbeat_seconds: float = 10.0,
) -> Extraction:
    """Extract one file in a child. `source` is a path or a descriptor open for reading.

    `heartbeat` is called about every `heartbeat_seconds` while the child works; False abandons the work.
    Raises ExtractionFailed (ChildDied where the file killed the child) and Abandoned.
    """
    if not registry.supports(extension):
        raise ExtractionFailed("unsupported_type", f"No text can be extracted from .{extension} files yet")
    descriptor = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        child = _start(descriptor, extension, limits)
    finally:
        os.close(descriptor)
    try:
        answer = _read_answer(child, limits, heartbeat or _always, heartbeat_seconds)
        _await_end(child)
    finally:
        _end(child)
    return answers.read(answer, child.returncode, limits)


def _always() -> bool:
    return True


def _start(descriptor: int, extension: str, limits: Limits) -> subprocess.Popen[bytes]:
    request = json.dumps({"extension": extension, "limits": limits.as_json()})
    return subprocess.Popen(  # noqa: S603  (our own program; the argument is JSON, not a command)
        [sys.executable, "-E", "-s", "-m", "files.extraction_child", request],
        stdin=descriptor,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd=_PROJECT,
        start_new_session=True,
    )


def _read_answer(
    child: subprocess.Popen[bytes], limits: Limits, heartbeat: Callable[[], bool], heartbeat_seconds: float
) -> bytes:
    """Read the child's output to its end, within the wall limit and the bound on its length."""
    deadline = time.monotonic() + limits.wall_seconds
    max_bytes = limits.max_characters * _ANSWER_BYTES_PER_CHARACTER + _ANSWER_SLACK_BYTES
    next_beat = time.monotonic() + heartbeat_seconds
    answer = bytearray()
    for chunk in _chunks(child, min(_TICK_SECONDS, heartbeat_seconds, limits.wall_seconds)):
        answer += chunk
        now = time.monotonic()
        if now >= deadline:
            if answers.DONE in answer:
                break  # the text is there; only what costs more took too long
            raise ChildDied("extract_timeout", f"The extraction took longer than {limits.wall_seconds:g} seconds")
        if len(answer) > max_bytes:
            raise ChildDied("too_large", f"The extraction gave more than {max_bytes} bytes")
        if now >= next_beat:
            if not heartbeat():
                raise Abandoned
            next_beat = now + heartbeat_seconds
    return bytes(answer)


def _chunks(child: subprocess.Popen[bytes], tick_seconds: float) -> Iterator[bytes]:
    """Yield what the child writes, and nothing (b"") whenever `tick_seconds` pass in silence."""
    assert child.stdout is not None  # noqa: S101  (Popen was given a pipe)
    descriptor = child.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(tick_seconds):
                yield b""
                continue
            chunk = os.read(descriptor, _READ_BYTES)
            if not chunk:
                return
            yield chunk


def _await_end(child: subprocess.Popen[bytes]) -> None:
    """Let a child that has closed its output end by itself, so that its own exit status tells the cause."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1.0)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's session if it still runs, and collect it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
