"""Many documents of every kind at once, while the worker that extracts them is killed."""

import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from config.launcher import processes
from tests import documents
from tests.chaos import stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

CLIENTS = 8
IN_ONE_REQUEST = 40
KILL_AFTER_FILES = 40
LONGEST_SECONDS = 60.0
POLL_SECONDS = 0.05
TABLES = ("csv", "xlsx")
TWINS = 4
CODES = {"encrypted": 10, "too_large": 10, "corrupt": 8, "type_mismatch": 4}
Found = TypeVar("Found")


@dataclass(frozen=True)
class Document:
    """One upload and what has to become of it: its text, or the code of its failure."""

    name: str
    content: bytes
    text: str | None = None
    code: str | None = None

    @property
    def extension(self) -> str:
        return self.name.rpartition(".")[2]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the product's processes put temporary files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def product(scratch: Path) -> Iterator[stack.Stack]:
    with stack.running("127.0.0.1:9", TMPDIR=str(scratch)) as running:
        yield running


@pytest.fixture
def client(product: stack.Stack) -> Iterator[httpx.Client]:
    """Ask once and never again, so that what was accepted is known exactly."""
    with product.client() as made:
        yield made


# --- The documents ------------------------------------------------------------------------------


def accepted_documents() -> list[Document]:
    """Return 200 documents, 40 of each format, 32 of them bad in ways that only extraction finds; in a fixed mix."""
    made = [*pdfs(), *word_documents(), *texts(), *comma_separated(), *workbooks()]
    random.Random(200).shuffle(made)
    return made


def pdfs() -> Iterator[Document]:
    for n in range(32):
        first, second = f"Report {n}", f"Page 2 of {n}"
        yield Document(f"good {n}.pdf", documents.pdf(first, second), text=f"{first}\n\n{second}")
    for n in range(4):
        yield Document(f"locked {n}.pdf", documents.pdf(f"Secret {n}", password="secret"), code="encrypted")
        yield Document(f"cut {n}.pdf", documents.truncated_pdf() + f"%{n}".encode(), code="corrupt")


def word_documents() -> Iterator[Document]:
    for n in range(30):
        content = documents.docx(f"Letter {n}", table=[["no", str(n)]], title=f"Title {n}")
        yield Document(f"good {n}.docx", content, text=f"Letter {n}\nno\t{n}\n")
    for n in range(3):
        bomb = documents.word_parts("") | {f"word/{n}.bin": bytes(8 * 1024**2)}
        yield Document(f"locked {n}.docx", documents.encrypted_office() + bytes([n]), code="encrypted")
        yield Document(f"bomb {n}.docx", documents.zipped(bomb), code="too_large")
    for n in range(2):
        workbook = documents.workbook_parts(S=documents.sheet([n])) | {"word/a": "x"}
        yield Document(f"cut {n}.docx", documents.docx(f"Cut {n}")[:-40], code="corrupt")
        yield Document(f"lying {n}.docx", documents.zipped(workbook), code="type_mismatch")


def texts() -> Iterator[Document]:
    for n in range(36):
        text = f"Größe {n}: 25 Euro\n"
        yield Document(f"good {n}.txt", text.encode(("utf-8", "utf-8-sig", "utf-16")[n % 3]), text=text)
    for n in range(TWINS):
        yield Document(f"twin {n}.txt", b"the same bytes", text="the same bytes")


def comma_separated() -> Iterator[Document]:
    for n in range(36):
        content = documents.csv(n + 1, delimiter=",;"[n % 2])
        yield Document(f"good {n}.csv", content, text=content.decode())
    for n in range(4):
        yield Document(f"bomb {n}.csv", b"," * (10_001 + n) + b"\n", code="too_large")


def workbooks() -> Iterator[Document]:
    for n in range(30):
        yield Document(f"good {n}.xlsx", documents.xlsx(Sales=[["month", n]]), text=f"Sales\nmonth\t{n}\n")
    for n in range(3):
        far = f'<row r="1"><c r="A1"><v>{n}</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
        yield Document(f"locked {n}.xlsx", documents.encrypted_office() + bytes([9, n]), code="encrypted")
        yield Document(f"bomb {n}.xlsx", documents.zipped(documents.workbook_parts(S=far)), code="too_large")
    for n in range(2):
        letter = documents.word_parts(f"<w:p>{n}</w:p>") | {"xl/a": "x"}
        yield Document(f"cut {n}.xlsx", documents.xlsx(Cut=[[n]])[:-40], code="corrupt")
        yield Document(f"lying {n}.xlsx", documents.zipped(letter), code="type_mismatch")


def refused_documents() -> list[Document]:
    """Return documents whose first bytes contradict their names."""
    return [
        Document("words.pdf", b"plain words"),
        Document("page.docx", documents.pdf("no letter")),
        Document("letter.xlsx", documents.docx("no workbook")),
        Document("archive.txt", documents.zipped({"a": "b"})),
    ]


# --- What a client does -------------------------------------------------------------------------


def upload(client: httpx.Client, document: Document) -> tuple[str, httpx.Response]:
    return document.name, client.post("/files/upload", files={"file": (document.name, document.content)})


def upload_together(client: httpx.Client, given: list[Document]) -> httpx.Response:
    return client.post("/files/upload-multiple", files=[("files", (item.name, item.content)) for item in given])


def create_workflow(client: httpx.Client, name: str, extensions: str) -> int:
    step = {"name": "note", "type": "log", "config": {"message": "{{trigger.original_filename}}"}}
    body = {
        "name": name,
        "workflow_config": {"steps": [step]},
        "trigger_on_file_upload": True,
        "trigger_file_extensions": extensions,
    }
    return int(client.post("/workflows", json=body).json()["id"])


def counts(client: httpx.Client) -> dict[str, int]:
    found: dict[str, int] = client.get("/files/stats/summary").json()["statistics"]["status_breakdown"]
    return found


def executions(client: httpx.Client, workflow_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/workflows/{workflow_id}/executions", params={"limit": 1000}).json()
    return found


def wait_for(ask: Callable[[], Found], product: stack.Stack, *, progress: Callable[[], object] = int) -> Found:
    """Ask until the answer is true; the stack restarts what died meanwhile.

    How fast the whole goes is the machine's business: given up is what makes no progress for a minute.
    """
    seen = progress()
    give_up_at = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < give_up_at:
        product.tend()
        if answer := ask():
            return answer
        if (now := progress()) != seen:
            seen, give_up_at = now, time.monotonic() + LONGEST_SECONDS
        time.sleep(POLL_SECONDS)  # polling a server, as clients do
    raise AssertionError(f"no progress in {LONGEST_SECONDS:g} s; the files lane says:\n{product.last_words('files')}")


# --- The kill -----------------------------------------------------------------------------------


def kill_files_worker_at_work(product: stack.Stack) -> list[int]:
    """SIGKILL the files worker with its pool while it waits for extraction children; returns these children.

    Everything is stopped first, so that the children certainly have not been heard when their parents die. Empty,
    and everything goes on, when no child was at work.
    """
    popen = product.process("files").popen
    assert popen is not None
    stopped: list[int] = []
    while fresh := [pid for pid in [popen.pid, *below(popen.pid)] if pid not in stopped]:
        signal_all(fresh, signal.SIGSTOP)
        stopped += fresh
    children = [pid for pid in stopped if is_extraction(pid)]
    if children:
        signal_all([pid for pid in stopped if pid not in children], signal.SIGKILL)
        popen.wait()
    signal_all(stopped, signal.SIGCONT)
    return children


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def below(pid: int) -> list[int]:
    """Return all living descendants of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found + [deeper for child in found for deeper in below(child)]


def is_extraction(pid: int) -> bool:
    """Tell whether a process is a living extraction child; what has ended shows no command."""
    try:
        process = Path(f"/proc/{pid}")
        return (process / "comm").read_bytes() == b"file-child\n" and bool((process / "cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def extraction_children(product: stack.Stack) -> list[int]:
    popen = product.process("files").popen
    return [pid for pid in below(popen.pid) if is_extraction(pid)] if popen else []


@dataclass(frozen=True)
class Sent:
    """What the server answered: ids by name, and the names that it refused for their type."""

    accepted: dict[str, int]
    refused: set[str]


@dataclass(frozen=True)
class Kill:
    """The extraction children that lost their worker, and the counts of files by status right afterwards."""

    children: list[int]
    counts: dict[str, int]


def send_all_and_kill(
    client: httpx.Client, product: stack.Stack, alone: list[Document], together: list[Document]
) -> tuple[Sent, Kill]:
    """Send by many clients, several files in one request among them, and kill the files worker meanwhile."""
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        many = pool.submit(upload_together, client, together)
        singles = [pool.submit(upload, client, document) for document in alone]
        wait_for(lambda: counts(client)["processed"] >= KILL_AFTER_FILES, product, progress=lambda: counts(client))
        children = wait_for(lambda: kill_files_worker_at_work(product), product)
        kill = Kill(children, counts(client))
    answer = many.result().json()
    accepted = {item["original_filename"]: item["id"] for item in answer["files"]}
    refused = {item["filename"] for item in answer["errors"] if "does not match its name" in item["error"]}
    for name, single in (future.result() for future in singles):
        if single.status_code == 200:
            accepted[name] = single.json()["id"]
        elif single.json()["error_code"] == "TYPE_MISMATCH":
            refused.add(name)
    return Sent(accepted, refused), kill


def all_ended(client: httpx.Client, count: int) -> dict[str, int] | None:
    """Return the counts by status once so many files are processed or failed."""
    found = counts(client)
    return found if found["processed"] + found["failed"] == count else None


def completed(client: httpx.Client, workflow_id: int, count: int) -> list[dict[str, Any]] | None:
    """Return a workflow's executions once so many, or more, have come and all are completed."""
    found = executions(client, workflow_id)
    done = len(found) >= count and all(item["status"] == "completed" for item in found)
    return found if done else None


def wait_for_runs(client: httpx.Client, product: stack.Stack, workflow_id: int, count: int) -> list[dict[str, Any]]:
    """Return a workflow's executions once so many, or more, are completed."""

    def statuses() -> Counter[str]:
        return Counter(item["status"] for item in executions(client, workflow_id))

    return wait_for(lambda: completed(client, workflow_id, count), product, progress=statuses)


def test_two_hundred_files_end_processed_or_failed_though_their_worker_is_killed(
    client: httpx.Client, product: stack.Stack, scratch: Path
) -> None:
    # Given two workflows that start for files, and 200 documents beside 4 that are refused at once.
    every = create_workflow(client, "Every file", "")
    tables = create_workflow(client, "Tables only", ",".join(TABLES))
    given, lying = accepted_documents(), refused_documents()
    together, alone = given[:IN_ONE_REQUEST] + lying[:2], given[IN_ONE_REQUEST:] + lying[2:]

    # When all are sent at once, and the files worker dies over some of them.
    sent, kill = send_all_and_kill(client, product, alone, together)
    statuses = wait_for(lambda: all_ended(client, len(given)), product, progress=lambda: counts(client))
    runs = {
        workflow_id: wait_for_runs(client, product, workflow_id, count)
        for workflow_id, count in ((every, 168), (tables, 66))
    }

    # Then it was in the middle: some files were held, more were to come.
    assert 1 <= len(kill.children) <= kill.counts["processing"] <= 2
    assert kill.counts["processed"] + kill.counts["failed"] < len(given) - kill.counts["processing"]
    assert product.restarts == 1
    # Every document was answered for.
    assert set(sent.accepted) == {document.name for document in given}
    assert len(set(sent.accepted.values())) == len(given) == 200
    assert sent.refused == {document.name for document in lying}
    # Every file is there once and ended as it must.
    listed = client.get("/files", params={"limit": 1000})
    files = {file["id"]: file for file in listed.json()}
    assert listed.headers["X-Total-Count"] == "200"
    assert set(files) == set(sent.accepted.values())
    for document in given:
        assert_ended_well(files[sent.accepted[document.name]], document, every=every, tables=tables)
    assert statuses == {"uploaded": 0, "processing": 0, "processed": 168, "failed": 32, "deleted": 0}
    assert Counter(file["error_code"] for file in files.values() if file["error_code"]) == CODES
    # Every good file started what matches it, exactly once.
    good = [document for document in given if document.code is None]
    assert started_for(runs[every]) == sorted(sent.accepted[document.name] for document in good)
    assert started_for(runs[tables]) == sorted(
        sent.accepted[document.name] for document in good if document.extension in TABLES
    )
    # Nothing of the dead is left: no process, no temporary file; and equal bytes are stored once.
    assert processes.wait_until(lambda: not any(map(is_extraction, kill.children)), seconds=30)
    assert processes.wait_until(lambda: extraction_children(product) == [], seconds=30)
    # Celery's pools keep an empty folder each.
    assert [path for path in scratch.rglob("*") if not path.is_dir()] == []
    stored = sorted(path.name for path in (product.folder / "uploads").rglob("*") if path.is_file())
    assert stored == sorted({file["filename"] for file in files.values()})
    assert len(stored) == 200 - (TWINS - 1)


def assert_ended_well(file: dict[str, Any], document: Document, *, every: int, tables: int) -> None:
    """Check one file against what was sent: its bytes, its end, its text, and the workflows that it started."""
    assert (file["error_code"], file["extracted_content"]) == (document.code, document.text), document.name
    assert file["status"] == ("failed" if document.code else "processed")
    assert bool(file["error_message"]) == bool(document.code)
    assert file["retry_count"] == (1 if document.code else 0)
    assert (file["original_filename"], file["file_size"]) == (document.name, len(document.content))
    assert file["file_hash"] == hashlib.sha256(document.content).hexdigest()
    matching = [every, *([tables] if document.extension in TABLES else [])]
    assert file["triggered_workflows"] == ([] if document.code else matching), document.name


def started_for(runs: list[dict[str, Any]]) -> list[int]:
    """Return the file of each execution."""
    return sorted(file_id for run in runs for file_id in run["input_file_ids"])
