"""Many documents at once, while the storage takes nothing more for a time and all workers are killed.

Full is what the kernel says: the processes' limit on the size of files is put to nothing while they run, so every
write of theirs is refused, as on a full disk.
"""

import resource
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.chaos import stack
from tests.e2e.test_many_files import (
    CLIENTS,
    TABLES,
    Document,
    accepted_documents,
    all_ended,
    assert_ended_well,
    below,
    counts,
    create_workflow,
    started_for,
    wait_for,
    wait_for_runs,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason=f"{sys.platform} cannot limit a running process"),
]

FULL_AFTER_FILES = 30
FEWEST_REFUSALS = CLIENTS


@pytest.fixture
def product() -> Iterator[stack.Stack]:
    with stack.running("127.0.0.1:9") as running:
        yield running


@pytest.fixture
def client(product: stack.Stack) -> Iterator[httpx.Client]:
    with product.client() as made:
        yield made


class Disk:
    """The storage as clients meet it: what they were refused, and when they may come again."""

    def __init__(self) -> None:
        self.refusals: list[httpx.Response] = []
        self.has_room = threading.Event()
        self.has_room.set()

    def upload(self, client: httpx.Client, document: Document) -> tuple[str, int]:
        """Upload until it is taken; returns name and id."""
        while True:
            answer = client.post("/files/upload", files={"file": (document.name, document.content)})
            if answer.is_success:
                return document.name, int(answer.json()["id"])
            self.refusals.append(answer)
            assert self.has_room.wait(120)


def limit_files(product: stack.Stack, most_bytes: int) -> None:
    """Let the web process write files up to so many bytes."""
    popen = product.process("web").popen
    assert popen is not None
    for pid in [popen.pid, *below(popen.pid)]:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, hard))


def test_what_finds_no_room_is_refused_whole_and_everything_accepted_ends(
    client: httpx.Client, product: stack.Stack
) -> None:
    every, tables = create_workflow(client, "Every file", ""), create_workflow(client, "Tables", ",".join(TABLES))
    given, disk = accepted_documents(), Disk()

    with ThreadPoolExecutor(CLIENTS) as pool:
        uploads = [pool.submit(disk.upload, client, document) for document in given]
        wait_for(lambda: sum(counts(client).values()) >= FULL_AFTER_FILES, product, progress=lambda: counts(client))
        disk.has_room.clear()
        limit_files(product, 0)
        wait_for(lambda: len(disk.refusals) >= FEWEST_REFUSALS, product, progress=lambda: len(disk.refusals))
        accepted_meanwhile = sum(upload.done() for upload in uploads)
        assert product.kill_tree()
        limit_files(product, resource.RLIM_INFINITY)
        disk.has_room.set()
        ids = dict(upload.result() for upload in uploads)
    statuses = wait_for(lambda: all_ended(client, len(given)), product, progress=lambda: counts(client))
    runs = wait_for_runs(client, product, every, 168)

    # It was in the middle, and each refusal says why, whether the disk or the limit was met while reading or storing.
    assert FULL_AFTER_FILES <= accepted_meanwhile < len(given)
    assert {(answer.status_code, answer.json()["error_code"]) for answer in disk.refusals} == {(503, "STORAGE_FULL")}
    # What was refused left nothing behind; what was accepted is there once, and ended as it must.
    listed = client.get("/files", params={"limit": 1000})
    files = {file["id"]: file for file in listed.json()}
    assert set(files) == set(ids.values())
    assert listed.headers["X-Total-Count"] == str(len(given)) == "200"
    for document in given:
        assert_ended_well(files[ids[document.name]], document, every=every, tables=tables)
    assert (statuses["processed"], statuses["failed"]) == (168, 32)
    assert started_for(runs) == sorted(ids[document.name] for document in given if document.code is None)
    stored = sorted(path.name for path in (product.folder / "uploads").rglob("*") if path.is_file())
    assert stored == sorted({file["filename"] for file in files.values()})
