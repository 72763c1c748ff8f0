"""Mutants uploaded to the running product: HTTP, broker, worker, database, all real."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos import stack
from tests.chaos.stack import Stack
from tests.fuzz.judge import CODES
from tests.fuzz.mutants import Mutant
from tests.fuzz.resources import below

ERROR_KEYS = {"detail", "timestamp", "path", "error_code", "error", "message", "request_id"}
_WALL_SECONDS, _CPU_SECONDS = 20, 10
# Two children at a time, each within its wall limit, is the slowest that a queue of mutants may be.
_POLL_SECONDS = 0.1
_WORKERS = ("web", "flow", "io", "files", "beat")


@dataclass
class Report:
    """Outcomes by status or code, and what was wrong."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[Mutant, str]] = field(default_factory=list)


def run(mutants: Sequence[Mutant], scratch: Path) -> Report:
    """Upload every mutant, wait for its end, and look whether anything of the product died over it."""
    settings = {
        "ALLOWED_EXTENSIONS": ",".join(sorted({mutant.extension for mutant in mutants})),
        "EXTRACT_WALL_SECONDS": str(_WALL_SECONDS),
        "EXTRACT_CPU_SECONDS": str(_CPU_SECONDS),
        "TMPDIR": str(scratch),
    }
    with stack.running("127.0.0.1:9", **settings) as product:
        return _Run(product).report(mutants)


class _Run:
    def __init__(self, product: Stack) -> None:
        self._product = product
        self._report = Report()
        self._client = httpx.Client(
            base_url=product.api.base_url,
            headers={"X-API-Key": product.environ["API_KEY"]},
            timeout=60,
            trust_env=False,
        )

    def report(self, mutants: Sequence[Mutant]) -> Report:
        with self._client:
            # The first shows that every process is up.
            self._await(self._accepted(mutants[:1]))
            workers = self._workers()
            self._await(self._accepted(mutants[1:]))
            if lost := workers - self._workers():
                self._fault(mutants[-1], f"processes died: {lost}; {self._product.last_words('files')[-1000:]}")
            if self._product.restarts:
                self._fault(mutants[-1], f"{self._product.restarts} processes were started again")
        return self._report

    def _accepted(self, mutants: Sequence[Mutant]) -> dict[int, Mutant]:
        found = {self._upload(mutant): mutant for mutant in mutants}
        return {file_id: mutant for file_id, mutant in found.items() if file_id is not None}

    def _upload(self, mutant: Mutant) -> int | None:
        """Return the id of an accepted file; a refusal must be the contract's."""
        try:
            answer = self._client.post("/files/upload", files={"file": (mutant.name, mutant.content)})
            body = answer.json()
        except (httpx.TransportError, ValueError) as error:
            self._fault(mutant, f"the upload was not answered: {error!r}")
            return None
        if answer.status_code == httpx.codes.OK:
            return int(body["id"])
        self._report.outcomes[f"{answer.status_code} {body.get('error_code')}"] += 1
        if answer.status_code != httpx.codes.BAD_REQUEST or not set(body) >= ERROR_KEYS:
            self._fault(mutant, f"the upload was answered {answer.status_code} {answer.text[:300]}")
        return None

    def _await(self, waiting: dict[int, Mutant]) -> None:
        give_up_at = time.monotonic() + (_WALL_SECONDS + 5) * (len(waiting) / 2 + 2)
        while waiting and time.monotonic() < give_up_at:
            self._product.tend()
            file_id = next(iter(waiting))
            body = self._file(file_id, waiting[file_id])
            if body is None or body["status"] in {"processed", "failed"}:
                self._ended(waiting.pop(file_id), body)
            else:
                time.sleep(_POLL_SECONDS)  # polling a server, as clients do
        for mutant in waiting.values():
            self._fault(mutant, "neither processed nor failed")

    def _file(self, file_id: int, mutant: Mutant) -> dict[str, Any] | None:
        answer = self._client.get(f"/files/{file_id}")
        if answer.status_code == httpx.codes.OK:
            found: dict[str, Any] = answer.json()
            return found
        self._fault(mutant, f"GET was answered {answer.status_code} {answer.text[:300]}")
        return None

    def _ended(self, mutant: Mutant, body: dict[str, Any] | None) -> None:
        if body is None:
            return
        self._report.outcomes[body["error_code"] or body["status"]] += 1
        if body["status"] == "failed" and (body["error_code"] not in CODES or not body["error_message"]):
            self._fault(mutant, f"failed with {body['error_code']!r}: {body['error_message']!r}")

    def _fault(self, mutant: Mutant, sentence: str) -> None:
        self._report.violations.append((mutant, sentence))

    def _workers(self) -> set[tuple[str, int]]:
        """Return name and id of the processes, those of the workers' pools included, extraction children left out."""
        found = set()
        for name in _WORKERS:
            popen = self._product.process(name).popen
            pids = [popen.pid, *below(popen.pid)] if popen else []
            found |= {(name, pid) for pid in pids if not _is_extraction(pid)}
        return found


def _is_extraction(pid: int) -> bool:
    """Tell whether a process is no worker but reads files; also one that has just ended."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return not command or b"files.extraction_child" in command or b"fork_server" in command
