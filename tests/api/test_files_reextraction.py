"""Extracting many files again over HTTP: a dry run first, then in batches."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry, Owner
from accounts.services import create_api_key
from files import services
from files.models import File, FileContent, PoisonFile
from files.services import reextraction
from tests import factories
from tests.admin.rows import make_file
from tests.unit.files.conftest import storage_folder, upload  # noqa: F401  (fixtures, used by name)

pytestmark = pytest.mark.django_db

PATH = "/api/v1/files/reextractions"


@pytest.fixture
def owner() -> Owner:
    return factories.make_owner()


@pytest.fixture
def api(owner: Owner) -> Client:
    """A caller whose key acts for the owner."""
    _, key = create_api_key(owner=owner, name="k", scopes=["read", "write"], actor="test")
    return Client(raise_request_exception=False, headers={"X-API-Key": key})


def post(client: Client, body: Any = None, path: str = PATH) -> Any:
    return client.post(path, body, content_type="application/json")


def statuses() -> dict[int, str]:
    return dict(File.objects.order_by("pk").values_list("pk", "status"))


def test_it_is_a_dry_run_unless_said_otherwise(api: Client, owner: Owner) -> None:
    failed = make_file(owner, status="failed", error_code="corrupt", filename="a.pdf")
    processed = make_file(owner)
    for status in ("uploaded", "processing", "deleted"):
        make_file(owner, status=status)
    make_file(factories.make_owner("Eve"))
    before = statuses()

    body = post(api, {"filter": {}}).json()

    listed = [(item["id"], item["status"], item["error_code"]) for item in body.pop("files")]
    assert listed == [(failed.pk, "failed", "corrupt"), (processed.pk, "processed", None)]
    assert body == {
        "dry_run": True,
        "count": 2,
        "by_status": {"failed": 1, "processed": 1},
        "by_extension": {"pdf": 1, "txt": 1},
        "skipped": {"processing": 1, "uploaded": 1},
        "continue_after": None,
    }
    assert statuses() == before
    assert not AuditEntry.objects.filter(action="file.reextraction_requested").exists()


@pytest.mark.parametrize("path", [PATH, "/files/reextractions/"])
def test_what_the_filter_means_is_queued_with_its_tries_anew(api: Client, owner: Owner, path: str) -> None:
    wanted = make_file(owner, status="failed", error_code="extract_crashed", error_message="died", retry_count=7)
    other = make_file(owner, status="failed", error_code="encrypted")
    PoisonFile.objects.create(file_hash=wanted.file_hash, error_code="extract_crashed", error_message="died")
    PoisonFile.objects.create(file_hash=other.file_hash, error_code="extract_crashed", error_message="died")

    body = post(api, {"filter": {"error_code": "extract_crashed"}, "dry_run": False}, path).json()

    assert (body["dry_run"], body["count"], [item["status"] for item in body["files"]]) == (False, 1, ["failed"])
    assert statuses() == {wanted.pk: "uploaded", other.pk: "failed"}
    wanted.refresh_from_db()
    assert (wanted.retry_count, wanted.error_code, wanted.error_message) == (0, "", "")
    assert (wanted.run_triggers, wanted.extract_content) == (False, True)
    assert list(PoisonFile.objects.values_list("file_hash", flat=True)) == [other.file_hash]
    [entry] = AuditEntry.objects.filter(action="file.reextraction_requested")
    assert (entry.owner, entry.object_type, entry.before) == (
        owner,
        "files.file",
        {"count": 1, "by_status": {"failed": 1}},
    )
    assert entry.after == {"filter": {"error_code": "extract_crashed"}, "trigger_workflows": False}


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        ({"status": "failed"}, [1]),
        ({"extension": "pdf"}, [0]),
        ({"search": "Annual"}, [2]),
        ({"created_after": "2026-11-02T00:00:00Z"}, [1, 2]),
        ({"created_before": "2026-11-02T00:00:00Z"}, [0]),
        ({"ids": []}, []),
        ({"status": "uploaded"}, []),
    ],
)
def test_each_filter_narrows(api: Client, owner: Owner, wanted: dict[str, Any], indices: list[int]) -> None:
    files = [
        make_file(owner, filename="a.pdf", created_at="2026-11-01T00:00:00Z"),
        make_file(owner, status="failed", created_at="2026-11-02T00:00:00Z"),
        make_file(owner, original_filename="Annual.txt", created_at="2026-11-03T00:00:00Z"),
    ]

    body = post(api, {"filter": wanted}).json()

    assert [item["id"] for item in body["files"]] == [files[index].pk for index in indices]
    assert body["count"] == len(indices)


def test_ids_and_workflows(api: Client, owner: Owner, service: Client) -> None:
    first, second, third = (make_file(owner) for _ in range(3))
    theirs = make_file(factories.make_owner("Eve"))

    post(api, {"filter": {"ids": [first.pk, theirs.pk, 2**62]}, "dry_run": False, "trigger_workflows": True})
    by_service = post(service, {"filter": {"ids": [second.pk, theirs.pk]}, "dry_run": False}).json()

    assert by_service["count"] == 2
    assert statuses() == {first.pk: "uploaded", second.pk: "uploaded", third.pk: "processed", theirs.pk: "uploaded"}
    running = File.objects.filter(status="uploaded", run_triggers=True)
    assert list(running.values_list("pk", flat=True)) == [first.pk]


def test_files_that_were_made_of_others_start_no_workflow(api: Client, owner: Owner) -> None:
    source = make_file(owner)
    made = make_file(owner, source_file=source, made_by_action="convert")

    post(api, {"filter": {}, "dry_run": False, "trigger_workflows": True})

    assert dict(File.objects.values_list("pk", "run_triggers")) == {source.pk: True, made.pk: False}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "failed", "dry_run": False},
        {"filter": None, "dry_run": False},
        {"filter": [], "dry_run": False},
        {"filter": {"extention": "pdf"}, "dry_run": False},
        {"filter": {"status": "faild"}, "dry_run": False},
        {"filter": {"status": "deleted"}, "dry_run": False},
        {"filter": {"ids": [0]}, "dry_run": False},
        {"filter": {"ids": [2**63]}, "dry_run": False},
        {"filter": {"ids": "1"}, "dry_run": False},
        {"filter": {"created_after": "soon"}, "dry_run": False},
        {"filter": {}, "dry_run": "perhaps"},
    ],
)
def test_a_request_that_could_mean_more_than_was_wanted_is_refused(api: Client, owner: Owner, body: Any) -> None:
    make_file(owner)

    answer = post(api, body)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "VALIDATION_ERROR")
    assert set(statuses().values()) == {"processed"}


def test_a_reading_key_may_not(owner: Owner) -> None:
    _, key = create_api_key(owner=owner, name="r", scopes=["read"], actor="test")

    assert post(Client(headers={"X-API-Key": key}), {"filter": {}}).status_code == 403


def test_more_than_a_batch_is_queued_whole_and_more_than_the_most_in_calls(
    api: Client, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reextraction, "BATCH", 2)
    monkeypatch.setattr(reextraction, "MOST_AT_ONCE", 5)
    files = [make_file(owner) for _ in range(7)]

    asked = {"filter": {"status": "processed"}, "dry_run": False}
    first = post(api, asked).json()
    between = list(statuses().values())
    second = post(api, {"filter": {"after_id": first["continue_after"]}, "dry_run": False}).json()

    assert (first["count"], first["continue_after"]) == (5, files[4].pk)
    assert between == ["uploaded"] * 5 + ["processed"] * 2
    assert (second["count"], second["continue_after"]) == (2, None)
    assert set(statuses().values()) == {"uploaded"}


def test_what_is_claimed_after_the_plan_is_left_alone(api: Client, owner: Owner) -> None:
    from accounts.selectors import service_principal
    from files.selectors import EVERY_FILE

    file, other = make_file(owner), make_file(owner)
    plan = services.plan_reextraction(service_principal(), EVERY_FILE)
    File.objects.filter(pk=file.pk).update(status="processing")

    assert services.reextract_files(service_principal(), EVERY_FILE, actor="test", plan=plan) == 1
    assert statuses() == {file.pk: "processing", other.pk: "uploaded"}


def test_the_new_text_takes_the_place_of_the_old(api: Client, owner: Owner, upload: Any) -> None:  # noqa: F811
    file = upload(b"the words of the document", "a.txt", by=owner)
    services.extract_due_files()
    FileContent.objects.filter(file=file).update(text="badly read", search=None)

    post(api, {"filter": {"ids": [file.pk]}, "dry_run": False})
    kept = FileContent.objects.get(file=file).text
    services.extract_due_files()

    assert kept == "badly read"
    assert [item["id"] for item in api.get("/files", {"search": "document"}).json()] == [file.pk]
