"""Uploads that come twice, and those that do not fit: Idempotency-Key and the quota of an owner."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from pytest_django import Settings

from accounts import services as accounts
from accounts.models import Owner
from files import services
from files.models import File
from tests.api.conftest import SERVICE_KEY, Unread, call_wsgi
from tests.api.refusals import refused, stored_files
from tests.unit.files.conftest import storage_folder  # noqa: F401  (a fixture, used by name)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_folder")]

CLIENTS = 4


def send(client: Client, content: bytes = b"words", name: str = "a.txt", key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/files/upload", {"file": SimpleUploadedFile(name, content)}, headers=headers)


def send_many(client: Client, *contents: bytes, key: str = "") -> Any:
    files = [SimpleUploadedFile(f"{index}.txt", content) for index, content in enumerate(contents)]
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/files/upload-multiple", {"files": files}, headers=headers)


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """Call from several threads, none before all are ready."""
    barrier = threading.Barrier(CLIENTS)

    def run(number: int) -> Any:
        barrier.wait()
        try:
            return call(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(run, range(CLIENTS)))


# --- Idempotency-Key ------------------------------------------------------------------------


def test_the_same_upload_with_the_same_key_gives_the_first_answer(service: Client) -> None:
    first, again, other = (send(service, key=key) for key in ("k", "k", "other"))

    assert again.json() == first.json()
    assert other.json()["id"] != first.json()["id"]
    assert File.objects.count() == 2


def test_without_a_key_each_upload_is_a_file(service: Client) -> None:
    assert send(service).json()["id"] != send(service).json()["id"]


@pytest.mark.parametrize(("content", "name"), [(b"other words", "a.txt"), (b"words", "b.txt")])
def test_a_key_that_stands_for_something_else_is_a_conflict_and_nothing_is_stored(
    service: Client,
    storage_folder: Path,  # noqa: F811
    content: bytes,
    name: str,
) -> None:
    send(service, key="k")

    told = refused(send(service, content, name, key="k"), 409, "IDEMPOTENCY_KEY_REUSED")

    assert told["detail"] == "The Idempotency-Key was used for another file; use a new key"
    assert File.objects.count() == len(stored_files(storage_folder)) == 1


def test_the_key_of_a_deleted_file_brings_it_not_back(service: Client) -> None:
    service.delete(f"/files/{send(service, key='k').json()['id']}")

    told = refused(send(service, key="k"), 409, "IDEMPOTENCY_KEY_REUSED")

    assert told["detail"] == "The Idempotency-Key was used for a file that has been deleted; use a new key"
    assert service.get("/files").json() == []
    assert send(service, key="k2").status_code == 200


def test_another_owner_may_use_the_same_key(service: Client) -> None:
    owner = Owner.objects.create(name="Ada", kind="team")
    _, key = accounts.create_api_key(owner=owner, name="t", scopes=["read", "write"], actor="t")
    stranger = Client(headers={"X-API-Key": key})

    ids = {send(client, key="k").json()["id"] for client in (service, stranger)}

    assert len(ids) == 2


@pytest.mark.parametrize("key", ["ü" * 200, "a b", "'; drop table files", "%00", "k" * 200], ids=lambda key: key[:8])
def test_a_key_may_hold_anything_of_up_to_200_characters(service: Client, key: str) -> None:
    assert send(service, key=key).json() == send(service, key=key).json()


@pytest.mark.parametrize("deliver", [send, lambda client, key: send_many(client, b"x", key=key)])
def test_a_key_over_the_bound_is_refused(service: Client, deliver: Any) -> None:
    told = refused(deliver(service, key="k" * 201), 400, "VALIDATION_ERROR")

    assert told["detail"] == "Idempotency-Key must have at most 200 characters"
    assert not File.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_same_upload_at_once_makes_one_file(service: Client) -> None:
    answers = at_once(lambda _: send(service, key="k"))

    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    assert len({answer.json()["id"] for answer in answers}) == File.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_upload_at_once_fits_where_one_of_it_does(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 5
    for turn in range(5):
        answers = at_once(lambda _, key=f"k{turn}": send(service, b"words", key=key))

        assert [answer.status_code for answer in answers] == [200] * CLIENTS
        service.delete(f"/files/{answers[0].json()['id']}")


@pytest.mark.django_db(transaction=True)
def test_different_uploads_with_one_key_at_once_make_one_file(service: Client, storage_folder: Path) -> None:  # noqa: F811
    answers = at_once(lambda number: send(service, b"words %d" % number, key="k"))

    assert sorted(answer.status_code for answer in answers) == [200, *[409] * (CLIENTS - 1)]
    assert [path.name for path in stored_files(storage_folder)] == [File.objects.get().filename]


def test_several_files_in_one_request_share_the_key_by_their_place(service: Client) -> None:
    first = send_many(service, b"one", b"two", key="k").json()

    again, changed = (
        send_many(service, b"one", b"two", key="k").json(),
        send_many(service, b"one", b"2", key="k").json(),
    )

    assert again == first
    assert [file["id"] for file in changed["files"]] == [first["files"][0]["id"]]
    message = "The Idempotency-Key was used for another file; use a new key"
    assert changed["errors"] == [{"filename": "1.txt", "error": message}]
    assert send(service, b"one", "0.txt", key="k").json()["id"] not in {file["id"] for file in first["files"]}


# --- Quota ----------------------------------------------------------------------------------


def test_an_upload_over_the_quota_is_refused_with_its_figures_and_stores_nothing(
    service: Client,
    settings: Settings,
    storage_folder: Path,  # noqa: F811
) -> None:
    settings.FILE_QUOTA_BYTES = 10
    assert send(service, b"1234567").status_code == 200

    told = refused(send(service, b"12345"), 400, "FILE_QUOTA_EXCEEDED")

    assert told["detail"] == "File quota exceeded: 7 of 10 bytes are used, 5 more do not fit"
    assert len(stored_files(storage_folder)) == File.objects.count() == 1
    assert send(service, b"123").status_code == 200


def test_an_owners_own_quota_comes_before_the_setting(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 1
    Owner.objects.filter(pk=accounts.service_owner().pk).update(file_quota_bytes=5)

    assert send(service, b"12345").status_code == 200
    refused(send(service, b"1"), 400, "FILE_QUOTA_EXCEEDED")


def test_deleted_files_make_room_and_equal_bytes_count_each(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 10
    first = send(service, b"12345").json()["id"]
    assert send(service, b"12345", "b.txt").status_code == 200
    refused(send(service, b"1"), 400, "FILE_QUOTA_EXCEEDED")

    service.delete(f"/files/{first}")

    assert send(service, b"54321").status_code == 200


def test_a_repetition_takes_no_room(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 5
    first = send(service, b"12345", key="k").json()

    assert send(service, b"12345", key="k").json() == first


def test_what_surely_does_not_fit_is_refused_before_it_is_read(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 1000

    status, _, content = call_wsgi(
        "/files/upload",
        Unread(most_bytes=0),
        length=str(3 * 1024**2),
        CONTENT_TYPE="multipart/form-data; boundary=x",
        HTTP_X_API_KEY=SERVICE_KEY,
    )

    assert (status, b"FILE_QUOTA_EXCEEDED" in content) == ("400 Bad Request", True)


def test_of_several_files_those_that_fit_are_taken(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 10

    answer = send_many(service, b"123456", b"12345", b"1234").json()

    assert [file["original_filename"] for file in answer["files"]] == ["0.txt", "2.txt"]
    assert answer["errors"][0]["error"] == "File quota exceeded: 6 of 10 bytes are used, 5 more do not fit"


@pytest.mark.django_db(transaction=True)
def test_uploads_at_once_never_exceed_the_quota(
    service: Client,
    settings: Settings,
    storage_folder: Path,  # noqa: F811
) -> None:
    settings.FILE_QUOTA_BYTES = 25
    for turn in range(5):
        answers = at_once(lambda number, turn=turn: send(service, b"%d-%d-67890" % (turn, number)))
        assert {answer.status_code for answer in answers} <= {200, 400}
        assert sum(File.objects.values_list("file_size", flat=True)) <= 25

    assert File.objects.count() == len(stored_files(storage_folder)) == 2


def test_the_summary_shows_use_and_quota(service: Client, settings: Settings) -> None:
    settings.FILE_QUOTA_BYTES = 100
    send(service, b"12345")

    statistics = service.get("/files/stats/summary").json()["statistics"]

    assert (statistics["quota_bytes"], statistics["quota_used_bytes"]) == (100, 5)


def test_without_a_quota_one_small_question_is_all_it_costs(service: Client, django_assert_num_queries: Any) -> None:
    owner = accounts.service_owner()

    with django_assert_num_queries(1):
        services.quota.check(owner, more_bytes=1)
    with django_assert_num_queries(0):
        services.expect_room(owner, more_bytes=0, idempotency_key="k")
