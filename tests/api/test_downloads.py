"""Downloads: whole, in part, not at all where the caller has the bytes, and by signed addresses."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import signing
from django.test import Client
from pytest_django import Settings

from core import clock
from files.models import File
from files.services import links
from tests.api.refusals import part, refused, upload
from tests.unit.files.conftest import storage_folder  # noqa: F401  (a fixture, used by name)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_folder")]

CONTENT = b"0123456789" * 20_000


@pytest.fixture
def file(service: Client) -> File:
    assert upload(service, part(b'name="file"; filename="a.txt"', CONTENT)).status_code == 200
    return File.objects.get()


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def get(client: Client, file: File, **headers: str) -> Any:
    return client.get(f"/files/{file.pk}/download", headers={name.replace("_", "-"): headers[name] for name in headers})


def test_the_whole_file_comes_with_headers_that_no_browser_shows_it_by(service: Client, file: File) -> None:
    answer = get(service, file)

    assert (answer.status_code, body(answer)) == (200, CONTENT)
    assert {name: answer[name] for name in answer.headers if name in HEADERS} == HEADERS | {
        "ETag": f'"{file.file_hash}"'
    }


HEADERS = {
    "Content-Type": "text/plain",
    "Content-Length": "200000",
    "Content-Disposition": 'attachment; filename="a.txt"',
    "Accept-Ranges": "bytes",
    "ETag": "",
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
}


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=199990-", 199_990, 199_999),
        ("bytes=-5", 199_995, 199_999),
        ("bytes=3-150000", 3, 150_000),
    ],
)
def test_a_range_is_given_alone(service: Client, file: File, asked: str, first: int, last: int) -> None:
    answer = get(service, file, Range=asked)

    assert (answer.status_code, answer["Content-Range"]) == (206, f"bytes {first}-{last}/200000")
    assert answer["Content-Length"] == str(last - first + 1)
    assert body(answer) == CONTENT[first : last + 1]


def test_several_ranges_at_once_get_the_whole(service: Client, file: File) -> None:
    answer = get(service, file, Range="bytes=0-1,5-6")

    assert (answer.status_code, body(answer) == CONTENT) == (200, True)


def test_a_range_behind_the_end_is_416_with_the_size(service: Client, file: File) -> None:
    answer = get(service, file, Range="bytes=200000-")

    assert answer["Content-Range"] == "bytes */200000"
    refused(answer, 416, "RANGE_NOT_SATISFIABLE")


@pytest.mark.parametrize(
    ("if_range", "status"),
    [("{etag}", 206), ('"other"', 200), ("W/{etag}", 200), ("Sat, 21 Nov 2026 10:00:00 GMT", 200)],
)
def test_a_range_counts_only_for_the_bytes_that_its_caller_began_with(
    service: Client, file: File, if_range: str, status: int
) -> None:
    answer = get(service, file, Range="bytes=0-0", If_Range=if_range.format(etag=f'"{file.file_hash}"'))

    assert (answer.status_code, len(body(answer))) == (status, 1 if status == 206 else len(CONTENT))


@pytest.mark.parametrize("tags", ["{etag}", "W/{etag}", '"x", {etag}', "*"])
def test_who_has_the_bytes_gets_none(service: Client, file: File, tags: str) -> None:
    answer = get(service, file, If_None_Match=tags.format(etag=f'"{file.file_hash}"'), Range="bytes=0-0")

    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", f'"{file.file_hash}"')
    # RFC 9110, 8.6: the length is that of the bytes, never 0.
    assert (answer["Content-Length"], answer["Content-Type"]) == (str(len(CONTENT)), file.mime_type)
    assert body(get(service, file, If_None_Match='"other"')) == CONTENT


def test_head_tells_all_but_the_bytes(service: Client, file: File, storage_folder: Path) -> None:  # noqa: F811
    answer = service.head(f"/files/{file.pk}/download", headers={"Range": "bytes=0-1"})

    assert (answer.status_code, answer["Content-Length"], answer.content) == (200, "200000", b"")
    (storage_folder / file.file_path).unlink()
    assert service.head(f"/files/{file.pk}/download").status_code == 404
    refused(get(service, file), 404, "FILE_NOT_FOUND")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Größe 1.txt", "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%201.txt"),
        ('a"b\\c.txt', 'attachment; filename="a\\"b\\\\c.txt"'),
        ("a\r\nX-Evil: 1.txt", 'attachment; filename="aX-Evil: 1.txt"'),
        ("\x00\x1b\ud800.html", 'attachment; filename=".html"'),
        ("页.txt", "attachment; filename*=utf-8''%E9%A1%B5.txt"),
    ],
    ids=ascii,
)
def test_any_name_is_sent_as_one_header(service: Client, file: File, name: str, sent: str) -> None:
    file.original_filename = name

    assert links.disposition(file) == sent


def test_a_page_is_an_attachment_too(service: Client, settings: Settings) -> None:
    settings.ALLOWED_EXTENSIONS = ["html", "svg"]
    assert upload(service, part(b'name="file"; filename="a.html"', b"<script>1</script>")).status_code == 200

    answer = get(service, File.objects.get())

    assert answer["Content-Disposition"] == 'attachment; filename="a.html"'
    assert (answer["X-Content-Type-Options"], answer["Content-Security-Policy"]) == ("nosniff", "sandbox")
    body(answer)


# --- Signed addresses -----------------------------------------------------------------------


def address(client: Client, file: File) -> str:
    given = client.get(f"/api/v1/files/{file.pk}/download-url").json()
    assert given["expires_in"] == 300
    found = re.fullmatch(r"http://testserver(/\S*files/download/\S+)", given["url"])
    assert found, given
    return found[1]


def test_a_signed_address_needs_no_key_and_gives_ranges(service: Client, anyone: Client, file: File) -> None:
    path = address(service, file)

    whole, some = anyone.get(path), anyone.get(path, headers={"Range": "bytes=1-2"})

    assert (whole.status_code, body(whole)) == (200, CONTENT)
    assert (some.status_code, body(some)) == (206, b"12")
    assert whole["Content-Disposition"] == 'attachment; filename="a.txt"'
    assert anyone.head(path)["Content-Length"] == "200000"


def test_a_signed_address_ends_after_its_time(
    service: Client, anyone: Client, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = address(service, file)
    later = (clock.now() + timedelta(seconds=301)).timestamp()
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)

    refused(anyone.get(path), 404, "FILE_NOT_FOUND")


def test_a_changed_or_foreign_token_leads_nowhere(service: Client, anyone: Client, file: File) -> None:
    path = address(service, file)
    token = path.rpartition("/")[2]
    others = [signing.dumps([file.pk, file.owner_id], salt="another use"), signing.dumps("x", key="k"), token[:-1], "x"]

    for other in (*others, ("A" if token[0] != "A" else "B") + token[1:]):
        refused(anyone.get(f"/files/download/{other}"), 404, "FILE_NOT_FOUND")


def test_a_signed_address_of_a_deleted_file_leads_nowhere(service: Client, anyone: Client, file: File) -> None:
    path = address(service, file)
    service.delete(f"/files/{file.pk}")

    refused(anyone.get(path), 404, "FILE_NOT_FOUND")
    refused(service.get(f"/files/{file.pk}/download-url"), 404, "FILE_NOT_FOUND")
