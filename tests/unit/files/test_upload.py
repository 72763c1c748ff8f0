import hashlib
import io
import os
import re
import time

import pytest
from django.core.files.storage import default_storage

from files import services
from files.errors import EmptyFile, FileTooLarge, FileTypeNotAllowed, TypeMismatch, UploadRefused
from files.models import File
from tests import documents


def test_upload_stores_the_bytes_under_their_hash_and_leaves_a_due_row(upload, storage_folder):
    content = documents.pdf("Hello")

    file = upload(content, "../../etc/My report.PDF")

    digest = hashlib.sha256(content).hexdigest()
    assert (file.filename, file.original_filename, file.status) == (f"{digest}.pdf", "My report.PDF", "uploaded")
    assert (file.file_size, file.file_hash, file.mime_type) == (len(content), digest, "application/pdf")
    assert (storage_folder / f"{digest}.pdf").read_bytes() == content
    assert list(storage_folder.glob("incoming/*")) == []


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.pdf", b"", EmptyFile, "File is empty"),
        (
            "a.exe",
            b"MZ",
            FileTypeNotAllowed,
            "File type not allowed. Allowed types: pdf,doc,docx,txt,csv,xlsx (ALLOWED_EXTENSIONS)",
        ),
        ("", b"x", UploadRefused, "No filename provided"),
        ("folder/..", b"x", UploadRefused, "No filename provided"),
        ("a.pdf", b"<!doctype html><p>%PDF-1.4", TypeMismatch, "the name says pdf, the content is html"),
        ("a.txt", bytes(range(256)) * 8, TypeMismatch, "the name says txt, the content is binary"),
        ("a.csv", documents.pdf(), TypeMismatch, "the name says csv, the content is pdf"),
        ("a.docx", b"plain words", TypeMismatch, "the name says docx, the content is text"),
    ],
)
def test_a_bad_upload_is_refused_and_nothing_is_stored(  # noqa: PLR0917
    upload, storage_folder, name, content, error, message
):
    with pytest.raises(error, match=re.escape(message)):
        upload(content, name)

    assert not File.objects.exists()
    assert list(storage_folder.iterdir()) == []


def test_an_upload_over_the_limit_is_read_no_further_than_one_chunk(owner, settings, storage_folder):
    settings.MAX_FILE_SIZE_BYTES, settings.MAX_FILE_SIZE_TEXT = 100_000, "100KB"
    stream = io.BytesIO(b"a" * 1_000_000)

    with pytest.raises(FileTooLarge, match=r"File too large\. Maximum size: 100KB"):
        services.upload_file(owner, actor="test", stream=stream, filename="a.txt")

    assert stream.tell() <= 100_000 + 64 * 1024
    assert list(storage_folder.iterdir()) == []


def test_an_upload_of_exactly_the_limit_is_taken(upload, settings):
    settings.MAX_FILE_SIZE_BYTES = 1000

    assert upload(b"a" * 1000, "a.txt").file_size == 1000


def test_equal_bytes_survive_the_deletion_of_one_record(upload, django_capture_on_commit_callbacks):
    first, second = upload(b"same", "one.txt"), upload(b"same", "two.txt")

    with django_capture_on_commit_callbacks(execute=True):
        services.delete_file(first)
    assert default_storage.exists(second.file_path)

    with django_capture_on_commit_callbacks(execute=True):
        services.delete_file(second)
    assert not default_storage.exists(second.file_path)


def test_the_sweep_removes_half_written_uploads_of_killed_processes_only(db, storage_folder):
    incoming = storage_folder / "incoming"
    incoming.mkdir()
    for name, age_seconds in (("old.part", 25 * 3600), ("young.part", 60), ("old.other", 25 * 3600)):
        (incoming / name).write_bytes(b"half")
        written_at = time.time() - age_seconds
        os.utime(incoming / name, (written_at, written_at))

    services.sweep_files()

    assert sorted(path.name for path in incoming.iterdir()) == ["old.other", "young.part"]


@pytest.mark.parametrize("extension", ["docm", "xlsm"])
def test_macro_documents_are_taken_only_where_they_are_allowed(upload, settings, extension):
    content = documents.docx() if extension == "docm" else documents.xlsx()
    with pytest.raises(FileTypeNotAllowed):
        upload(content, f"a.{extension}")

    settings.ALLOWED_EXTENSIONS = [extension]

    assert "macroEnabled" in upload(content, f"a.{extension}").mime_type
