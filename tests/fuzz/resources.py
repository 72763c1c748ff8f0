"""What a process holds: descriptors, descendants, temporary files, memory. Only where there is a /proc."""

import ctypes
import gc
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc/self")
_PR_SET_CHILD_SUBREAPER = 36
_M_ARENA_MAX = -8


@dataclass(frozen=True)
class Held:
    """What this process held at one moment."""

    descriptors: int
    descendants: frozenset[int]
    temporary_files: int


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, so that none can hide."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def use_one_heap() -> None:
    """Let our threads share one heap, as in a worker, which has none: freed memory of several looks like a leak."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def held(scratch: Path) -> Held:
    """Count what is held now, garbage left out; `scratch` is where temporary files go."""
    gc.collect()
    descriptors = len(list((_PROC / "fd").iterdir())) if _PROC.is_dir() else 0
    files = sum(1 for path in scratch.rglob("*") if not path.is_socket())
    return Held(descriptors, frozenset(below(os.getpid())), files)


def below(pid: int) -> list[int]:
    """Return all descendants of a process, also those that have ended and were not collected."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found + [deeper for child in found for deeper in below(child)]


def resident_mib() -> float:
    """Return this process's memory after everything that can be given back was."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return _status("VmRSS")


def peak_mib() -> float:
    """Return the most memory that this process ever had."""
    return _status("VmHWM")


def _status(name: str) -> float:
    with suppress(OSError):
        for line in (_PROC / "status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0
