"""The warm fork server's program: forks a child per request out of a process that has the parsers loaded.

Started by `files.fork_server` with an empty environment and the number of its control socket as the argument. Each
message on that socket is one request of `files.extraction_child` as JSON, with three descriptors: the file, the pipe
for the answer, and a status socket of the request's own. There the server tells `started` or `refused` (no process
could be had), and at last the child's exit status as Popen gives it. An asker that closes or shuts down its end of
the status socket has the child's session killed. The end of the control socket ends the server and all its children.

No thread is ever started here, which makes forking safe whatever was imported; PDFium is initialised before the fork,
in memory only. The server looks at no file itself.
"""

import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

from files import extraction_child
from files.extractors import registry

STARTED, REFUSED = b"started", b"refused"
# The argument of a server that does not end for want of work.
STAYS = "stays"
MAX_REQUEST_BYTES = 100 * 1024
# The extractors of all formats, and what some of them import only when they run. Left out is what takes long anyway
# (pdfplumber, Tesseract) or is seldom wanted (chardet).
_PRELOADED = ("clevercsv", "clevercsv.exceptions", "pypdfium2", "python_calamine")
_REQUEST_DESCRIPTORS = 3
_FIRST_FREE_DESCRIPTOR, _LAST_DESCRIPTOR = 3, 2**30
# A process that reads files seldom shall not keep the parsers in memory for ever.
_IDLE_SECONDS = 600.0


def main() -> None:
    """Import the parsers, then serve until the asker goes away or nothing has been asked for long."""
    control = socket.socket(fileno=int(sys.argv[1]))
    extraction_child.hold_threads_down()
    _preload()
    _allow_descriptors()
    ForkServer(control).serve(idle_seconds=None if STAYS in sys.argv else _IDLE_SECONDS)


def _preload() -> None:
    for extension in registry.extensions():
        with suppress(ImportError):
            registry.load(extension)
    for name in _PRELOADED:
        with suppress(ImportError):
            import_module(name)
    gc.collect()
    # What is never collected again is never written to, so children go on sharing it.
    gc.freeze()


def _allow_descriptors() -> None:
    """Each child at work takes one descriptor here; children have a limit of their own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class ForkServer:
    """The children at work, by process id, with the status socket of each."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._at_work: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._take_request)
        self._selector.register(_death_bell(), selectors.EVENT_READ, self._collect)
        self._is_over = False

    def serve(self, *, idle_seconds: float | None) -> None:
        """Fork and collect children until the end, or until nothing has been asked for so long."""
        while not self._is_over:
            events = self._selector.select(None if self._at_work else idle_seconds)
            if not events and not self._at_work:
                return
            for key, _ in events:
                key.data(key.fileobj)
        for pid in self._at_work:
            _kill(pid)

    def _take_request(self, control: socket.socket) -> None:
        message, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, _REQUEST_DESCRIPTORS)
        self._is_over = not message
        if len(descriptors) == _REQUEST_DESCRIPTORS:
            self._fork(json.loads(message), *descriptors)
        else:
            _close(descriptors)

    def _fork(self, request: dict[str, Any], source: int, answer: int, status_descriptor: int) -> None:
        status = socket.socket(fileno=status_descriptor)
        request["parent"] = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            _tell(status, REFUSED)
            status.close()
        else:
            if pid == 0:
                _become_child(request, source, answer)
            self._at_work[pid] = status
            self._selector.register(status, selectors.EVENT_READ, partial(self._stop, pid))
            _tell(status, STARTED)
        finally:
            _close([source, answer])

    def _stop(self, pid: int, status: socket.socket) -> None:
        """Kill a child whose asker has gone or has had enough. Its number is its own until it is collected."""
        if pid in self._at_work:
            self._selector.unregister(status)
            _kill(pid)

    def _collect(self, bell: socket.socket) -> None:
        """Collect all children that have ended, and with each whatever it has started."""
        with suppress(BlockingIOError):
            bell.recv(4096)
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _kill(ended.si_pid)
                _, how = os.waitpid(ended.si_pid, 0)
                self._tell_end(self._at_work.pop(ended.si_pid), os.waitstatus_to_exitcode(how))

    def _tell_end(self, status: socket.socket, return_code: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(status)
        _tell(status, b"%d" % return_code)
        status.close()


def _death_bell() -> socket.socket:
    """Return a socket that has something to read when a child has ended."""
    bell, rope = socket.socketpair()
    bell.setblocking(False)
    rope.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(rope.detach(), warn_on_full_buffer=False)
    return bell


def _become_child(request: dict[str, Any], source: int, answer: int) -> NoReturn:
    """Do one request's job as a plain extraction child would, then end without the server's clearing up."""
    return_code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        # Neither is 0 or 1: those were taken when the server started.
        os.dup2(source, 0)
        os.dup2(answer, 1)
        os.closerange(_FIRST_FREE_DESCRIPTOR, _LAST_DESCRIPTOR)
        extraction_child.run(request)
        return_code = 0
    finally:
        # Also where something is being raised: nothing above this frame is the child's to do.
        os._exit(return_code)


def _kill(pid: int) -> None:
    """Kill a child and its session, which it may not have begun yet."""
    os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tell(status: socket.socket, message: bytes) -> None:
    with suppress(OSError):  # the asker may have gone
        status.send(message, socket.MSG_DONTWAIT)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    main()
