"""Uploads through the real web process: of any size in little memory, cut by SIGKILL, and onto a full disk."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from files import services
from files.models import File
from tests.api.refusals import refused, stored_files
from tests.e2e import web_process
from tests.e2e.web_process import KEY, WebProcess

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

MIB = 1024**2
# BIG_UPLOAD_MIB=200 is enough where a disk is slow: what grows does so by the byte.
UPLOAD_MIB = int(os.environ.get("BIG_UPLOAD_MIB", "1024"))
# 150 MiB for 1 GiB, and the same by the byte for less; a process breathes by a few MiB without any upload.
GROWTH_MIB = max(24, 150 * UPLOAD_MIB // 1024)
BOUNDARY = "a-boundary"
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="big.txt"\r\n\r\n'.encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
BLOCK = b"a line of a text that goes on\n" * 34_952 + b"end\n" * 4


def begin(web: WebProcess, size_bytes: int) -> http.client.HTTPConnection:
    """Send the head of an upload of so many bytes; the caller sends them."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=120)
    connection.putrequest("POST", "/files/upload")
    connection.putheader("X-API-Key", KEY)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(HEAD) + size_bytes + len(TAIL)))
    connection.endheaders(HEAD)
    return connection


def blocks(size_bytes: int) -> Iterator[bytes]:
    while size_bytes > 0:
        yield BLOCK[:size_bytes]
        size_bytes -= len(BLOCK)


def deliver(web: WebProcess, size_bytes: int) -> int:
    connection = begin(web, size_bytes)
    for block in blocks(size_bytes):
        connection.send(block)
    connection.send(TAIL)
    status = connection.getresponse().status
    connection.close()
    return status


def test_an_upload_and_a_download_of_a_gigabyte_take_little_memory(tmp_path: Path) -> None:
    size_bytes = UPLOAD_MIB * MIB
    with web_process.running(tmp_path, MAX_FILE_SIZE=f"{UPLOAD_MIB}MB") as web:
        deliver(web, 3 * MIB)
        before = web.memory_bytes()

        most_taking = web.most_memory_bytes(lambda: deliver(web, size_bytes))
        file = File.objects.get(file_size=size_bytes)
        most_giving = web.most_memory_bytes(lambda: length_of(web, f"/files/{file.pk}/download"))

        assert length_of(web, f"/files/{file.pk}/download") == size_bytes
    assert (tmp_path / "uploads" / file.file_path).stat().st_size == size_bytes
    assert (most_taking - before) / MIB < GROWTH_MIB
    assert (most_giving - before) / MIB < GROWTH_MIB


def length_of(web: WebProcess, path: str) -> int:
    with web.client() as client, client.stream("GET", path) as answer:
        return sum(len(chunk) for chunk in answer.iter_raw(MIB))


def test_an_upload_whose_process_is_killed_shows_nowhere_and_its_rest_is_swept(
    tmp_path: Path, settings: Settings
) -> None:
    folder = tmp_path / "uploads"
    with web_process.running(tmp_path) as web:
        connection = begin(web, 9 * MIB)
        connection.send(BLOCK * 5)
        wait_for(lambda: [path for path in stored_files(folder) if path.stat().st_size > 3 * MIB])
        web.kill()
        connection.close()

        web.start()
        with web.client() as client:
            listed = client.get("/files").json()

    rest = stored_files(folder)
    assert (listed, File.objects.count(), len(rest), rest[0].parent) == ([], 0, 1, folder / "incoming")
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder)}}
    }
    day_ago = time.time() - 25 * 3600
    os.utime(rest[0], (day_ago, day_ago))
    services.sweep_files()
    assert stored_files(folder) == []


# --- A full disk --------------------------------------------------------------------------------

# A file system of 8 MiB of the process's own: what root may mount, and others in a user namespace.
SMALL_DISK = 'mkdir -p "$UPLOAD_DIR" && mount -t tmpfs -o size=8m,mode=777 small "$UPLOAD_DIR" && exec "$@"'
ALONE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh")


def may_mount(folder: Path) -> bool:
    try:
        tried = subprocess.run([*ALONE, "true"], env=dict(os.environ) | {"UPLOAD_DIR": str(folder)}, check=False)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


def test_a_full_disk_is_503_loses_nothing_and_takes_files_again_once_there_is_room(tmp_path: Path) -> None:
    if not may_mount(tmp_path / "probe"):
        pytest.skip("no small file system may be mounted here, not even in a user namespace")
    with web_process.running(tmp_path, inside=ALONE) as web, web.client() as client:
        first = send(web, BLOCK * 5).json()["id"]

        spooled = send(web, BLOCK * 4 + b"2")
        filler = send(web, BLOCK * 2 + b"3")
        in_memory = send(web, BLOCK * 2 + b"4")

        assert filler.status_code == 200
        told = refused(spooled, 503, "STORAGE_FULL")
        assert told["detail"] == "The file storage is full"
        refused(in_memory, 503, "STORAGE_FULL")
        assert [file["id"] for file in client.get("/files").json()] == [filler.json()["id"], first]
        assert client.get(f"/files/{first}/download").content == BLOCK * 5
        client.delete(f"/files/{first}")
        # All of it is there again: what was refused has left nothing behind.
        assert send(web, BLOCK * 4 + b"5").status_code == 200


def send(web: WebProcess, content: bytes) -> Any:
    # Each on a connection of its own: one whose body was refused unread is closed.
    with web.client() as client:
        return client.post("/files/upload", files={"file": ("a.txt", content)})


def wait_for(ask: Any) -> Any:
    give_up_at = time.monotonic() + 90
    while time.monotonic() < give_up_at:
        if answer := ask():
            return answer
        time.sleep(0.02)  # polling a real process
    raise AssertionError("not within 90 s")
