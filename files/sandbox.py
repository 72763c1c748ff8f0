"""Work on files in a child process with limits of its own: the parent's side. Imports no Django.

Parsers are C and Rust code that ends in SIGABRT or in gigabytes on files of a kilobyte, so no worker parses
in its own process. Children are forked by a warm server or plain subprocesses: Celery's prefork children may not fork
by multiprocessing.
"""

import io
import os
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from files import answers, fork_server
from files.answers import ChildDied
from files.child_process import Child, NoChild, PlainChild, Start
from files.extractors import registry
from files.extractors.base import Extraction, ExtractionFailed, Limits

# Escaped JSON needs at most 12 bytes for a character; tables and metadata have their own bounds.
_ANSWER_BYTES_PER_CHARACTER = 12
_ANSWER_SLACK_BYTES = 32 * 1024**2
_READ_BYTES = 256 * 1024
_TICK_SECONDS = 0.5
# What a breach calls the work.
_NAMES = {"extract": "The extraction", "make": "The making of a file"}


class Abandoned(Exception):
    """The caller's `heartbeat` said to stop; the child was killed and there is no result."""


def run_extraction(
    source: int | str | Path,
    extension: str,
    limits: Limits,
    *,
    heartbeat: Callable[[], bool] | None = None,
    heartbeat_seconds: float = 10.0,
    warm: bool = False,
) -> Extraction:
    """Extract one file in a child. `source` is a path or a descriptor open for reading.

    `heartbeat` is called about every `heartbeat_seconds` while the child works; False abandons the work.
    `warm` has a fork server of this process start the child, where that can be done.
    Raises ExtractionFailed (ChildDied where the file killed the child) and Abandoned.
    """
    if not registry.supports(extension):
        raise ExtractionFailed("unsupported_type", f"No text can be extracted from .{extension} files yet")
    answer = io.BytesIO()
    return_code = run_job(
        source,
        {"job": "extract", "extension": extension},
        limits,
        answer=answer,
        max_answer_bytes=limits.max_characters * _ANSWER_BYTES_PER_CHARACTER + _ANSWER_SLACK_BYTES,
        heartbeat=heartbeat,
        heartbeat_seconds=heartbeat_seconds,
        whole_at=answers.DONE,
        warm=warm,
    )
    return answers.read(answer.getvalue(), return_code, limits)


def run_job(
    source: int | str | Path,
    request: dict[str, Any],
    limits: Limits,
    *,
    answer: IO[bytes],
    max_answer_bytes: int,
    heartbeat: Callable[[], bool] | None = None,
    heartbeat_seconds: float = 10.0,
    whole_at: bytes | None = None,
    warm: bool = False,
) -> int:
    """Have a child work on one file, write all that it answers to `answer`, and return its exit status as Popen does.

    `request` is JSON of at most 100 KB; its `job` is "extract" or "make", the limits are added. The child answers in
    bytes of its job's own kind. Once they hold `whole_at`, the wall limit ends the child without an error.
    `answer` can be sought and cut, for a second try when the fork server has died; what was in it before stays.
    `heartbeat` and `warm` are as in `run_extraction`.
    Raises ChildDied (extract_timeout, too_large) and Abandoned; another death is the exit status (`answers.death`).
    """
    full_request = request | {"limits": limits.as_json()}
    begin = answer.tell()
    descriptor = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for start in _ways(warm=warm):
            bounds = _Bounds(_NAMES[request["job"]], limits.wall_seconds, max_answer_bytes, whole_at)
            with suppress(NoChild):
                return _attempt(
                    start(descriptor, full_request), answer, bounds, heartbeat or _always, heartbeat_seconds
                )
            answer.seek(begin)
            answer.truncate()
    finally:
        os.close(descriptor)
    raise AssertionError("a plain child is always one")


def _always() -> bool:
    return True


def _ways(*, warm: bool) -> tuple[Start, ...]:
    """Return the ways to start a child, in the order to try them: twice warm, since the second server is a new one."""
    if warm and fork_server.is_supported():
        return fork_server.start, fork_server.start, PlainChild
    return (PlainChild,)


class _Bounds:
    """How long the work and its answer may get. Knows, chunk by chunk, whether the answer stands by itself."""

    def __init__(self, name: str, wall_seconds: float, max_bytes: int, whole_at: bytes | None) -> None:
        self.wall_seconds = wall_seconds
        self._name = name
        self._deadline = time.monotonic() + wall_seconds
        self._max_bytes = max_bytes
        self._whole_at = whole_at
        self._is_whole = False
        self._length = 0
        self._tail = b""

    def ends_the_work(self, chunk: bytes, now: float) -> bool:
        """Count a chunk of the answer in; True when the time is up but the answer is whole. Raises ChildDied."""
        self._look_for_mark(chunk)
        self._length += len(chunk)
        if now >= self._deadline:
            if self._is_whole:
                return True  # only what costs more took too long
            raise ChildDied("extract_timeout", f"{self._name} took longer than {self.wall_seconds:g} seconds")
        if self._length > self._max_bytes:
            raise ChildDied("too_large", f"{self._name} gave more than {self._max_bytes} bytes")
        return False

    def _look_for_mark(self, chunk: bytes) -> None:
        """Find the mark also where it lies across two chunks, without looking at any byte twice."""
        if self._whole_at is None or self._is_whole or not chunk:
            return
        seen = self._tail + chunk
        self._is_whole = self._whole_at in seen
        self._tail = seen[1 - len(self._whole_at) :]


def _attempt(
    child: Child, answer: IO[bytes], bounds: _Bounds, heartbeat: Callable[[], bool], heartbeat_seconds: float
) -> int:
    """Copy a child's answer and return its exit status. Raises NoChild where it was lost, not by its file's fault."""
    try:
        _copy_answer(child, answer, bounds, heartbeat, heartbeat_seconds)
    except BaseException as error:
        # The clock may have struck before anybody looked at the file.
        is_blameless = isinstance(error, ChildDied) and not child.has_started()
        with suppress(NoChild):
            child.end(patient=False)
        if is_blameless:
            raise NoChild("the fork server did not start a child in time") from error
        raise
    return child.end(patient=True)


def _copy_answer(
    child: Child, answer: IO[bytes], bounds: _Bounds, heartbeat: Callable[[], bool], heartbeat_seconds: float
) -> None:
    """Read the child's output to its end, within its bounds."""
    next_beat = time.monotonic() + heartbeat_seconds
    for chunk in _chunks(child.answer, min(_TICK_SECONDS, heartbeat_seconds, bounds.wall_seconds)):
        now = time.monotonic()
        is_over = bounds.ends_the_work(chunk, now)
        answer.write(chunk)
        if is_over:
            return
        if now >= next_beat:
            if not heartbeat():
                raise Abandoned
            next_beat = now + heartbeat_seconds


def _chunks(descriptor: int, tick_seconds: float) -> Iterator[bytes]:
    """Yield what the child writes, and nothing (b"") whenever `tick_seconds` pass in silence."""
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
