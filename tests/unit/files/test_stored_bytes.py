"""What the storage does when the disk is full, the folder is gone, or bytes are read in part."""

import contextlib
import errno
import io
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from django.core.files.storage import FileSystemStorage
from django.db import connection

from files import services, stored_bytes
from files.errors import StorageFull, StorageUnavailable
from files.models import File
from files.storage_errors import translated
from tests.unit.files.commands import descriptors
from workflows.engine.limits import StepTimeout, time_limit


class OtherStorage(FileSystemStorage):
    """Stands for a storage that is no local folder; `broken` is what the next call meets instead of its work.

    Its servers cannot run here (GCS, Azure); S3's does, in tests/e2e.
    """

    broken: Exception | None = None
    loses_bytes = 0

    def path(self, name):
        raise NotImplementedError

    def _at(self, name):
        if OtherStorage.broken:
            raise OtherStorage.broken
        return Path(self.location) / name

    def exists(self, name):
        return self._at(name).exists()

    def size(self, name):
        return self._at(name).stat().st_size

    def listdir(self, path):
        return [], [item.name for item in self._at("").iterdir()]

    def delete(self, name):
        self._at(name).unlink(missing_ok=True)

    def _open(self, name, mode="rb"):
        return self._at(name).open(mode)

    def _save(self, name, content):
        data = content.read()
        self._at(name).write_bytes(data[: len(data) - self.loses_bytes])
        return name


@pytest.fixture
def other_storage(settings, storage_folder) -> Iterator[type[OtherStorage]]:
    entry = {"BACKEND": f"{__name__}.OtherStorage", "OPTIONS": {"location": str(storage_folder)}}
    settings.STORAGES = settings.STORAGES | {"default": entry}
    yield OtherStorage
    OtherStorage.broken, OtherStorage.loses_bytes = None, 0


@contextlib.contextmanager
def no_file_over(size_bytes: int) -> Iterator[None]:
    """Let the system refuse larger files to this process: a real refusal in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_disk_refuses_in_the_middle_leaves_nothing(upload, storage_folder):
    with no_file_over(100_000), pytest.raises(StorageFull):
        upload(b"a" * 200_000, "a.txt")

    assert not File.objects.exists()
    assert [path for path in storage_folder.rglob("*") if path.is_file()] == []
    assert upload(b"a" * 200_000, "a.txt").file_size == 200_000


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_full_and_what_else_the_system_says_is_unavailable(code):
    with pytest.raises(StorageFull), translated():
        raise OSError(code, "refused")
    with pytest.raises(StorageUnavailable, match="Permission denied"), translated():
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject"), "its bucket does not exist"),
        (ClientError({"Error": {"Code": "SignatureDoesNotMatch"}}, "PutObject"), "it refuses our credentials"),
        (ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"), "it answers SlowDown"),
        (EndpointConnectionError(endpoint_url="http://x"), "it does not answer"),
    ],
)
def test_a_librarys_error_becomes_a_reason(error, reason):
    with pytest.raises(StorageUnavailable) as raised, translated():
        raise error

    assert (raised.value.reason, raised.value.status) == (reason, 503)


def test_an_error_of_our_own_stays_what_it_is():
    with pytest.raises(ZeroDivisionError), translated():
        _ = 1 / 0


def test_missing_bytes_are_missing_only_where_the_storage_is_there(upload, storage_folder):
    file = upload(b"x", "a.txt")
    (storage_folder / file.file_path).unlink()
    with pytest.raises(FileNotFoundError):
        stored_bytes.open_span(file.file_path)

    storage_folder.rename(storage_folder.with_name("elsewhere"))

    with pytest.raises(StorageUnavailable), stored_bytes.opened(file.file_path):
        pass


@pytest.mark.parametrize("is_local", [True, False])
def test_a_span_is_read_in_chunks_up_to_its_end(upload, request, is_local):
    if not is_local:
        request.getfixturevalue("other_storage")
    content = bytes(range(97, 123)) * 10_000
    name = upload(content, "a.txt").file_path

    spans = [stored_bytes.open_span(name, *bounds) for bounds in ((), (5,), (5, 9), (5, 200_000))]

    assert b"".join(spans[0]) == content
    assert b"".join(spans[1]) == content[5:]
    assert b"".join(spans[2]) == content[5:10]
    assert [len(chunk) for chunk in spans[3]] == [65_536, 65_536, 65_536, 200_000 - 4 - 3 * 65_536]
    with stored_bytes.opened(name) as descriptor:
        assert os.read(descriptor, 10) == content[:10]


def test_a_process_that_is_killed_leaves_no_copies_of_what_is_stored_elsewhere(
    upload, other_storage, tmp_path, monkeypatch
):
    name = upload(b"x" * 200_000, "a.txt").file_path
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    seen = []
    read = stored_bytes.Span.__next__

    def look(span):
        seen.append(list(folder.iterdir()))
        return read(span)

    monkeypatch.setattr(stored_bytes.Span, "__next__", look)
    with stored_bytes.opened(name) as descriptor:
        assert os.pread(descriptor, 300_000, 0) == b"x" * 200_000
    with stored_bytes.spool() as spooled:
        spooled.write(b"x" * 200_000)
        seen.append(list(folder.iterdir()))

    assert seen == [[]] * 6


def test_a_copy_that_ends_in_an_outage_keeps_no_descriptor(upload, other_storage, monkeypatch):
    name = upload(b"words", "a.txt").file_path
    before = descriptors()

    def gone(span):
        raise StorageUnavailable("it does not answer")

    monkeypatch.setattr(stored_bytes.Span, "__next__", gone)
    with pytest.raises(StorageUnavailable), stored_bytes.opened(name):
        pass

    assert descriptors() <= before


def test_an_object_that_arrived_in_part_is_removed_and_refused(upload, other_storage, storage_folder):
    other_storage.loses_bytes = 1

    with pytest.raises(StorageUnavailable, match="it kept 4 of 5 bytes"):
        upload(b"words", "a.txt")

    assert (list(storage_folder.iterdir()), File.objects.count()) == ([], 0)


def test_an_outage_in_the_middle_of_a_read_is_told(upload, other_storage):
    span = stored_bytes.open_span(upload(b"words", "a.txt").file_path)
    span.close()

    class Gone(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(errno.ECONNRESET, "Connection reset")

    span._stream = Gone()
    with pytest.raises(StorageUnavailable, match="Connection reset"):
        next(span)


# --- Extraction and deletion while the storage is down --------------------------------------------


@pytest.fixture
def down(other_storage, settings):
    settings.RETRY_BASE_SECONDS = 100.0

    def _down(error: Exception | None) -> None:
        other_storage.broken = error

    return _down


def test_a_file_is_not_blamed_for_its_storage_and_waits(upload, down):
    services.extraction._outages.over()
    file = upload(b"words", "a.txt")
    down(ConnectionError("gone"))

    assert services.extract_due_files(budget_seconds=0) is False

    file.refresh_from_db()
    assert (file.status, file.error_code, file.retry_count, file.claimed_by) == ("processing", "", 0, "")
    assert file.lease_until is not None
    assert services.sweep_files() == 0
    down(None)
    File.objects.update(lease_until=None)
    services.extract_due_files()
    file.refresh_from_db()
    assert (file.status, file.recoveries) == ("processed", 0)


def test_the_pause_doubles_up_to_a_minute_and_begins_anew(settings):
    settings.RETRY_BASE_SECONDS = 1.0
    outages = services.extraction._Outages()

    assert [outages.pause_seconds() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    outages.over()
    assert outages.pause_seconds() == 2


def test_a_deletion_leaves_bytes_for_later_where_the_storage_is_down(
    upload, down, storage_folder, django_capture_on_commit_callbacks
):
    file = upload(b"words", "a.txt")
    down(ConnectionError("gone"))
    with django_capture_on_commit_callbacks(execute=True):
        services.delete_file(file)
    assert services.deletion.remove_left_bytes() == 0
    assert [path.name for path in storage_folder.iterdir()] == [file.filename]

    down(None)

    assert services.deletion.remove_left_bytes() == 1
    assert list(storage_folder.iterdir()) == []


def test_left_bytes_that_somebody_has_uploaded_again_stay(
    upload, down, storage_folder, django_capture_on_commit_callbacks
):
    file = upload(b"words", "a.txt")
    down(ConnectionError("gone"))
    with django_capture_on_commit_callbacks(execute=True):
        services.delete_file(file)
    down(None)
    again = upload(b"words", "b.txt")

    services.deletion.remove_left_bytes()

    assert [path.name for path in storage_folder.iterdir()] == [again.filename]


@pytest.fixture
def left(upload, down, django_capture_on_commit_callbacks):
    """Delete files while their storage is away; the names of their bytes, in the order of their deletion."""

    def _left(count: int) -> list[str]:
        files = [upload(b"words %d" % number, "a.txt") for number in range(count)]
        down(ConnectionError("gone"))
        for file in files:
            with django_capture_on_commit_callbacks(execute=True):
                services.delete_file(file)
        down(None)
        return [file.filename for file in files]

    return _left


@pytest.mark.parametrize("stuck", [0, 1, 2])
def test_bytes_that_cannot_be_removed_hold_up_no_others(left, storage_folder, monkeypatch, stuck):
    names = left(3)
    remove = stored_bytes.remove

    def refuse_one(name):
        if name == names[stuck]:
            raise StorageUnavailable("it denies access")
        remove(name)

    monkeypatch.setattr(stored_bytes, "remove", refuse_one)
    services.deletion.remove_left_bytes()
    services.deletion.remove_left_bytes()

    assert [path.name for path in storage_folder.iterdir()] == [names[stuck]]


def test_the_sweep_stops_when_its_time_is_up_and_goes_on_at_the_next_call(left, storage_folder, monkeypatch):
    left(3)
    monkeypatch.setattr(services.deletion, "SWEEP_SECONDS", 100.0)
    monkeypatch.setattr(services.deletion, "_next_sweep_at", 0.0)
    now = itertools.count(1_000.0, 40.0)
    monkeypatch.setattr(services.deletion, "time", SimpleNamespace(monotonic=lambda: next(now)))

    counts = []
    for _ in range(3):
        services.deletion.sweep_left_bytes()
        counts.append(len(list(storage_folder.iterdir())))

    assert counts == [1, 0, 0]
    assert services.deletion._next_sweep_at > 1_000.0 + services.deletion.SWEEP_EVERY_SECONDS


def test_what_cannot_be_cleared_up_keeps_no_file_from_its_extraction(upload, storage_folder, monkeypatch):
    upload(b"words", "a.txt")
    for name in ("a.part", "b.part"):
        (storage_folder / "incoming" / name).mkdir()
        os.utime(storage_folder / "incoming" / name, (1, 1))

    assert (services.sweep_files(), stored_bytes.remove_abandoned()) == (1, 0)

    monkeypatch.setattr(stored_bytes, "remove_abandoned", lambda: 1 / 0)
    File.objects.update(status="processing", lease_until="2000-01-01T00:00:00Z")
    with pytest.raises(ZeroDivisionError):
        services.sweep_files()
    assert File.objects.get().lease_until is None


def test_a_half_written_upload_of_a_killed_process_goes_after_a_day(storage_folder):
    incoming = storage_folder / "incoming"
    incoming.mkdir()
    for name, age_seconds in (("old.upload", 25 * 3600), ("young.upload", 60)):
        (incoming / name).write_bytes(b"half")
        os.utime(incoming / name, (time.time() - age_seconds,) * 2)

    assert stored_bytes.remove_abandoned() == 1
    assert [path.name for path in incoming.iterdir()] == ["young.upload"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["before", "after"])
def test_bytes_go_also_where_the_process_dies_in_the_middle_of_a_deletion(upload, storage_folder, monkeypatch, place):
    class Killed(BaseException):
        pass

    remove = stored_bytes.remove

    def die(name):
        if place == "after":
            remove(name)
        raise Killed

    file = upload(b"words", "a.txt")
    monkeypatch.setattr(stored_bytes, "remove", die)
    with pytest.raises(Killed):
        services.delete_file(file)
    monkeypatch.undo()

    assert services.deletion.remove_left_bytes() == 1

    assert list(storage_folder.glob("*.txt")) == []
    file.refresh_from_db()
    assert (file.status, file.error_code, services.deletion.remove_left_bytes()) == ("deleted", "", 0)


@pytest.mark.django_db(transaction=True)
def test_a_sweep_that_dies_before_the_bytes_are_gone_leaves_them_to_the_next(upload, down, storage_folder, monkeypatch):
    class Killed(BaseException):
        pass

    def die(name):
        raise Killed

    file = upload(b"words", "a.txt")
    down(ConnectionError("gone"))
    services.delete_file(file)
    down(None)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stored_bytes, "remove", die)
        services.deletion.remove_left_bytes()

    assert services.deletion.remove_left_bytes() == 1
    assert list(storage_folder.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_storage_that_is_slower_than_a_lease_does_not_lose_the_file(upload, other_storage, settings, monkeypatch):
    settings.LEASE_SECONDS = 3.0
    settings.EXTRACT_WARM_SERVER = False
    file = upload(b"words", "a.txt")
    open_span, released = stored_bytes.open_span, []

    def open_slowly(name):
        for _ in range(4):
            time.sleep(1.0)  # the storage is what sleeps here
            released.append(services.extraction.transitions.release_expired())
        return open_span(name)

    monkeypatch.setattr(stored_bytes, "open_span", open_slowly)
    services.extract_due_files(budget_seconds=0)

    file.refresh_from_db()
    assert released == [0, 0, 0, 0]
    assert (file.status, file.recoveries) == ("processed", 0)


@pytest.mark.django_db(transaction=True)
def test_a_deadline_in_the_middle_of_a_statement_leaves_no_lock():
    digest = "ab" * 32

    def try_lock() -> bool:
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [int(digest[:15], 16)])
                return bool(cursor.fetchone()[0])
        finally:
            other.close()

    with pytest.raises(StepTimeout), time_limit(2), stored_bytes.locked(digest), connection.cursor() as cursor:
        assert not try_lock()
        cursor.execute("SELECT pg_sleep(4)")

    # The server notices when its statement ends.
    deadline = time.monotonic() + 60
    while not (is_free := try_lock()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_free


def unclaimed_of(storage_folder):
    for note in storage_folder.glob("incoming/*.unclaimed"):
        os.utime(note, (time.time() - 3600,) * 2)
    return services.deletion.remove_unclaimed_bytes()


@pytest.mark.django_db(transaction=True)
def test_bytes_that_never_got_their_row_go_with_the_sweep(upload, owner, storage_folder, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    # Nothing is cleared up by a process that was killed.
    monkeypatch.setattr(services.upload, "_insert", die)
    monkeypatch.setattr(services.upload.deletion, "remove_unshared", lambda *_: True)
    with pytest.raises(Killed):
        upload(b"words", "a.txt")
    monkeypatch.undo()
    assert len(list(storage_folder.glob("*.txt"))) == 1
    assert services.deletion.remove_unclaimed_bytes() == 0  # too young

    assert unclaimed_of(storage_folder) == 1

    assert [path for path in storage_folder.rglob("*") if path.is_file()] == []
    assert unclaimed_of(storage_folder) == 0


def test_unclaimed_bytes_that_somebody_has_uploaded_since_stay(upload, storage_folder):
    file = upload(b"words", "a.txt")
    assert list(storage_folder.glob("incoming/*")) == []
    (storage_folder / "incoming" / f"{file.filename}.unclaimed").touch()

    assert unclaimed_of(storage_folder) == 1

    assert [path.name for path in storage_folder.rglob("*") if path.is_file()] == [file.filename]


def test_an_upload_that_any_error_ends_leaves_no_bytes(upload, storage_folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(services.upload.signals.file_uploaded, "send", refuse)
    with pytest.raises(ZeroDivisionError):
        upload(b"words", "a.txt")

    assert (list(storage_folder.glob("*.txt")), File.objects.count()) == ([], 0)
