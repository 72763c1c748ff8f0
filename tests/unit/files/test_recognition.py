"""The words of a file's pictures in the language that a caller asks for."""

import pytest

from files import services
from files.errors import FileExtractionFailed
from files.extractors import ocr_languages
from files.models import File
from tests import documents

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed"),
]


def test_a_text_that_was_read_in_the_language_already_is_not_read_again(upload, monkeypatch):
    file = upload(documents.scanned_pdf("Scanned words"), "a.pdf")
    services.extract_due_files()
    monkeypatch.setattr("files.sandbox.run_extraction", None)

    found = services.recognize_text(file.pk, owner_id=file.owner_id, language="eng")

    assert (found.text.strip(), found.confidence) == ("Scanned words", found.metadata["ocr_confidence"])


def test_a_picture_that_nobody_extracted_is_extracted_first(upload, settings):
    settings.ALLOWED_EXTENSIONS = ["png"]
    file = upload(documents.picture("Picture of words"), "a.png")

    found = services.recognize_text(file.pk, owner_id=file.owner_id, language="en")

    stored = File.objects.get(pk=file.pk)
    assert (found.text, stored.status, stored.content.text) == ("Picture of words", "processed", "Picture of words")
    assert stored.extraction_metadata["extraction_method"] == "ocr"


def test_pictures_not_yet_read_are_read_and_nothing_of_the_file_changes(upload, settings):
    settings.PDF_OCR_PAGES = 0
    file = upload(documents.scanned_pdf("Scanned words"), "a.pdf")
    services.extract_due_files()
    settings.PDF_OCR_PAGES = 10

    found = services.recognize_text(file.pk, owner_id=file.owner_id, language="en")

    assert (found.text.strip(), found.metadata["ocr_language"], found.metadata["word_count"]) == (
        "Scanned words",
        "eng",
        2,
    )
    stored = File.objects.get(pk=file.pk)
    assert (stored.content.text, "ocr_language" in stored.extraction_metadata) == ("", False)


def test_a_language_that_is_not_installed_is_refused_for_any_file(upload):
    file = upload(b"two words", "a.txt")

    with pytest.raises(FileExtractionFailed, match="installed: eng") as refused:
        services.recognize_text(file.pk, owner_id=file.owner_id, language="tlh")

    assert refused.value.code == "ocr_language_unknown"


def test_without_recognition_only_pictures_are_refused(upload, monkeypatch):
    monkeypatch.setattr(ocr_languages, "find_spec", lambda name: None)
    text, blank = upload(b"two words", "a.txt"), upload(documents.pdf(" "), "a.pdf")

    assert services.recognize_text(text.pk, owner_id=text.owner_id, language="en").confidence is None
    with pytest.raises(FileExtractionFailed) as refused:
        services.recognize_text(blank.pk, owner_id=blank.owner_id, language="en")

    assert refused.value.code == "ocr_unavailable"
