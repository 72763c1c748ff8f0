"""Bad uploads: hostile names, broken forms and damaged documents; a refusal leaves no row, no bytes, no spool."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import services as accounts
from files.models import File
from files.services import extract_due_files
from tests import documents, factories
from tests.api.refusals import BOUNDARY, nothing_stored, part, refused, stored_files, upload

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def storage(settings: Settings, tmp_path: Path) -> Path:
    settings.UPLOAD_DIR = tmp_path
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}}
    }
    return tmp_path


# --- Uploads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("/etc/x.txt", "x.txt"),
        ("C:\\dir\\y.txt", "y.txt"),
        ("a\x00b.txt", "ab.txt"),
        ("a&#47;b.txt", "b.txt"),
        ("a\u202egnp.txt", "agnp.txt"),
        ("x.TXT ", "x.TXT"),
        ("e\u0301.txt", "é.txt"),
        ('quo"te.txt', 'quo"te.txt'),
        ("%2e%2e%2fx.txt", "%2e%2e%2fx.txt"),
        ("🙂" * 100 + ".txt", "🙂" * 100 + ".txt"),
    ],
    ids=ascii,
)
def test_a_name_loses_every_path_and_control_character(service: Client, storage: Path, name: str, kept: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').encode()

    answer = upload(service, part(b'name="file"; filename="%s"' % escaped))

    assert answer.status_code == 200, answer.json()
    file = File.objects.get()
    assert (file.original_filename, file.filename) == (kept, f"{file.file_hash}.txt")
    assert stored_files(storage) == [storage / file.filename]
    download: Any = service.get(f"/files/{file.pk}/download")
    assert b"".join(download.streaming_content) == b"hello\n"
    assert not {"\r", "\n"} & set(download["Content-Disposition"])


@pytest.mark.parametrize(
    ("disposition", "code"),
    [
        (b'name="file"; filename=""', "VALIDATION_ERROR"),
        (b'name="file"; filename="."', "VALIDATION_ERROR"),
        (b'name="file"; filename=".."', "VALIDATION_ERROR"),
        (b'name="file"; filename="x.txt/"', "VALIDATION_ERROR"),
        (b'name="file"; filename="a\r\nX: y.txt"', "FILE_TYPE_NOT_ALLOWED"),
        (b'name="file"; filename="' + b"x" * 5000 + b'.txt"', "VALIDATION_ERROR"),
        (b"name=\"file\"; filename*=nosuch''a.txt", "VALIDATION_ERROR"),
        (b'name="file"', "VALIDATION_ERROR"),
        (b'name="other"; filename="x.txt"', "VALIDATION_ERROR"),
        (b'name="file"; filename="x.exe"', "FILE_TYPE_NOT_ALLOWED"),
        (b'name="file"; filename="x.txt."', "FILE_TYPE_NOT_ALLOWED"),
        (b'name="file"; filename=".txt"', "FILE_TYPE_NOT_ALLOWED"),
        (b'name="file"; filename="txt"', "FILE_TYPE_NOT_ALLOWED"),
        (b'name="file"; filename="x.' + b"t" * 500 + b'"', "FILE_TYPE_NOT_ALLOWED"),
        (b'name="file"; filename="x.pdf"', "TYPE_MISMATCH"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_an_upload_that_cannot_be_taken_leaves_nothing(
    service: Client, storage: Path, disposition: bytes, code: str
) -> None:
    refused(upload(service, part(disposition)), 400, code)

    nothing_stored()
    assert stored_files(storage) == []


FILE = part(b'name="file"; filename="a.txt"')


@pytest.mark.parametrize(
    ("parts", "options", "status", "code"),
    [
        ([FILE, FILE], {}, 400, "VALIDATION_ERROR"),
        ([FILE], {"end": b""}, 400, "VALIDATION_ERROR"),
        ([FILE[:-5]], {"end": b""}, 400, "VALIDATION_ERROR"),
        ([], {"end": b""}, 400, "VALIDATION_ERROR"),
        ([b"junk" * 100], {"end": b""}, 400, "VALIDATION_ERROR"),
        ([part(b'name="file"; filename="a.txt"', b"")], {}, 400, "EMPTY_FILE"),
        ([part(b'name="file"; filename="a.txt"', b"x" * 10_485_761)], {}, 400, "FILE_TOO_LARGE"),
        ([FILE], {"header": "multipart/form-data"}, 400, "VALIDATION_ERROR"),
        ([FILE], {"header": "multipart/form-data; boundary=other"}, 400, "VALIDATION_ERROR"),
        ([FILE], {"header": "application/json"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ([FILE, *(part(b'name="f%d"' % number) for number in range(2000))], {}, 400, "BAD_REQUEST"),
        ([FILE, *(part(b'name="f%d"; filename="x"' % number) for number in range(200))], {}, 400, "BAD_REQUEST"),
        ([FILE, part(b'name="f"', b"x" * 10_485_761)], {}, 400, "BAD_REQUEST"),
    ],
    ids=[
        *("two", "unclosed", "cut", "empty-body", "junk", "empty", "oversize", "no-boundary", "other-boundary"),
        *("json", "fields", "files", "big-field"),
    ],
)
def test_multipart_junk_is_refused_and_leaves_nothing(  # noqa: PLR0917  (the table above reads best so)
    service: Client, storage: Path, parts: list[bytes], options: dict[str, Any], status: int, code: str
) -> None:
    refused(upload(service, *parts, **options), status, code)

    nothing_stored()
    assert stored_files(storage) == []


@pytest.mark.parametrize("end", [b"", b"--%s--\r\n" % BOUNDARY.encode()], ids=["cut", "whole"])
def test_a_refused_upload_leaves_no_temporary_file(
    service: Client, tmp_path: Path, settings: Settings, end: bytes
) -> None:
    """Django forgets the file it was spooling when the refusal comes in mid-stream."""
    spool = tmp_path / "spool"
    spool.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = str(spool)
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1024

    upload(service, part(b'name="file"; filename="a.txt"', b"x" * settings.MAX_FILE_SIZE_BYTES + b"x"), end=end)

    assert stored_files(spool) == []


def test_a_form_with_too_many_parts_is_told_the_bound(service: Client) -> None:
    fields = upload(service, *(part(b'name="f%d"' % number) for number in range(2000)))
    files = upload(service, *(part(b'name="f%d"; filename="x"' % number) for number in range(200)))

    assert fields.json()["detail"] == "Too many fields. At most 1000 are allowed"
    assert files.json()["detail"] == "Too many files. At most 100 are allowed"


def test_a_pdf_cut_short_is_taken_and_its_extraction_says_why_it_fails(service: Client) -> None:
    """A damaged document is the extraction's to judge; the intake goes by the name and the first bytes."""
    answer = upload(service, part(b'name="file"; filename="x.pdf"', documents.truncated_pdf()))
    assert answer.status_code == 200

    extract_due_files()

    file = service.get(f"/files/{answer.json()['id']}").json()
    assert (file["status"], bool(file["error_code"]), bool(file["error_message"])) == ("failed", True, True)
    refused(service.get(f"/files/{file['id']}/extract"), 400, "INVALID_STATE")


def test_an_encrypted_pdf_fails_with_its_own_code(service: Client) -> None:
    answer = upload(service, part(b'name="file"; filename="x.pdf"', documents.pdf("secret", password="p")))
    assert answer.status_code == 200

    extract_due_files()

    file = service.get(f"/files/{answer.json()['id']}").json()
    assert (file["status"], file["error_code"]) == ("failed", "encrypted")


def test_another_owners_files_are_missing_on_every_path(service: Client) -> None:
    upload(service, FILE)
    file = File.objects.get()
    _, key = accounts.create_api_key(
        owner=factories.make_owner(), name="t", scopes=["read", "write", "execute"], actor="t"
    )
    stranger = Client(headers={"X-API-Key": key})

    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/process"), ("GET", "/extract"), ("GET", "/download")):
        refused(stranger.generic(method, f"/files/{file.pk}{path}"), 404, "FILE_NOT_FOUND")
    assert stranger.get("/files").json() == []
    assert stranger.get("/files/stats/summary").json()["statistics"]["total_files"] == 0
    assert File.objects.get().status == file.status
