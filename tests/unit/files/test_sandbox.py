import subprocess
import sys

import pytest

from files import sandbox
from files.extractors.base import ExtractionFailed, Limits
from tests import documents
from tests.unit.files.commands import descriptors


@pytest.fixture
def document(tmp_path):
    """Write bytes to a file and return its path."""

    def _document(content: bytes):
        path = tmp_path / "document"
        path.write_bytes(content)
        return path

    return _document


def test_the_child_knows_neither_django_nor_the_environment():
    program = (
        "import sys, files.extraction_child, files.sandbox; "
        "from files.extractors import pdf, pdf_ocr, pdf_tables, csv, txt, docx, xlsx; "
        "heavy = 'django', 'pandas', 'pdfplumber', 'docx', 'openpyxl', 'tesserocr', 'PIL'; "
        "print([name for name in heavy if name in sys.modules])"
    )

    shown = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True)

    assert shown.stdout == "[]\n"


def test_a_file_that_needs_too_much_memory_is_refused_with_the_limit(document):
    content = b"a" * 60_000_000

    with pytest.raises(ExtractionFailed, match="more than 80 MiB of memory") as refused:
        sandbox.run_extraction(document(content), "txt", Limits(memory_bytes=80 * 1024**2))

    assert refused.value.code == "too_large"


def test_the_wall_limit_kills_the_child_and_says_so(document):
    with pytest.raises(sandbox.ChildDied, match=r"longer than 0\.001 seconds") as died:
        sandbox.run_extraction(document(b"words"), "txt", Limits(wall_seconds=0.001))

    assert died.value.code == "extract_timeout"


def test_a_lost_lease_abandons_the_work(document):
    with pytest.raises(sandbox.Abandoned):
        sandbox.run_extraction(document(b"words"), "txt", Limits(), heartbeat=lambda: False, heartbeat_seconds=0.001)


def test_a_child_that_dies_without_an_answer_has_crashed(document, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(sandbox.ChildDied, match="exit code 1") as died:
        sandbox.run_extraction(document(b"words"), "txt", Limits())

    assert died.value.code == "extract_crashed"


@pytest.mark.parametrize(
    ("end", "wall_seconds", "warning"),
    [
        ("kill -ABRT $$", 60, "Tables were not read: The extraction of this file crashed (SIGABRT)"),
        ("kill -XCPU $$", 60, "Tables were not read: The extraction used more than 30 seconds of CPU"),
        ("exec sleep 60", 3, "Tables were not read: The extraction of this file crashed (SIGKILL)"),
        ("""echo '{"warning": "Tables were not read: MemoryError"}'""", 60, "Tables were not read: MemoryError"),
    ],
)
def test_a_child_that_fails_over_tables_has_told_the_text(  # noqa: PLR0917
    document, tmp_path, monkeypatch, end, wall_seconds, warning
):
    program = tmp_path / "child"
    done = '{"done": {"metadata": {}, "tables": [], "truncated": false}}'.replace(": {", ":{", 1)
    program.write_text(f"""#!/bin/sh\necho '{{"text": "words"}}'\necho '{done}'\n{end}\n""")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    result = sandbox.run_extraction(document(b"%PDF-"), "pdf", Limits(wall_seconds=wall_seconds))

    assert (result.text, result.tables, result.warnings) == ("words", [], [warning])


def test_zero_characters_are_dropped_and_long_text_is_cut(document):
    result = sandbox.run_extraction(document(b"a\x00" + b"b" * 300), "txt", Limits(max_characters=200))

    assert (result.text, result.truncated) == ("a" + "b" * 198, True)


def test_a_pdf_of_too_many_pages_is_refused_and_no_descriptor_leaks(document):
    path = document(documents.pdf("one", "two", "three"))
    before = descriptors()

    with pytest.raises(ExtractionFailed, match="3 pages; the limit is 2"):
        sandbox.run_extraction(path, "pdf", Limits(max_pdf_pages=2))

    assert descriptors() <= before


def test_csv_keeps_leading_zeros_and_reports_a_foreign_delimiter(document):
    result = sandbox.run_extraction(document(documents.csv(2, delimiter=";")), "csv", Limits())

    assert result.metadata["csv_delimiter"] == ";"
    assert result.tables == [
        {
            "name": "csv",
            "rows": [["id", "name", "amount"], ["00001", "name 1", "1.50"], ["00002", "name 2", "2.50"]],
        }
    ]
