"""Make `.venv` and install one hash-pinned requirements file into it, once per content of the file.

Usage: `python3 config/launcher/bootstrap.py embedded|dev|bench`. Run by whatever `python3` the
machine has, so the standard library only, and no syntax that Python 3.7 cannot read: it must live
long enough to say which Python is needed. Every failure is one line and exit code 1.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
OLDEST_PYTHON = (3, 11)
PIP_OPTIONS = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2", "--require-hashes")
OFFLINE_SIGNS = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Network is unreachable",
    "Temporary failure in name resolution",
    "Connection refused",
)


def ensure(name: str) -> None:
    """Make `.venv` hold `requirements/<name>.txt`; a stamp with the file's hash makes this free the next time."""
    requirements = ROOT / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = VENV / f"installed-{name}"
    if read(stamp) == digest and is_whole():
        return
    check_python()
    check_writable()
    with Path(__file__).open(encoding="utf-8") as lock:
        # A `make test` beside a `make run` waits here.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if read(stamp) == digest and is_whole():
            return
        make_venv()
        install(requirements)
        stamp.write_text(digest, encoding="ascii")


def is_whole() -> bool:
    """Tell whether `.venv` serves the Python that it links to: another one since an upgrade finds no package in it."""
    return VENV_PYTHON.exists() and run(str(VENV_PYTHON), "-c", "import pip")[0] == 0


def check_python() -> None:
    """Refuse a Python that is too old or that cannot make virtual environments."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info < OLDEST_PYTHON:
        fail(
            f"Python 3.11 or newer is needed, {sys.executable} is Python {here}; "
            "name another one: make PYTHON=/path/to/python3.11"
        )
    if not VENV_PYTHON.exists() and not importlib.util.find_spec("ensurepip"):
        fail(f"python3-venv is missing; on Debian or Ubuntu: apt install python{here}-venv")


def check_writable() -> None:
    """Refuse a project folder in which `.venv` cannot be made or changed."""
    folder = VENV if VENV.is_dir() else ROOT
    probe = folder / f".writable-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        fail(f"cannot write to {folder}: {error.strerror}")


def make_venv() -> None:
    """Make `.venv` unless a whole one is there; one whose making was interrupted is made anew."""
    if VENV_PYTHON.exists() and run(str(VENV_PYTHON), "-m", "pip", "--version")[0] == 0:
        return
    say(f"Making .venv with Python {sys.version_info[0]}.{sys.version_info[1]} ...")
    code, output = run(sys.executable, "-m", "venv", "--clear", str(VENV))
    if code:
        fail(f"cannot make {VENV}: {telling_line(output)}")


def install(requirements: Path) -> None:
    """Install a requirements file; pip itself compares every download with its pinned hash."""
    name = requirements.relative_to(ROOT)
    say(f"Installing {name} into .venv (about half a minute the first time) ...")
    code, output = run(str(VENV_PYTHON), "-m", "pip", "install", *PIP_OPTIONS, "-r", str(requirements))
    if code == 0:
        return
    if any(sign in output for sign in OFFLINE_SIGNS):
        fail("cannot reach the Python package index (no internet?); connect and run the same command again")
    fail(f"cannot install {name}: {telling_line(output)}")


def run(*command: str) -> tuple[int, str]:
    """Run a command to its end; returns its exit code and everything it printed."""
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def telling_line(output: str) -> str:
    """Return the line of a tool's output that says most: its last error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "denied" in line.lower()]
    return (errors or lines or ["no reason given"])[-1]


def read(path: Path) -> str:
    """Return a small file's text, or nothing."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def say(line: str) -> None:
    """Print a line now, also into a pipe."""
    print(line, flush=True)


def fail(line: str) -> NoReturn:
    """Print one line and leave."""
    print(f"make: {line}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    try:
        ensure(sys.argv[1] if len(sys.argv) > 1 else "embedded")
    except KeyboardInterrupt:
        fail("interrupted; the next start goes on from here")
    except OSError as error:
        fail(f"cannot write to {error.filename or ROOT}: {error.strerror}")
