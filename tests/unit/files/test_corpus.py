"""Every document of the corpus against its manifest."""

import os
import re
import unicodedata
from pathlib import Path

import pytest

from files import sandbox
from files.extractors.base import ExtractionFailed, Limits

CORPUS = Path(os.environ.get("CORPUS_DIR", Path(__file__).resolve().parents[4] / "shared" / "corpus"))
LIMITS = Limits(memory_bytes=512 * 1024**2, cpu_seconds=10)
KINDS = {"pdf", "csv", "txt", "docx", "xlsx", "img", "xls", "doc"}
# Chinese letters, which need data files that are not installed; that they are survived is what counts.
OPTIONAL = {"img-exif", "img-ocr-cjk"}
REFUSALS = {
    "encrypted",
    "corrupt",
    "type_mismatch",
    "too_large",
    "too_many_pages",
    "extract_timeout",
    "extract_crashed",
}


def manifest():
    path = CORPUS / "MANIFEST.tsv"
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]] if path.exists() else []
    return [row[:5] for row in rows if row[1].split("-")[0] in KINDS]


def folded(text):
    text = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return re.sub(r"\s+", " ", text).casefold()


pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus folder: set CORPUS_DIR"),
]


@pytest.mark.parametrize(("name", "kind", "expect", "must", "must_not"), manifest(), ids=lambda value: value[:60])
def test_a_corpus_document_gives_what_the_manifest_says(name, kind, expect, must, must_not):
    try:
        text, refusal = sandbox.run_extraction(CORPUS / name, name.rpartition(".")[2], LIMITS).text, ""
    except ExtractionFailed as failure:
        text, refusal = "", failure.code
    if refusal:
        assert expect in {"reject", "survive"}, refusal
        assert refusal in REFUSALS
        return

    assert expect in {"extract", "survive"}
    if kind in OPTIONAL:
        return
    assert [part for part in must.split(" || ") if folded(part) not in folded(text)] == []
    assert not must_not or folded(must_not) not in folded(text)


def test_lam_and_alef_of_one_glyph_stand_in_reading_order():
    """The word for goods is written with this ligature; the Arabic article, two glyphs, keeps its order."""
    text = sandbox.run_extraction(CORPUS / "pdf-rtl__docling__right_to_left_03.pdf", "pdf", LIMITS).text

    assert (text.count("\u06a9\u0627\u0644\u0627"), text.count("\u06a9\u0627\u0627\u0644")) == (4, 0)
