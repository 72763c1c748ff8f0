"""From the upload of a 2-page PDF to its text, and to the end of the workflow that it starts, by a client's clock.

The reference is what the machine needs for the same file when nothing else has to be done: write and sync its bytes,
and extract them in a child of their own. Both are measured in turn, so that whatever else runs slows both.
"""

import contextlib
import os
import queue
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.report import Result, median
from bench.stack import Client
from files import sandbox
from files.extractors.base import Limits

WARM_UP = 10
CLIENTS = 4
TEXT_BYTES = 100 * 1024
PAGES = 2
LINES_ON_PAGE = 40
POLL_SECONDS = 0.002
LONGEST_SECONDS = 60.0
WORKFLOW: dict[str, Any] = {
    "name": "Read the upload",
    "workflow_config": {
        "steps": [
            {"name": "read", "type": "file_process", "config": {"action": "extract"}},
            {"name": "note", "type": "log", "config": {"message": "{{steps.read.word_count}} words"}},
        ]
    },
    "trigger_on_file_upload": True,
    "trigger_file_extensions": "pdf",
}


@dataclass(frozen=True)
class Times:
    """One file, in ms: the machine's share, and from the request to the text and to the end of the workflow."""

    alone_ms: float
    processed_ms: float
    completed_ms: float


def measure(port: int, folder: Path, files: int) -> list[Result]:
    """Upload one PDF after the other, no two alike; `folder` takes the bytes of the reference."""
    folder.mkdir(exist_ok=True)
    with Client(port) as client:
        workflow_id = int(client.post("/api/v1/workflows", WORKFLOW)["id"])
        taken = [_once(client, workflow_id, folder / f"{number}.pdf", number) for number in range(WARM_UP + files)]
        client.put(f"/api/v1/workflows/{workflow_id}", {"is_enabled": False})
    return _results(taken[WARM_UP:])


def per_second(port: int, folder: Path, *, files: int, rounds: int) -> list[Result]:
    """Upload files of 100 KiB from CLIENTS connections, in turn with writing and syncing the like by themselves.

    The workers of the same machine extract meanwhile what has come in.
    """
    folder.mkdir(exist_ok=True)
    uploaded, written = [], []
    for turn in range(rounds + 1):
        contents = [_text(turn, number) for number in range(files)]
        written.append(files / _seconds(partial(_write_one, folder), contents))
        with contextlib.ExitStack() as stack:
            free = queue.SimpleQueue[Client]()
            for _ in range(CLIENTS):
                free.put(stack.enter_context(Client(port)))
            uploaded.append(files / _seconds(partial(_upload, free), contents))
        for path in folder.iterdir():
            path.unlink()
    name = f"uploads of {TEXT_BYTES // 1024} KiB by {CLIENTS} clients, next to files written and synced"
    return [Result(name, "1/s", median(uploaded[1:]), median(written[1:]), more_is_better=True)]


def _text(turn: int, number: int) -> tuple[str, bytes]:
    line = f"{turn} {number} of a text that no other upload has\n".encode()
    return f"{number}.txt", (line * (TEXT_BYTES // len(line) + 1))[:TEXT_BYTES]


def _seconds(act: Callable[[tuple[str, bytes]], None], items: Sequence[tuple[str, bytes]]) -> float:
    """Return how long it takes to do something with all items, CLIENTS at once."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        began_at = time.perf_counter()
        list(pool.map(act, items))
        return time.perf_counter() - began_at


def _upload(free: "queue.SimpleQueue[Client]", item: tuple[str, bytes]) -> None:
    client = free.get()
    client.upload("/api/v1/files/upload", *item)
    free.put(client)


def _write_one(folder: Path, item: tuple[str, bytes]) -> None:
    name, content = item
    _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _once(client: Client, workflow_id: int, path: Path, number: int) -> Times:
    lines = [f"Invoice {number}, line {line}: 3 crates of apples, 12.50" for line in range(PAGES * LINES_ON_PAGE)]
    content = pdf(lines)
    alone_ms = _alone_ms(path, content)
    began_at = time.perf_counter()
    file_id = int(client.upload("/api/v1/files/upload", path.name, content)["id"])
    _poll(lambda: _is_processed(client, file_id), began_at)
    processed_ms = (time.perf_counter() - began_at) * 1000
    _poll(lambda: _is_completed(client, workflow_id, file_id), began_at)
    return Times(alone_ms, processed_ms, (time.perf_counter() - began_at) * 1000)


def _alone_ms(path: Path, content: bytes) -> float:
    began_at = time.perf_counter()
    _write(path, content)
    extracted = sandbox.run_extraction(path, "pdf", Limits())
    milliseconds = (time.perf_counter() - began_at) * 1000
    if extracted.metadata["pdf_pages"] != PAGES:
        raise RuntimeError(f"the PDF came out with {extracted.metadata}")
    return milliseconds


def _is_processed(client: Client, file_id: int) -> bool:
    file = client.get(f"/api/v1/files/{file_id}")
    if file["status"] == "failed":
        raise RuntimeError(f"file {file_id}: {file['error_code']} {file['error_message']}")
    return bool(file["status"] == "processed")


def _is_completed(client: Client, workflow_id: int, file_id: int) -> bool:
    """Ask for the workflow's latest execution, which is the file's: the one before has ended."""
    for execution in client.get(f"/api/v1/workflows/{workflow_id}/executions?limit=1"):
        if execution["input_file_ids"] == [file_id]:
            if execution["status"] not in {"pending", "running", "completed"}:
                raise RuntimeError(f"execution {execution['id']} is {execution['status']}")
            return bool(execution["status"] == "completed")
    return False


def _poll(done: Callable[[], bool], began_at: float) -> None:
    while not done():
        if time.perf_counter() - began_at > LONGEST_SECONDS:
            raise RuntimeError(f"an upload was not done within {LONGEST_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _results(taken: Sequence[Times]) -> list[Result]:
    alone = _percentiles([times.alone_ms for times in taken])
    processed = _percentiles([times.processed_ms for times in taken])
    completed = _percentiles([times.completed_ms for times in taken])
    return [
        Result(f"2-page PDF, upload to {end}, p{percent}", "ms", ours[percent], alone[percent])
        for end, ours in (("processed", processed), ("workflow completed", completed))
        for percent in (50, 99)
    ]


def _percentiles(values: Sequence[float]) -> dict[int, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {50: cuts[49], 99: cuts[98]}


def pdf(lines: Sequence[str]) -> bytes:
    """Return a PDF of two pages that share these lines. Lines are ASCII without brackets and backslashes."""
    half = len(lines) // PAGES
    return pdf_pages([lines[at * half : (at + 1) * half] for at in range(PAGES)])


def pdf_pages(pages: Sequence[Sequence[str]]) -> bytes:
    """Return a PDF by the lines of each page."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} /MediaBox [0 0 595 842] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, lines in enumerate(pages):
        stream = _page_content(lines)
        font = "<< /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Resources {font} /Contents {5 + 2 * at} 0 R >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    return _pdf_file(objects)


def _page_content(lines: Sequence[str]) -> str:
    return "BT /F1 10 Tf 14 TL 72 780 Td\n" + "\n".join(f"({line}) Tj T*" for line in lines) + "\nET"


def _pdf_file(objects: Sequence[str]) -> bytes:
    """Number the objects from 1, and end with the table of where each begins."""
    written, offsets = ["%PDF-1.4\n"], []
    length = len(written[0])
    for number, content in enumerate(objects, 1):
        offsets.append(length)
        written.append(f"{number} 0 obj\n{content}\nendobj\n")
        length += len(written[-1])
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{length}\n%%EOF\n"
    return f"{''.join(written)}xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode("ascii")
