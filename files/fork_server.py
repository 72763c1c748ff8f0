"""The warm fork server: the asker's side. Imports no Django.

A plain child spends most of a small file's time on loading Python and the parsers. The server
(`files.fork_server_main`) has loaded them once and forks a child per file.

A worker of the lane `files` starts one before its pool is forked (`share`), and all its processes use it. Any other
process that reads files (web, `flow`) starts one of its own on its first file. A server hangs on a socket pair that
only its users hold, and ends with the last of them. So there is no address to find or to guard, no stale lock, no
server of an older release, and no worker that another's server could fail. The price is about 30 MB each. Threads use
their process's server; a forked process leaves one that is not shared to its parent.

Every request has a pipe for the answer and a status socket of its own, so askers wait for their own file only.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any

from files.child_process import PROJECT, WAIT_SECONDS, NoChild
from files.fork_server_main import MAX_REQUEST_BYTES, REFUSED, STARTED, STAYS

PROGRAM = "files.fork_server_main"
_SEND_SECONDS = 5.0
# A killed child may have to finish a read from a slow disk before it ends.
_KILL_SECONDS = 5.0
# For how long a server that ended before it had served anything is not tried again.
_COLD_SECONDS = 60.0
_STATUS_BYTES = 64


def is_supported() -> bool:
    """Tell whether this system has what the server needs."""
    return sys.platform == "linux"


def start(source: int, request: dict[str, Any]) -> "WarmChild":
    """Have the process's server, started if need be, fork a child for a file. Raises NoChild."""
    try:
        return _server().fork(source, json.dumps(request).encode())
    except OSError as error:
        raise NoChild(str(error)) from error


def share() -> None:
    """Start a server that the processes to be forked from this one use too; it stays however seldom it is asked.

    Where it cannot be started, or once it has died, each process starts its own on its next file.
    """
    global _current
    with _choosing, suppress(OSError):
        if is_supported():
            _current = _current or _Server(is_shared=True)


def running_pid() -> int | None:
    """Return the process id of this process's server while it lives."""
    return _current.pid if _current is not None and _current.is_alive() else None


class WarmChild:
    """A child of the server (see `child_process.Child`)."""

    def __init__(self, server: "_Server", answer: int, status: socket.socket) -> None:
        self.answer = answer
        self._server = server
        self._status = status
        self._is_started = False
        self._return_code: int | None = None

    def has_started(self) -> bool:
        """See Child. A server that has not even forked by the time that this is asked is not used again."""
        with suppress(NoChild):
            self._listen(seconds=0)
        if not self._is_started:
            self._server.discard()
        return self._is_started

    def end(self, *, patient: bool) -> int:
        """See Child."""
        try:
            if patient:
                self._listen(seconds=WAIT_SECONDS)
            if self._return_code is None:
                self._kill()
            if self._return_code is None:
                raise NoChild("the fork server did not tell how the child ended")
            return self._return_code
        finally:
            self._status.close()
            os.close(self.answer)

    def _kill(self) -> None:
        """Have the server kill the child's session: only it knows that the number is still the child's."""
        with suppress(OSError):
            self._status.shutdown(socket.SHUT_WR)
        self._listen(seconds=_KILL_SECONDS)

    def _listen(self, *, seconds: float) -> None:
        """Take in what the server tells until the child has ended or the time is up. Raises NoChild."""
        deadline = time.monotonic() + seconds
        while self._return_code is None and self._hears_within(max(0.0, deadline - time.monotonic())):
            message = self._status.recv(_STATUS_BYTES)
            if message == STARTED:
                self._is_started = True
            elif message in {b"", REFUSED}:
                self._server.discard_if_dead()
                raise NoChild("the fork server could not fork" if message else "the fork server has ended")
            else:
                self._server.has_served = True
                self._return_code = int(message)

    def _hears_within(self, seconds: float) -> bool:
        # poll, not select: a busy process has descriptors above 1,023.
        waiting = select.poll()
        waiting.register(self._status, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))


class _Server:
    """One server process and the socket that it hangs on."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.has_served = False
        self.is_shared = is_shared
        self.is_inherited = False
        self._sending = threading.Lock()
        self._control, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_SEND_SECONDS)
        with far_end:
            self._process = subprocess.Popen(  # noqa: S603  (our own program)
                [sys.executable, "-E", "-s", "-m", PROGRAM, str(far_end.fileno()), *([STAYS] if is_shared else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(far_end.fileno(),),
                env={},
                cwd=PROJECT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def fork(self, source: int, request: bytes) -> WarmChild:
        """Send one request. Raises OSError, and NoChild for a request that is too long to send."""
        if len(request) > MAX_REQUEST_BYTES:
            raise NoChild("the request is too long for the fork server")
        with ExitStack() as undo, ExitStack() as sent:
            answer, far_answer = os.pipe()
            undo.callback(os.close, answer)
            sent.callback(os.close, far_answer)
            status, far_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(status.close)
            sent.callback(far_status.close)
            self._send(request, [source, far_answer, far_status.fileno()])
            undo.pop_all()
        return WarmChild(self, answer, status)

    def _send(self, request: bytes, descriptors: list[int]) -> None:
        try:
            with self._sending:
                socket.send_fds(self._control, [request], descriptors)
        except (ConnectionError, TimeoutError):
            self.discard()
            raise

    def is_alive(self) -> bool:
        """Tell whether the process runs and holds its end of the socket, which it lets go of first."""
        control = self._control.fileno()
        if control < 0 or (not self.is_inherited and self._process.poll() is not None):
            return False
        waiting = select.poll()
        waiting.register(control, select.POLLIN)
        return not waiting.poll(0)

    def discard_if_dead(self) -> None:
        if not self.is_alive():
            self.discard()

    def discard(self) -> None:
        """End the process and its children, or let go of an inherited one; the next file starts another one."""
        global _current, _cold_until
        with _choosing:
            if _current is not self:
                return
            _current = None
            if not self.has_served:
                _cold_until = time.monotonic() + _COLD_SECONDS
        # Only who started it knows that the number is still its own.
        if not self.is_inherited:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.wait()
        with self._sending:
            self._control.close()

    def inherit(self) -> "_Server | None":
        """Return what a forked process has of its parent's server: the same if shared; else it lets go of it."""
        self._process.returncode = 0
        if not self.is_shared:
            self._control.close()
            return None
        self.is_inherited, self._sending = True, threading.Lock()
        return self


_choosing = threading.Lock()
_current: _Server | None = None
_cold_until = 0.0


def _server() -> _Server:
    """Return the process's living server. Raises OSError; NoChild shortly after one that never served."""
    global _current
    if _current is not None:
        _current.discard_if_dead()
    with _choosing:
        if _current is None:
            if time.monotonic() < _cold_until:
                raise NoChild("the last fork server ended before it had served anything")
            _current = _Server()
        return _current


def _begin_anew() -> None:
    """Begin after a fork with a shared server or none; another thread may have held the locks."""
    global _choosing, _current
    _choosing = threading.Lock()
    _current = _current and _current.inherit()


def _end() -> None:
    """End the server with its process, which would also end by itself."""
    if _current is not None and not _current.is_inherited:
        _current.discard()


atexit.register(_end)
os.register_at_fork(after_in_child=_begin_anew)
