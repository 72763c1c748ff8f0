"""Files made out of files: what is stored, under which lineage, once, and never in the worker's own memory."""

import contextlib
import io
import itertools
import json
import resource
import threading
from pathlib import Path

import pytest
from django.db import connection
from PIL import Image

from core.errors import InvalidInput, Unavailable
from files import made_answers, sandbox, services, stored_bytes
from files.answers import ChildDied
from files.errors import FileMakingFailed, FileQuotaExceeded, StorageFull, StorageUnavailable
from files.extractors.base import ExtractionFailed, Limits
from files.models import File
from files.services import Act, made_files, making
from tests import documents
from tests.factories import make_owner

CSV = b"id,name\n007,Ada\n"
STEP = Act(key="step:abc", execution_id=7, step="steps.make", version_id=3, correlation_id="corr-1", actor="a workflow")


def content_of(file: File) -> bytes:
    with stored_bytes.reading(file.file_path) as stream:
        return stream.read()


@pytest.fixture
def upload_any(upload, settings):
    """Upload under every extension that can be read."""
    settings.ALLOWED_EXTENSIONS = ["docx", "xlsx", "html", "md", "rtf", "pdf", "eml", "csv", "json", "xml"]
    return upload


@pytest.fixture
def table(upload):
    return upload(CSV, "Report 1.csv")


def test_a_file_that_was_made_names_its_source_and_its_maker(table):
    [made] = services.convert_file(table, target_format="json", act=STEP)

    made.refresh_from_db()
    assert content_of(made) == b'[\n{"id": "007", "name": "Ada"}\n]\n'
    assert (made.original_filename, made.mime_type, made.owner) == ("Report 1.json", "application/json", table.owner)
    assert made.filename == made.file_path == f"{made.file_hash}.json"
    assert (made.file_size, made.status, made.run_triggers) == (33, "uploaded", False)
    assert (made.source_file, made.made_by_action, made.made_by_execution_id) == (table, "convert", 7)
    assert (made.made_by_step, made.made_by_version_id, made.made_key) == ("steps.make", 3, "step:abc:1")
    assert (made.uploaded_by, made.correlation_id) == ("a workflow", "corr-1")


def test_what_was_made_is_extracted_and_found_by_its_words(table):
    [made] = services.convert_file(table, target_format="xlsx", act=Act())

    services.extract_due_files()

    made.refresh_from_db()
    assert (made.status, made.content.text) == ("processed", "Sheet1\nid\tname\n007\tAda\n")
    assert made.extraction_metadata["excel_sheet_names"] == ["Sheet1"]


def test_an_act_that_is_repeated_gives_the_files_it_has_made(upload):
    source = upload(documents.pdf("one", "two", "three"), "three.pdf")

    first = services.convert_file(source, target_format="png", dpi=20, act=STEP)
    again = services.convert_file(source, target_format="png", dpi=20, act=STEP)

    assert [file.original_filename for file in first] == ["three-1.png", "three-2.png", "three-3.png"]
    assert [file.made_key for file in first] == ["step:abc:1", "step:abc:2", "step:abc:3"]
    assert [file.pk for file in again] == [file.pk for file in first]
    assert File.objects.filter(source_file=source).count() == 3


def test_without_a_key_every_call_makes_a_file_that_shares_the_bytes(table):
    [first] = services.convert_file(table, target_format="json", act=Act())
    [second] = services.convert_file(table, target_format="json", act=Act())

    assert first.pk != second.pk
    assert first.file_path == second.file_path
    services.delete_file(first)
    assert content_of(second).startswith(b"[")


def test_keys_of_different_owners_do_not_meet(table, upload):
    other = upload(CSV, "other.csv", by=make_owner("Grace"))

    [mine] = services.convert_file(table, target_format="json", act=STEP)
    [theirs] = services.convert_file(other, target_format="json", act=STEP)

    assert mine.pk != theirs.pk


@pytest.mark.django_db(transaction=True)
def test_two_workers_who_do_the_same_act_at_once_make_one_file(table, monkeypatch):
    both_have_made = threading.Barrier(2, timeout=30)
    store = made_files.store

    def store_together(*args, **kwargs):
        both_have_made.wait()
        return store(*args, **kwargs)

    monkeypatch.setattr(made_files, "store", store_together)
    found: list[list[int]] = []

    def work():
        try:
            found.append([file.pk for file in services.convert_file(table, target_format="xlsx", act=STEP)])
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    made = File.objects.get(source_file=table)
    assert found == [[made.pk], [made.pk]]
    assert content_of(made).startswith(b"PK")


def test_a_crash_before_the_rows_are_there_leaves_no_bytes_and_the_act_can_be_repeated(
    table, storage_folder, monkeypatch
):
    class Killed(BaseException):
        pass

    def die(name):
        if name == "made_before_commit":
            raise Killed

    before = set(storage_folder.iterdir())
    monkeypatch.setattr(made_files.faults, "point", die)
    with pytest.raises(Killed):
        services.convert_file(table, target_format="json", act=STEP)

    assert File.objects.count() == 1
    assert {path for path in storage_folder.iterdir() if path.is_file()} == {path for path in before if path.is_file()}
    monkeypatch.undo()
    [made] = services.convert_file(table, target_format="json", act=STEP)
    assert content_of(made).startswith(b"[")


def test_over_the_quota_nothing_is_made(table, storage_folder):
    table.owner.file_quota_bytes = table.file_size + 10
    table.owner.save(update_fields=["file_quota_bytes"])
    before = sorted(path.name for path in storage_folder.rglob("*") if path.is_file())

    with pytest.raises(FileQuotaExceeded):
        services.convert_file(table, target_format="json", act=STEP)

    assert File.objects.count() == 1
    assert sorted(path.name for path in storage_folder.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("target", ["json", "txt"])
def test_a_full_temporary_folder_is_a_full_storage_and_nothing_is_made(upload, target):
    source = upload(b"a,b\n" + b"hello,world\n" * 200_000, "a.csv")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    try:
        with pytest.raises(StorageFull):
            services.convert_file(source, target_format=target, act=STEP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert File.objects.count() == 1


def test_where_the_storage_is_full_none_of_several_files_is_made(upload, storage_folder, monkeypatch):
    source = upload(documents.pdf("one", "two"), "two.pdf")
    before = sorted(path.name for path in storage_folder.rglob("*") if path.is_file())
    store, calls = stored_bytes.store, itertools.count(1)

    def store_one(*args, **kwargs):
        if next(calls) == 2:
            raise StorageFull
        return store(*args, **kwargs)

    monkeypatch.setattr(stored_bytes, "store", store_one)
    with pytest.raises(StorageFull):
        services.convert_file(source, target_format="png", dpi=20, act=STEP)

    assert File.objects.count() == 1
    assert sorted(path.name for path in storage_folder.rglob("*") if path.is_file()) == before


# --- Text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.docx", documents.docx("First", "Second"), "First\nSecond\n"),
        ("a.xlsx", documents.xlsx(S=[["x", 1.0]]), "S\nx\t1\n"),
        ("a.html", b"<html><body><h1>Title</h1><p>words</p></body></html>", "Title\nwords"),
        ("a.md", b"# Title\n\nwords\n", "# Title\n\nwords\n"),
        ("a.rtf", rb"{\rtf1 plain words\par}", "plain words\n"),
        ("a.pdf", documents.pdf("Hello PDF"), "Hello PDF"),
        ("a.eml", b"From: a@b.c\nSubject: Hi\n\nThe body\n", None),
        ("a.csv", CSV, CSV.decode()),
        ("a.json", b'{"a": 1}', '{"a": 1}'),
        ("a.xml", b"<a><b>words</b></a>", None),
    ],
)
@pytest.mark.parametrize("is_extracted", [False, True])
def test_documents_become_the_text_that_the_extraction_reads(upload_any, name, content, text, is_extracted):
    source = upload_any(content, name)
    if is_extracted:
        services.extract_due_files()
        source.refresh_from_db()

    [made] = services.convert_file(source, target_format="txt", act=Act())

    services.extract_due_files()
    source.refresh_from_db()
    assert made.original_filename == "a.txt"
    assert content_of(made).decode() == source.content.text
    assert text is None or content_of(made).decode().strip() == text.strip()


def test_a_text_file_has_no_control_characters_that_would_make_it_binary(upload_any):
    source = upload_any(b"a\x02\x7fb\tc " + b"d" * 300, "controls.md")

    [made] = services.convert_file(source, target_format="txt", act=Act())

    assert content_of(made).strip() == b"ab\tc " + b"d" * 300


@pytest.mark.parametrize(("option", "value"), [("pages", "1-2"), ("sheet", "Summer")])
def test_a_part_of_a_file_cannot_be_asked_for_as_a_text(table, option, value):
    with pytest.raises(InvalidInput, match=f"{option}: a text is made of the whole file"):
        services.convert_file(table, target_format="txt", act=Act(), **{option: value})


def test_the_words_of_scanned_pages_are_in_the_text(upload):
    source = upload(documents.scanned_pdf("Hello scan", None, words="real words"), "scan.pdf")

    [made] = services.convert_file(source, target_format="txt", act=Act())

    assert content_of(made).decode().split() == ["Hello", "scan", "real", "words"]


def test_a_file_without_words_becomes_no_text_file(upload):
    source = upload(b" \n ", "blank.csv")

    with pytest.raises(FileMakingFailed, match="The file has no text") as refusal:
        services.convert_file(source, target_format="txt", act=Act())

    assert refusal.value.code == "NO_CONTENT"


# --- Refusals ------------------------------------------------------------------------------------


def test_an_impossible_target_is_refused_with_those_that_are_possible(table):
    with pytest.raises(FileMakingFailed) as refusal:
        services.convert_file(table, target_format="docx", act=Act())

    assert refusal.value.detail == (
        "target_format: a .csv file cannot be converted to 'docx'; it can become tsv, xlsx, json, txt"
    )
    assert (refusal.value.code, refusal.value.problems[0].loc) == ("UNSUPPORTED_TYPE", ("body", "target_format"))


@pytest.mark.parametrize("wanted", ["XLSX", ".xlsx", " Excel "])
def test_targets_are_named_in_any_case(table, wanted):
    [made] = services.convert_file(table, target_format=wanted, act=Act())

    assert made.original_filename == "Report 1.xlsx"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda file: services.optimize_file(file, quality=0, act=Act()), "quality: must be between 1 and 100"),
        (lambda file: services.optimize_file(file, quality=101, act=Act()), "quality: must be between 1 and 100"),
        (lambda file: services.resize_image(file, width=0, height=1, act=Act()), "width: must be between 1 and 10000"),
        (
            lambda file: services.resize_image(file, width=1, height=10_001, act=Act()),
            "height: must be between 1 and 10000",
        ),
        (
            lambda file: services.resize_image(file, width=10_000, height=5_001, act=Act()),
            "width: width x height must be at most 50000000 pixels",
        ),
        (
            lambda file: services.convert_file(file, target_format="png", dpi=301, act=Act()),
            "dpi: must be between 10 and 300",
        ),
        (
            lambda file: services.convert_file(file, target_format="png", pages="one", act=Act()),
            'pages: must be numbers and ranges of pages, for example "1-3,5"',
        ),
    ],
)
def test_bounds_are_named_with_their_field(upload, act, message):
    source = upload(documents.pdf("x"), "x.pdf")

    with pytest.raises(InvalidInput) as refusal:
        act(source)

    assert refusal.value.detail == message


def test_what_is_no_picture_is_not_resized(table):
    with pytest.raises(FileMakingFailed) as refusal:
        services.resize_image(table, width=1, height=1, act=Act())

    assert (refusal.value.code, refusal.value.detail) == (
        "UNSUPPORTED_TYPE",
        "A .csv file cannot be resized; possible: bmp, gif, jpeg, jpg, png, tif, tiff, webp",
    )


def test_bytes_that_are_gone_are_named(table):
    stored_bytes.remove(table.file_path)

    with pytest.raises(FileMakingFailed, match="stored bytes of this file are missing") as refusal:
        services.convert_file(table, target_format="xlsx", act=Act())

    assert refusal.value.code == "BYTES_MISSING"


def test_what_the_child_refuses_keeps_its_code(upload):
    source = upload(documents.pdf("x", password="secret"), "x.pdf")

    with pytest.raises(FileMakingFailed, match="The PDF needs a password") as refusal:
        services.convert_file(source, target_format="png", act=Act())

    assert refusal.value.code == "ENCRYPTED"
    assert File.objects.count() == 1


def test_a_picture_that_asks_for_too_much_time_or_memory_ends_typed(upload, settings):
    settings.ALLOWED_EXTENSIONS = ["png"]
    buffer = io.BytesIO()
    Image.new("RGBA", (7_000, 7_000), "red").save(buffer, "PNG")
    source = upload(buffer.getvalue(), "large.png")
    settings.EXTRACT_MEMORY_BYTES = 256 * 1024**2

    with pytest.raises(FileMakingFailed) as refusal:
        services.convert_file(source, target_format="tiff", act=Act())

    assert refusal.value.code in {"TOO_LARGE", "EXTRACT_CRASHED", "CORRUPT"}


# --- Optimize and resize -------------------------------------------------------------------------


def test_a_picture_that_cannot_become_smaller_is_a_file_of_the_same_bytes(upload, settings):
    settings.ALLOWED_EXTENSIONS = ["png"]
    source = upload(documents.picture("Hi"), "hi.png")
    smaller = services.optimize_file(source, act=Act())

    again = services.optimize_file(smaller, act=Act())

    assert smaller.file_size < source.file_size
    assert (again.file_hash, again.file_size, again.pk == smaller.pk) == (smaller.file_hash, smaller.file_size, False)
    assert (again.source_file, again.original_filename) == (smaller, "hi-optimized-optimized.png")


def test_a_resized_picture_knows_its_sides_before_and_after_extraction(upload, settings):
    settings.ALLOWED_EXTENSIONS = ["png"]
    source = upload(documents.picture("Hi", size=(1000, 400)), "hi.png")

    made = services.resize_image(source, width=500, height=500, keep_ratio=True, act=Act())

    sides = {"image_width": 500, "image_height": 200}
    assert (made.original_filename, made.extraction_metadata) == ("hi-500x200.png", sides)
    services.extract_due_files()
    made.refresh_from_db()
    assert {key: made.extraction_metadata[key] for key in sides} == sides


# --- Memory, the child and its answer ------------------------------------------------------------


def test_a_long_table_is_converted_without_memory_of_the_workers(upload, settings):
    settings.MAX_FILE_SIZE_BYTES = 100 * 1024**2
    source = upload(documents.csv(100_000), "long.csv")
    services.convert_file(upload(CSV, "warm.csv"), target_format="json", act=Act())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    [made] = services.convert_file(source, target_format="json", act=Act())

    assert made.file_size > 5 * 1024**2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * 1024  # KiB
    rows = json.loads(content_of(made))
    assert (len(rows), rows[-1]) == (100_000, {"id": "100000", "name": "name 100000", "amount": "100000.50"})


def test_the_child_gives_its_files_one_after_the_other_and_then_ends(tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(documents.pdf("one", "two"))
    request = {"job": "make", "action": "convert", "extension": "pdf", "options": {"target": "png", "dpi": 20}}
    answer = io.BytesIO()

    return_code = sandbox.run_job(tmp_path / "a.pdf", request, Limits(), answer=answer, max_answer_bytes=1024**2)

    parts = made_answers.read(answer, return_code, Limits())
    assert [(part.extension, part.label) for part in parts] == [("png", "1"), ("png", "2")]
    for part in parts:
        stream = made_answers.PartStream(answer, part)
        assert Image.open(stream).size == (166, 234)
        assert stream.seek(0, 2) == part.size_bytes


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b'{"made":{"extension":"png","label":"","facts":{},"size":3}}\nab',
        b'{"made":{"extension":"png","label":"","facts":{},"size":-3}}\n{"done":{}}\n',
        b'{"made":{"extension":"png","label":"","facts":{},"size":3}}\nabc',
        b"[]\n",
        b"no json\n",
        b'{"made":' + b" " * 100_000,
        b'{"done":{"files":0}}\n',
        b"[" * 60_000 + b"\n",
        b'{"made":{"extension":"png","label":7,"facts":{},"size":3}}\nabc{"done":{}}\n',
        b'{"made":{"extension":"png","label":"","facts":[],"size":3}}\nabc{"done":{}}\n',
        b'{"made":{"size":3}}\nabc{"done":{}}\n',
        b'{"error":"no object"}\n',
        # `<sha256>.x/../y` is the name of other bytes.
        b'{"made":{"extension":"x/../y.pdf","label":"","facts":{},"size":3}}\nabc{"done":{}}\n',
        b'{"made":{"extension":"PNG\\n","label":"","facts":{},"size":3}}\nabc{"done":{}}\n',
    ],
)
def test_an_answer_without_an_end_or_with_false_lengths_is_a_dead_child(answer):
    with pytest.raises(ChildDied) as death:
        made_answers.read(io.BytesIO(answer), -9, Limits())

    assert death.value.code == "extract_crashed"


def test_an_error_after_some_files_gives_none_of_them():
    made = b'{"made":{"extension":"png","label":"","facts":{},"size":3}}\nabc'
    error = b'{"error":{"code":"too_large","message":"Too \\u0000much"}}\n'

    with pytest.raises(ExtractionFailed, match="Too much") as failure:
        made_answers.read(io.BytesIO(made + error), 0, Limits())

    assert failure.value.code == "too_large"


@pytest.mark.parametrize(
    ("original", "label", "extension", "name"),
    [
        ("report.xlsx", "", "csv", "report.csv"),
        ("report.pdf", "2", "png", "report-2.png"),
        ("a.b.xlsx", "Prices/2026", "csv", "a.b-Prices 2026.csv"),
        (".csv", "", "json", ".csv.json"),
        ("x" * 300 + ".pdf", "12", "png", "x" * 248 + "-12.png"),
    ],
)
def test_names_come_from_the_sources(original, label, extension, name):
    assert made_files.name_of(original, label=label, extension=extension) == name


def test_a_sheet_that_no_request_holds_is_refused(table):
    with pytest.raises(InvalidInput, match="sheet: must have at most 500 characters"):
        services.convert_file(table, target_format="json", sheet="x" * 200_000, act=STEP)


def test_sheets_with_names_of_any_length_become_files(upload):
    source = upload(documents.xlsx(**{"ж" * 50_000: [["a"]], "Two": [["b"]]}), "Book.xlsx")

    made = services.convert_file(source, target_format="csv", act=STEP)

    assert [file.original_filename for file in made] == [f"Book-{'ж' * 100}.csv", "Book-Two.csv"]


def test_no_transaction_is_open_while_the_child_works(table, monkeypatch):
    seen = []
    run = sandbox.run_job

    def look(*args, **kwargs):
        seen.append(len(connection.savepoint_ids))
        return run(*args, **kwargs)

    depth = len(connection.savepoint_ids)
    monkeypatch.setattr(making.sandbox, "run_job", look)
    services.convert_file(table, target_format="json", act=Act())

    assert seen == [depth]


def test_a_signal_without_a_name_is_a_death_as_well():
    with pytest.raises(ChildDied, match=r"crashed \(signal 40\)"):
        made_answers.read(io.BytesIO(b""), -40, Limits())


def test_callers_have_so_many_files_made_at_once_and_steps_go_on(table, monkeypatch):
    monkeypatch.setattr(making, "_TURN_SECONDS", 0.01)
    with contextlib.ExitStack() as others:
        for _ in range(making.MOST_AT_ONCE):
            others.enter_context(making._turn(Act()))

        with pytest.raises(Unavailable, match="come again"):
            services.convert_file(table, target_format="json", act=Act())
        assert len(services.convert_file(table, target_format="json", act=STEP)) == 1

    assert len(services.convert_file(table, target_format="json", act=Act())) == 1


def test_a_storage_that_went_away_is_asked_once_to_clear_up(upload, monkeypatch):
    source = upload(documents.pdf("one", "two", "three"), "three.pdf")
    asked = []

    def away(*args, **kwargs):
        asked.append(args)
        raise StorageUnavailable("it does not answer")

    monkeypatch.setattr(stored_bytes, "store", away)
    monkeypatch.setattr(stored_bytes, "remove", away)
    with pytest.raises(StorageUnavailable):
        services.convert_file(source, target_format="png", dpi=20, act=STEP)

    assert len(asked) == 2
