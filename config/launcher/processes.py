"""Child processes that cannot outlive us, and the search for ones that an earlier, killed run left behind.

Three nets, because each has a hole: a parent-death signal reaches a direct child only; adoption
(PR_SET_CHILD_SUBREAPER) gives us the orphans of a child that died, while we live; a marker in the
environment finds whatever is left when we were killed ourselves. All three are Linux; elsewhere
only the sessions and the servers' own pid files serve.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MARKER = "AUTOMATION_LAUNCHER"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded once in the parent: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PROC = Path("/proc")


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: int | None,
    death_signal: int = signal.SIGTERM,
    new_session: bool = True,
    user: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child that gets `death_signal` when we die.

    A session of its own keeps the terminal's Ctrl-C away from it. Call from the main thread only:
    the parent-death signal follows the thread that forked.
    """
    parent = os.getpid()

    def before_exec() -> None:
        die_with_parent(death_signal, parent=parent)

    return subprocess.Popen(
        command,
        env=dict(env),
        cwd=cwd,
        stdin=None if output is None else subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=new_session,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        preexec_fn=before_exec,  # noqa: PLW1509  (the launcher has one thread)
    )


def die_with_parent(death_signal: int, *, parent: int) -> None:
    """Ask the kernel for `death_signal` when `parent` dies, and obey at once if it already has."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != parent:
        os.kill(os.getpid(), death_signal)


def adopt_orphans() -> None:
    """Become the parent of our descendants whose own parent dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def orphans(known: set[int]) -> list[int]:
    """Return the living adopted children beside the `known` ones; dead ones are reaped on the way."""
    alive = []
    me = os.getpid()
    for pid, state, parent in _table():
        if parent != me or pid in known:
            continue
        if state == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        else:
            alive.append(pid)
    return alive


def running(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    if not _PROC.is_dir():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    return any(found == pid and state != "Z" for found, state, _ in _table(only=pid))


def marked(value: str) -> list[int]:
    """Return the processes other than us whose environment carries our marker with this value."""
    needle = f"{MARKER}={value}".encode()
    found = []
    for pid, state, _ in _table():
        if state == "Z" or pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if needle in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def working_in(folder: Path, program: str) -> list[int]:
    """Return the processes of `program` whose current folder is `folder` (servers change into their data)."""
    found = []
    for pid, state, _ in _table():
        if state == "Z":
            continue
        with contextlib.suppress(OSError):
            entry = _PROC / str(pid)
            if (entry / "cwd").readlink() == folder and (entry / "exe").readlink().name == program:
                found.append(pid)
    return found


def send(pid: int, number: int) -> None:
    """Signal one process if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """SIGKILL the whole session of a child, also when the child itself is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.02) -> bool:
    """Poll until the condition holds; returns False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def _table(only: int | None = None) -> list[tuple[int, str, int]]:
    """Return (pid, state letter, parent pid) of every process, or of one."""
    rows = []
    for name in [str(only)] if only is not None else _numbers():
        with contextlib.suppress(OSError):
            # The command's name stands in brackets and may itself hold blanks and brackets.
            fields = (_PROC / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
            rows.append((int(name), fields[0], int(fields[1])))
    return rows


def _numbers() -> list[str]:
    return [entry.name for entry in _PROC.iterdir() if entry.name.isdigit()] if _PROC.is_dir() else []
