import pytest

from accounts.models import AuditEntry
from files import services, signals, transitions
from files.errors import FileBusy, FileExtractionFailed, FileNotFound, FileNotProcessable
from files.models import File, FileContent, PoisonFile
from files.services import extraction
from tests import documents


@pytest.fixture
def news():
    """Collect the facts of file_processed."""
    heard = []

    def listen(**kwargs):
        heard.append({key: kwargs[key] for key in ("file_id", "processing_number", "run_triggers", "facts")})

    signals.file_processed.connect(listen, weak=False)
    yield heard
    signals.file_processed.disconnect(listen)


def expire(file):
    File.objects.filter(pk=file.pk).update(lease_until="2000-01-01T00:00:00Z")


def test_a_due_file_is_extracted_and_its_news_sent_once(upload, news):
    file = upload(documents.pdf("Hello PDF", "Second page"), "a.pdf")

    left = services.extract_due_files()

    file.refresh_from_db()
    assert (left, file.status, file.processing_number, file.claimed_by) == (False, "processed", 1, "")
    assert file.content.text == "Hello PDF\n\nSecond page"
    assert file.extraction_metadata == {
        "mime_type": "application/pdf",
        "extraction_method": "pdf",
        "pdf_pages": 2,
        "title": "Report",
        "author": "Ada",
        "character_count": 22,
        "word_count": 4,
    }
    assert news == [
        {
            "file_id": file.pk,
            "processing_number": 1,
            "run_triggers": True,
            "facts": {
                "file_id": file.pk,
                "filename": file.filename,
                "file_extension": "pdf",
                "original_filename": "a.pdf",
                "file_size": file.file_size,
                "mime_type": "application/pdf",
            },
        }
    ]
    assert FileContent.objects.filter(search="second").exists()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.pdf", documents.pdf(password="secret"), "encrypted"),
        ("a.pdf", documents.truncated_pdf(), "corrupt"),
        ("a.doc", documents.ole_doc(), "corrupt"),
        ("a.docx", documents.encrypted_office(), "encrypted"),
        ("a.xlsx", documents.xlsx()[:300], "corrupt"),
    ],
)
def test_a_file_without_text_ends_failed_with_a_code_and_starts_nothing(upload, news, name, content, code):
    file = upload(content, name)

    services.extract_due_files()

    file.refresh_from_db()
    assert (file.status, file.error_code, file.retry_count, news) == ("failed", code, 1, [])
    assert file.error_message


def test_a_file_of_a_kind_that_nobody_reads_says_so(upload, settings):
    settings.ALLOWED_EXTENSIONS = ["odt"]
    file = upload(b"words", "a.odt")

    services.extract_due_files()

    file.refresh_from_db()
    assert (file.status, file.error_code) == ("failed", "unsupported_type")


def test_a_stale_worker_changes_nothing(upload, news):
    file = upload(b"words", "a.txt")
    stale = transitions.claim_next("zombie")
    expire(file)
    services.extract_due_files()

    extraction._finish(stale, None, seconds=0.0)
    extraction._fail(stale, extraction.ExtractionFailed("corrupt", "no"), seconds=0.0)

    file.refresh_from_db()
    assert (file.status, file.recoveries, file.processing_number, file.fence) == ("processed", 1, 1, 2)
    assert len(news) == 1
    assert not transitions.renew(stale)


def test_a_file_over_which_the_worker_died_five_times_fails(upload):
    file = upload(b"words", "a.txt")
    for _ in range(6):
        transitions.claim_next("victim")
        expire(file)

    services.extract_due_files()

    file.refresh_from_db()
    assert (file.status, file.error_code, file.recoveries) == ("failed", "extract_crashed", 6)


def test_the_sweep_frees_files_of_dead_workers_and_counts_what_is_due(upload):
    held, dead = upload(b"one", "a.txt"), upload(b"two", "b.txt")
    transitions.claim_next("alive", file_id=held.pk)
    transitions.claim_next("dead", file_id=dead.pk)
    expire(dead)

    assert services.sweep_files() == 1
    assert transitions.claim_next("next").file.pk == dead.pk


def test_a_file_that_killed_its_child_is_remembered_until_somebody_asks_again(upload, settings):
    settings.EXTRACT_WALL_SECONDS = 0.001
    content = b"words"
    first = upload(content, "a.txt")
    services.extract_due_files()
    settings.EXTRACT_WALL_SECONDS = 60
    second = upload(content, "b.txt")
    services.extract_due_files()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.error_code, second.error_code) == ("extract_timeout", "extract_timeout")

    services.process_file(second)
    services.extract_due_files()

    second.refresh_from_db()
    assert (second.status, PoisonFile.objects.count()) == ("processed", 0)


def test_processing_again_needs_force_and_runs_triggers_only_when_told(upload, news):
    file = upload(b"words", "a.txt")
    services.extract_due_files()
    file.refresh_from_db()
    with pytest.raises(FileNotProcessable, match=r"File cannot be processed \(status: processed\)"):
        services.process_file(file)

    services.process_file(file, force=True)
    services.extract_due_files()
    file.refresh_from_db()
    services.process_file(file, force=True, trigger_workflows=True)
    services.extract_due_files()

    assert [(item["processing_number"], item["run_triggers"]) for item in news] == [(1, True), (2, False), (3, True)]


def test_a_file_that_was_made_starts_workflows_only_when_told(upload, news):
    [made] = services.convert_file(upload(b"a,b\n", "a.csv"), target_format="json", act=services.Act())
    for told in (None, True):
        made.refresh_from_db()
        services.process_file(made, force=True, trigger_workflows=told)
        services.extract_due_files()

    assert [item["run_triggers"] for item in news if item["file_id"] == made.pk] == [False, True]


def test_a_failed_file_can_be_tried_three_times(upload):
    file = upload(documents.truncated_pdf(), "a.pdf")
    services.extract_due_files()
    for _ in range(2):
        file.refresh_from_db()
        services.process_file(file)
        services.extract_due_files()
    file.refresh_from_db()

    with pytest.raises(FileNotProcessable, match=r"\(status: failed\)"):
        services.process_file(file)
    assert file.retry_count == 3


def test_a_workflow_step_extracts_now_waits_for_others_and_reports_failure(upload, owner):
    due, busy, bad = upload(b"one", "a.txt"), upload(b"two", "b.txt"), upload(documents.truncated_pdf(), "c.pdf")
    transitions.claim_next("other", file_id=busy.pk)

    assert services.ensure_extracted(due.pk, owner_id=owner.pk).content.text == "one"
    with pytest.raises(FileBusy):
        services.ensure_extracted(busy.pk, owner_id=owner.pk)
    with pytest.raises(FileExtractionFailed) as refused:
        services.ensure_extracted(bad.pk, owner_id=owner.pk)
    assert refused.value.code == "corrupt"


def test_a_step_has_the_text_though_somebody_deletes_the_file_in_this_moment(upload, owner):
    file = services.ensure_extracted(upload(b"words", "a.txt").pk, owner_id=owner.pk)

    services.delete_file(file)

    assert (file.content.text, file.content.tables) == ("words", [])
    with pytest.raises(FileNotFound):
        services.ensure_extracted(file.pk, owner_id=owner.pk)


@pytest.mark.parametrize(("name", "content"), [("a.docx", documents.docx("two words")), ("a.xlsx", documents.xlsx())])
def test_office_files_are_due_like_all_others(upload, news, name, content):
    file = upload(content, name)

    services.extract_due_files()

    file.refresh_from_db()
    assert (file.status, file.error_code, len(news)) == ("processed", "", 1)
    assert file.extraction_metadata["word_count"] in {2, 3}
    assert file.extraction_metadata["mime_type"].startswith("application/vnd.openxmlformats-officedocument")


def test_what_could_not_be_read_beside_the_text_stands_in_the_metadata(upload, monkeypatch):
    file = upload(documents.pdf("words"), "a.pdf")
    result = extraction.Extraction(text="words", metadata={}, warnings=["Tables were not read: MemoryError"])
    monkeypatch.setattr(extraction.sandbox, "run_extraction", lambda *_, **__: result)

    services.extract_due_files()

    file.refresh_from_db()
    assert file.extraction_metadata["warnings"] == ["Tables were not read: MemoryError"]


def test_an_interrupted_worker_gives_its_file_back_at_once_and_without_blame(upload, monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupt(*args, **kwargs):
        raise Interrupted

    file = upload(b"words", "a.txt")
    with monkeypatch.context() as patch:
        patch.setattr(extraction.sandbox, "run_extraction", interrupt)
        for _ in range(7):
            with pytest.raises(Interrupted):
                services.extract_due_files()

    file.refresh_from_db()
    assert (file.status, file.claimed_by, file.lease_until) == ("processing", "", None)
    services.extract_due_files()
    file.refresh_from_db()
    assert (file.status, file.processing_number, file.recoveries) == ("processed", 1, 0)


def test_processing_and_deletion_by_hand_are_audited(upload):
    file = upload(b"words", "a.txt")
    services.extract_due_files()
    file.refresh_from_db()

    services.process_file(file, actor="ada@example.com", force=True)
    file.refresh_from_db()
    services.delete_file(file, actor="ada@example.com")

    entries = AuditEntry.objects.filter(object_type="files.file", object_id=str(file.pk)).order_by("pk")
    assert [(entry.action, entry.actor, entry.owner_id) for entry in entries] == [
        ("file.process_requested", "ada@example.com", file.owner_id),
        ("file.deleted", "ada@example.com", file.owner_id),
    ]
    assert entries[0].after == {"extract_content": True, "run_triggers": False}
    assert entries[1].before == {"original_filename": "a.txt", "file_hash": file.file_hash, "status": "uploaded"}
