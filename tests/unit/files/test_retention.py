"""Retention of files: what goes with age, what live work holds back, and what a broken storage leaves."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuditEntry, Owner
from files import services
from files.models import File, FileContent
from files.services import retention
from tests import factories
from workflows.file_use import find_files_in_use
from workflows.models import Evaluation, Execution

NAP = [{"name": "nap", "type": "delay", "config": {"seconds": 3600}}]


@pytest.fixture(autouse=True)
def _thirty_days(settings: Settings) -> Iterator[None]:
    settings.FILE_RETENTION_DAYS = 30
    retention.begin_again()
    yield
    retention.begin_again()


@pytest.fixture
def kept(upload: Any) -> Any:
    """Upload and extract a text of so many days ago."""

    def _kept(content: bytes, *, days: float, **fields: Any) -> File:
        file: File = upload(content, "a.txt")
        services.extract_due_files()
        # The workflows were asked about it long ago.
        Evaluation.objects.update(evaluated_at=timezone.now())
        File.objects.filter(pk=file.pk).update(created_at=timezone.now() - timedelta(days=days), **fields)
        file.refresh_from_db()
        return file

    return _kept


@pytest.fixture
def prune(django_capture_on_commit_callbacks: Any) -> Any:
    """Let retention look through everything once; bytes go after the commit."""

    def _prune() -> int:
        retention.begin_again()
        with django_capture_on_commit_callbacks(execute=True):
            return services.remove_old_files(budget_seconds=30)

    return _prune


def live() -> set[int]:
    return set(File.objects.exclude(status="deleted").values_list("pk", flat=True))


def test_files_go_after_their_days_as_by_a_users_deletion(kept: Any, prune: Any, storage_folder: Path) -> None:
    old, young = kept(b"old words", days=30.1), kept(b"young words", days=29.9)
    before = retention.removed_total._value.get()  # type: ignore[attr-defined]

    assert prune() == 1

    assert live() == {young.pk}
    assert [path.name for path in storage_folder.glob("*.txt")] == [young.filename]
    assert set(FileContent.objects.values_list("file_id", flat=True)) == {young.pk}
    entry = AuditEntry.objects.get(action="file.deleted")
    assert (entry.actor, entry.object_id, entry.owner_id) == ("retention", str(old.pk), old.owner_id)
    assert retention.removed_total._value.get() - before == 1  # type: ignore[attr-defined]
    # The row stays: what was made from the file names it.
    assert File.objects.get(pk=old.pk).original_filename == "a.txt"


def test_without_the_setting_nothing_ever_goes(kept: Any, prune: Any, settings: Settings) -> None:
    settings.FILE_RETENTION_DAYS = 0
    file = kept(b"old words", days=5000)

    assert prune() == 0
    assert live() == {file.pk}


def test_bytes_that_a_younger_file_shares_stay(kept: Any, prune: Any) -> None:
    _, young = kept(b"the same words", days=31), kept(b"the same words", days=1)

    assert prune() == 1

    assert live() == {young.pk}
    assert default_storage.exists(young.file_path)


@pytest.mark.parametrize("status", ["uploaded", "processing"])
def test_a_file_whose_processing_is_due_stays(kept: Any, prune: Any, status: str) -> None:
    file = kept(b"words", days=31, status=status)

    assert prune() == 0
    assert live() == {file.pk}


def test_a_failed_file_goes_too(kept: Any, prune: Any) -> None:
    kept(b"words", days=31, status="failed")

    assert prune() == 1
    assert live() == set()


def execution_with(owner: Owner, **fields: Any) -> Execution:
    execution = factories.start(factories.make_workflow(NAP, owner=owner))
    Execution.objects.filter(pk=execution.pk).update(**fields)
    return execution


@pytest.mark.parametrize("status", ["pending", "running"])
@pytest.mark.parametrize("place", ["input_file_ids", "output_file_ids", "trigger_data", "made_by_execution_id"])
def test_a_file_of_a_live_execution_stays_until_it_has_ended(
    kept: Any, prune: Any, owner: Owner, status: str, place: str
) -> None:
    used, unused = kept(b"used words", days=40), kept(b"unused words", days=31)
    given: dict[str, Any] = {"trigger_data": {"file_id": str(used.pk)}} if place == "trigger_data" else {}
    if place.endswith("_file_ids"):
        given = {place: [used.pk]}
    execution = execution_with(owner, status=status, **given)
    if place == "made_by_execution_id":
        File.objects.filter(pk=used.pk).update(made_by_execution_id=execution.pk)

    assert prune() == 1
    assert live() == {used.pk}
    assert unused.pk not in live()

    Execution.objects.filter(pk=execution.pk).update(status="completed")
    assert prune() == 1
    assert live() == set()


def test_a_file_whose_triggers_are_not_yet_looked_at_stays(kept: Any, owner: Owner) -> None:
    file, other = kept(b"words", days=31), kept(b"other words", days=31)
    Evaluation.objects.create(owner=owner, file_id=file.pk, processing_number=2, request={})

    assert find_files_in_use([file.pk, other.pk]) == {file.pk}


def test_odd_inputs_of_live_executions_hold_nothing_and_break_nothing(kept: Any, owner: Owner) -> None:
    file = kept(b"words", days=31)
    for odd in ({"file_id": [file.pk]}, {"file_id": "x"}, {}, {"file_id": None}):
        execution_with(owner, trigger_data=odd)

    assert find_files_in_use([file.pk]) == set()
    assert find_files_in_use([]) == set()


def test_more_than_a_window_goes_in_one_call_past_what_is_held(
    kept: Any, prune: Any, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "WINDOW", 2)
    held = [kept(f"held {number}".encode(), days=50) for number in range(3)]
    for number in range(3):
        kept(f"free {number}".encode(), days=40)
    execution_with(owner, input_file_ids=[file.pk for file in held])

    assert prune() == 3
    assert live() == {file.pk for file in held}


def test_it_stops_when_its_time_is_over_and_rests_after_a_round(kept: Any, prune: Any) -> None:
    kept(b"words", days=31)

    assert services.remove_old_files(budget_seconds=0) == 0
    assert prune() == 1
    kept(b"more words", days=31)

    assert services.remove_old_files(budget_seconds=30) == 0
    assert retention._round.rests_until > time.monotonic()


@pytest.mark.django_db(transaction=True)
def test_a_storage_that_is_away_stops_the_round_and_does_not_break_beat(
    kept: Any, storage_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = kept(b"first words", days=32), kept(b"second words", days=31)

    def away(name: str) -> None:
        raise OSError("the storage is away")

    monkeypatch.setattr(default_storage._wrapped, "delete", away)  # type: ignore[attr-defined]

    assert services.remove_old_files(budget_seconds=30) == 1

    assert live() == {second.pk}
    assert default_storage.exists(first.file_path)
    assert services.remove_old_files(budget_seconds=30) == 0  # it rests


def test_after_its_rest_it_goes_on_past_what_is_held(kept: Any, prune: Any, owner: Owner) -> None:
    assert prune() == 0
    held = kept(b"held words", days=50)
    for number in range(3):
        kept(f"free {number}".encode(), days=40)
    execution_with(owner, input_file_ids=[held.pk])
    retention._round.rests_until = time.monotonic() - 1

    assert services.remove_old_files(budget_seconds=30) == 3
    assert live() == {held.pk}
