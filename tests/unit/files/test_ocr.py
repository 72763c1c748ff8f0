"""Words out of pictures: scanned PDF pages and image files, in the extraction child."""

import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from files import answers, sandbox
from files.extractors import image, ocr_languages
from files.extractors.base import ExtractionFailed, Limits
from tests import documents

pytestmark = pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed")


@pytest.fixture
def extract(tmp_path):
    """Extract bytes under an extension."""

    def _extract(content, extension, **limits):
        path = tmp_path / "document"
        path.write_bytes(content)
        return sandbox.run_extraction(path, extension, Limits(**limits))

    return _extract


def test_a_scanned_page_is_read_by_ocr(extract):
    result = extract(documents.scanned_pdf("Invoice number 4711"), "pdf")

    assert result.text.strip() == "Invoice number 4711"
    assert result.metadata["extraction_method"] == "ocr"
    assert (result.metadata["ocr_pages"], result.metadata["ocr_language"]) == ([1], "eng")
    assert 0.8 < result.metadata["ocr_confidence"] <= 1
    assert result.warnings == []


def test_scanned_pages_stand_in_their_place_among_the_others(extract):
    content = documents.scanned_pdf("Scanned first", None, "Scanned last", words="Typed in the middle")

    result = extract(content, "pdf")

    assert result.text.split("\n\n") == ["Scanned first", "Typed in the middle", "Scanned last"]
    assert (result.metadata["extraction_method"], result.metadata["ocr_pages"]) == ("pdf", [1, 3])


def test_pages_with_text_are_not_read_by_ocr(extract):
    result = extract(documents.pdf("words of a page"), "pdf")

    assert "ocr_pages" not in result.metadata


def test_only_so_many_scanned_pages_are_read_and_the_rest_is_told(extract):
    content = documents.scanned_pdf("Page one", "Page two", "Page three")

    result = extract(content, "pdf", ocr_pages=1)

    assert (result.text.strip(), result.metadata["ocr_pages"]) == ("Page one", [1])
    assert result.warnings == ["2 scanned pages were not read; the limit is 1 (PDF_OCR_PAGES)"]


def test_no_scanned_page_is_read_when_the_limit_is_none(extract):
    result = extract(documents.scanned_pdf("Page one"), "pdf", ocr_pages=0)

    assert (result.text, result.metadata["extraction_method"]) == ("", "pdf")
    assert result.warnings == ["1 scanned pages were not read; the limit is 0 (PDF_OCR_PAGES)"]


def test_an_unknown_language_keeps_the_text_of_a_pdf_and_warns(extract):
    content = documents.scanned_pdf(None, "Scanned", words="Typed words")

    result = extract(content, "pdf", ocr_language="xx")

    assert result.text.strip() == "Typed words"
    assert result.warnings == [
        "Scanned pages were not read: No text recognition for the language 'xx' is installed; installed: eng"
    ]


def test_a_child_that_dies_over_a_scanned_page_keeps_what_it_has_told():
    told = (
        b'{"text":"Typed"}\n'
        b'{"done":{"metadata":{"extraction_method":"pdf"},"tables":[],"truncated":false}}\n'
        b'{"reading":"Scanned pages"}\n'
        b'{"page":{"number":2,"offset":5,"text":" Scanned","confidence":0.9,"language":"eng"}}\n'
    )

    result = answers.read(told + b'{"page":{"num', -6, Limits())

    assert (result.text, result.metadata["ocr_pages"]) == ("Typed Scanned", [2])
    assert result.warnings == ["Scanned pages were not read: The extraction of this file crashed (SIGABRT)"]


def test_text_of_scanned_pages_counts_towards_the_limit_of_characters():
    told = (
        b'{"text":"Typed"}\n{"done":{"metadata":{},"tables":[],"truncated":false}}\n'
        b'{"page":{"number":2,"offset":5,"text":" Scanned","confidence":0.9,"language":"eng"}}\n'
    )

    result = answers.read(told, 0, Limits(max_characters=8))

    assert (result.text, result.truncated) == ("Typed Sc", True)


@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        ("png", "PNG"),
        ("jpg", "JPEG"),
        ("jpeg", "JPEG"),
        ("tiff", "TIFF"),
        ("tif", "TIFF"),
        ("bmp", "BMP"),
        ("webp", "WEBP"),
        ("gif", "GIF"),
    ],
)
def test_pictures_of_every_format_are_read(extract, extension, kind):
    result = extract(documents.picture("Invoice 4711", "Total 12.50", kind=kind), extension)

    assert result.text.split() == ["Invoice", "4711", "Total", "12.50"]
    assert result.metadata | {"ocr_confidence": 0} == {
        "extraction_method": "ocr",
        "image_format": kind.lower(),
        "image_width": 1000,
        "image_height": 400,
        "image_pages": 1,
        "ocr_confidence": 0,
        "ocr_language": "eng",
    }


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_picture_is_read(extract, degrees):
    result = extract(documents.picture("Invoice number", "Amount payable", turned=degrees), "png")

    assert result.text.split() == ["Invoice", "number", "Amount", "payable"]


@pytest.mark.parametrize("degrees", [-8, 12])
def test_a_picture_that_lies_askew_is_turned_straight(extract, degrees):
    lines = [f"Line number {number} of a page of print" for number in range(1, 9)]
    page = documents.drawn(*lines, size=(1300, 900)).rotate(degrees, expand=True, fillcolor="white")

    assert extract(saved(page), "png").text.split() == " ".join(lines).split()


def test_a_scanned_page_that_lies_askew_is_turned_straight(extract):
    page = documents.drawn(*["The quick brown fox jumps over"] * 8, size=(1300, 900)).rotate(9, fillcolor="white")
    buffer = io.BytesIO()
    page.save(buffer, "PDF", resolution=150)

    assert extract(buffer.getvalue(), "pdf").text.count("quick brown fox jumps") == 8


def test_small_letters_are_read_doubled(extract):
    small = documents.drawn("Small print of a contract", "that nobody reads", size=(1000, 300)).resize((200, 60))

    assert extract(saved(small), "png").text == "Small print of a contract\nthat nobody reads"


def test_large_letters_are_read_as_they_are(monkeypatch):
    monkeypatch.setattr(image, "_SURE", 2)  # so that they are read doubled as well
    poster = Image.new("L", (900, 500), "white")
    ImageDraw.Draw(poster).text((40, 20), "Sale", fill="black", font=ImageFont.load_default(size=300))

    assert image.extract(saved(poster), Limits()).text == "Sale"


def saved(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_is_turned_as_its_exif_data_say(extract):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    content = documents.picture("Few", turned=180, kind="JPEG", exif=exif)

    assert extract(content, "jpg").text == "Few"


def test_dark_letters_on_a_transparent_ground_are_read(extract):
    words = documents.drawn("Transparent ground")
    picture = Image.merge("RGBA", [*[Image.new("L", words.size, 0)] * 3, words.point(lambda value: 255 - value)])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")

    assert extract(buffer.getvalue(), "png").text == "Transparent ground"


def test_pages_of_a_tiff_are_read_up_to_the_limit(extract):
    pages = [documents.drawn(f"Page number {number}") for number in (1, 2, 3)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])

    result = extract(buffer.getvalue(), "tiff", ocr_pages=2)

    assert result.text == "Page number 1\n\nPage number 2"
    assert (result.metadata["image_pages"], len(result.warnings)) == (3, 1)


def test_a_picture_without_words_has_none(extract):
    result = extract(documents.picture(), "png")

    assert (result.text, result.metadata["ocr_confidence"]) == ("", 0)


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            documents.picture(size=(8000, 7000), kind="GIF"),
            "too_large",
            "8000 x 7000 pixels; the limit is 50 megapixels",
        ),
        (documents.picture("Half")[:900], "corrupt", "The picture cannot be decoded: "),
        (documents.picture()[:20], "corrupt", "The png picture cannot be read"),
        (documents.pdf(), "type_mismatch", "The name says picture, the content is pdf"),
    ],
)
def test_pictures_that_cannot_be_read_end_with_a_code(extract, content, code, message):
    with pytest.raises(ExtractionFailed) as refused:
        extract(content, "png")

    assert refused.value.code == code
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize("language", ["en", "eng", "EN", "en-GB", "eng+en"])
def test_languages_are_named_by_two_letters_or_three(language):
    assert ocr_languages.resolve(language) == "eng"


def test_an_unknown_language_lists_those_installed():
    with pytest.raises(ExtractionFailed, match="'de' is installed; installed: eng") as refused:
        ocr_languages.resolve("en+de")

    assert refused.value.code == "ocr_language_unknown"


def test_a_machine_without_recognition_says_so(monkeypatch):
    monkeypatch.setattr(ocr_languages, "find_spec", lambda name: None)

    with pytest.raises(ExtractionFailed, match="No text recognition is installed here") as refused:
        ocr_languages.resolve("en")

    assert refused.value.code == "ocr_unavailable"
