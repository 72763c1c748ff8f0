"""Files that run commands in their extraction child, and what can be seen of the processes that they leave."""

import gc
import sys
import threading
import time
from pathlib import Path

from files.child_process import PROJECT

NEVER_HUNG_SECONDS = 30.0
# Run in the place of Python: makes of a .txt file a program whose `text` is the extraction.
COMMANDS = """
import os, runpy, sys
from pathlib import Path
from types import ModuleType

sys.path.insert(0, {project!r})
from files.extractors import registry
from files.extractors.base import Extraction

def extract(content, limits):
    parent = Path(f"/proc/{{os.getppid()}}/cmdline").read_bytes()
    names = {{"os": os, "Path": Path, "folder": Path({folder!r}), "is_warm": b"fork_server_main" in parent}}
    exec(content.decode(), names)
    return Extraction(text=names["text"])

registry.load = lambda extension: extract
module = sys.argv.pop(1)
if module == "files.fork_server_main" and Path({folder!r}, "no forks").exists():
    def fork():
        raise BlockingIOError(11, "Resource temporarily unavailable")
    os.fork = fork
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def python_that_runs_commands(tmp_path: Path, folder: Path) -> Path:
    """Return a program to stand for Python, under which .txt files are programs that may leave files in `folder`."""
    program, python = tmp_path / "commands.py", tmp_path / "python"
    program.write_text(COMMANDS.format(project=str(PROJECT), folder=str(folder)))
    python.write_text(f'#!/bin/sh\nexec env -i {sys.executable} -E -s {program} "$4" "$5"\n')
    python.chmod(0o755)
    return python


def comes(condition, seconds: float = NEVER_HUNG_SECONDS) -> bool:
    """Wait for a condition; False when it does not come."""
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return bool(held)


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def left(folder: Path, kind: str) -> list[int]:
    """Return the numbers that files named `<kind> <number>` tell."""
    return [int(path.name.removeprefix(f"{kind} ")) for path in folder.glob(f"{kind} *")]


def descriptors() -> int:
    """Return how many descriptors this process has open, without those that garbage of other tests still holds."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))
