"""Every format next to the raw library, and to markitdown: how fast it is read, and the memory that this takes.

Parsing is timed in processes that have imported already; ours also end to end as a worker does it, the start of the
process included. The readers take turns, so that whatever else runs slows all of them.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.format_documents import Document, documents
from bench.format_readers import RAW
from bench.processes import Peer
from bench.report import Result, median
from files import sandbox
from files.extractors.base import Limits

OURS, RAW_LIBRARY, MARKITDOWN = "ours", "raw", "markitdown"
# Smaller files say more about a call than about reading.
LARGE_BYTES = 1024**2
SHARE_OF_RAW = 0.7
_CSV_MIB = 80
# What takes longer is asked only once.
_SLOW_SECONDS = 3.0
_MIB = 1024**2
# markitdown takes these, but gives their markup as it stands, or nothing of a page that is a picture.
_NOT_ITS = frozenset({"rtf", "eml", "png"})
_SCANNED = "PDF, a scanned page"
# olefile opens DOC files but knows no Word: its figure is a floor, not the same reading.
_FLOORS = frozenset({"doc"})


@dataclass
class Times:
    """Of one document: seconds of every round by reader, and peaks of memory."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    end_to_end: list[float] = field(default_factory=list)
    peak_mib: dict[str, float] = field(default_factory=dict)


def measure(folder: Path, *, env: Mapping[str, str], rounds: int) -> list[Result]:
    """Read every document `rounds` times by every reader that can; `folder` takes the documents and logs."""
    folder.mkdir(exist_ok=True)
    results: list[Result] = []
    for document in documents():
        path = folder / f"document.{document.extension}"
        path.write_bytes(document.content)
        times = _timed(document, path, env, rounds)
        results += _results(document, times)
        path.unlink()
    return results


def _timed(document: Document, path: Path, env: Mapping[str, str], rounds: int) -> Times:
    times = Times()
    kinds = [OURS, *([RAW_LIBRARY] if document.extension in RAW else []), MARKITDOWN]
    with contextlib.ExitStack() as stack:
        peers = {kind: stack.enter_context(_peer(kind, document.extension, path.parent, env)) for kind in kinds}
        for number in range(rounds + 1):
            for kind, peer in list(peers.items()):
                if not (found := peer.ask(path=str(path))).get("characters"):
                    del peers[kind]  # it cannot read this format
                elif number:
                    times.seconds[kind].append(found["seconds"])
                else:
                    # The first reading also imports what is imported late; it counts where that is next to nothing.
                    times.peak_mib[kind] = found["peak_mib"]
                    times.seconds[kind] = [found["seconds"]] if found["seconds"] > _SLOW_SECONDS else []
                    if found["seconds"] > _SLOW_SECONDS:
                        del peers[kind]
            began_at = time.perf_counter()
            sandbox.run_extraction(path, document.extension, Limits(ocr_language="eng"))
            if number:
                times.end_to_end.append(time.perf_counter() - began_at)
    return times


def _peer(kind: str, extension: str, folder: Path, env: Mapping[str, str]) -> Peer:
    return Peer("bench.format_readers", kind, extension, env=env, log=folder / f"{kind}.log")


def _results(document: Document, times: Times) -> list[Result]:
    seconds = {kind: median(values) for kind, values in times.seconds.items()}
    end_to_end_ms = median(times.end_to_end) * 1000
    size = len(document.content) / _MIB
    results = [Result(f"{document.name}, end to end", "ms", end_to_end_ms, aim=document.aim_ms)]
    if RAW_LIBRARY in seconds:
        is_aim = len(document.content) >= LARGE_BYTES and document.extension not in _FLOORS
        aim = SHARE_OF_RAW if is_aim else None
        name = f"{document.name}, parsing next to the raw library"
        rates = (size / seconds[OURS], size / seconds[RAW_LIBRARY])
        results.append(Result(name, "MiB/s", *rates, aim, more_is_better=True))
    if MARKITDOWN in seconds and document.extension not in _NOT_ITS and document.name != _SCANNED:
        name = f"{document.name}, parsing next to markitdown"
        results.append(Result(name, "ms", seconds[OURS] * 1000, seconds[MARKITDOWN] * 1000, aim=1))
    results.append(_memory(document, times))
    if document.extension == "csv":
        results.append(Result(f"{document.name}, peak memory", "MiB", times.peak_mib[OURS], aim=_CSV_MIB))
    return results


def _memory(document: Document, times: Times) -> Result:
    peaks = times.peak_mib
    return Result(f"{document.name}, peak memory next to markitdown", "MiB", peaks[OURS], peaks.get(MARKITDOWN))
