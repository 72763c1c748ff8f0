"""What PDFs hold beside their pages' own text, and PDFs that are damaged or whose text is no text."""

import io
import re
from pathlib import Path

import pikepdf
import pytest
import reportlab
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from files import sandbox
from files.extractors import ocr_languages, pdf
from files.extractors.base import ExtractionFailed, Limits
from tests import documents

reads_pictures = pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed")
INVISIBLE = 3
HIDDEN = 2
PUSH_BUTTON, COMBO_BOX = 1 << 16, 1 << 17


def pdf_with(*annotations, fields=(), page=None, words="Page words"):
    """Return a PDF of one page with annotations and form fields, all of them dictionaries."""
    with pikepdf.open(io.BytesIO(documents.pdf(words))) as document:
        shown = document.pages[0]
        placed = [document.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Annot, **item)) for item in annotations]
        places = [{"Rect": [72, 600 - 40 * row, 300, 630 - 40 * row]} for row in range(len(fields))]
        kind = {"Type": pikepdf.Name.Annot, "Subtype": pikepdf.Name.Widget}
        widgets = [
            document.make_indirect(pikepdf.Dictionary(**(kind | place | item)))
            for place, item in zip(places, fields, strict=True)
        ]
        shown.Annots = pikepdf.Array([*placed, *widgets])
        for name, value in (page or {}).items():
            shown[name] = value
        if widgets:
            document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array(widgets))
        return saved(document)


def saved(document):
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def note(words, *, kind="Text", at=500):
    return {"Subtype": pikepdf.Name(f"/{kind}"), "Rect": [72, at, 272, at + 30], "Contents": words}


def drawn_field(field, words):
    """Return a PDF with a form field whose looks are the words."""
    with pikepdf.open(io.BytesIO(pdf_with(fields=[field]))) as document:
        document.pages[0].Annots[0].AP = pikepdf.Dictionary(N=appearance(document, words))
        return saved(document)


def appearance(document, words):
    stream = document.make_stream(f"BT /F0 12 Tf 2 5 Td ({words}) Tj ET".encode())
    font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
    stream.Type, stream.Subtype, stream.BBox = pikepdf.Name.XObject, pikepdf.Name.Form, [0, 0, 200, 30]
    stream.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F0=font))
    return stream


def lines_of(content):
    return pdf.extract(content, Limits()).text.splitlines()


def test_values_of_form_fields_follow_the_words_of_the_page():
    content = pdf_with(
        fields=[
            {"FT": pikepdf.Name.Tx, "T": "name", "V": "Ada Lovelace"},
            {"FT": pikepdf.Name.Ch, "Ff": COMBO_BOX, "T": "town", "V": "b", "Opt": [["a", "London"], ["b", "Ockham"]]},
        ]
    )

    assert pdf.extract(content, Limits()).text.split() == ["Page", "words", "Ada", "Lovelace", "Ockham"]


def test_values_that_are_not_shown_are_told_too():
    hidden = {"FT": pikepdf.Name.Tx, "F": HIDDEN}

    assert lines_of(pdf_with(fields=[hidden | {"T": "a", "V": "Ada"}, hidden | {"T": "b", "V": "Zoë"}])) == [
        "Page words",
        "Ada",
        "Zoë",
    ]


def test_a_value_that_is_drawn_is_told_once():
    content = drawn_field({"FT": pikepdf.Name.Tx, "T": "name", "V": "Ada Lovelace"}, "Ada Lovelace")

    assert pdf.extract(content, Limits()).text.count("Ada Lovelace") == 1


def test_words_that_only_stand_on_a_button_are_told():
    content = drawn_field({"FT": pikepdf.Name.Btn, "Ff": PUSH_BUTTON, "T": "send"}, "Send the form")

    assert lines_of(content) == ["Page words", "Send the form"]


def test_words_of_a_page_whose_fonts_are_lost_in_drawing_are_kept():
    with pikepdf.open(io.BytesIO(pdf_in_a_font_of_its_own("Zoë was here"))) as document:
        page = document.pages[0]
        document.Root.Pages.Resources = page.Resources
        del page.Resources
        page.Annots = pikepdf.Array([document.make_indirect(pikepdf.Dictionary(**note("Was she?")))])
        page.Annots[0].AP = pikepdf.Dictionary(N=appearance(document, "drawn"))
        content = saved(document)

    assert lines_of(content) == ["Zoë was here", "Was she?"]


def pdf_in_a_font_of_its_own(words):
    """Return a PDF whose codes of letters mean something only with its font."""
    pdfmetrics.registerFont(TTFont("Vera", Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"))
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.setFont("Vera", 24)
    canvas.drawString(72, 700, words)
    canvas.save()
    return buffer.getvalue()


def test_comments_are_told_each_once_and_links_are_not():
    content = pdf_with(
        note("Is this so?"),
        note("Is this so?", at=400),
        note("Zoë: 数字\r\nsecond line", kind="Highlight"),
        note("never seen", kind="Link"),
        note("Page words", kind="Underline"),
    )

    assert lines_of(content) == ["Page words", "Is this so?", "Zoë: 数字", "second line"]


def test_words_beyond_the_edge_of_the_page_are_told():
    content = pdf_with(page={"/CropBox": [0, 0, 90, 100]})

    assert lines_of(content) == ["Page words"]


def test_files_that_a_document_carries_are_named():
    with pikepdf.open(io.BytesIO(documents.pdf())) as document:
        document.attachments["Zoë.txt"] = b"never read"
        content = saved(document)

    assert pdf.extract(content, Limits()).metadata["pdf_attachments"] == ["Zoë.txt"]
    assert "pdf_attachments" not in pdf.extract(documents.pdf(), Limits()).metadata


def test_a_damaged_document_is_mended():
    damaged = re.sub(rb"/ID\s*\[.*?\]", b"/ID [<12", documents.pdf("Still here"), flags=re.DOTALL)

    assert lines_of(damaged) == ["Still here"]


def test_a_damaged_document_in_which_nothing_is_shown_is_corrupt():
    content = b"%PDF-1.7\n1 0 obj <</Type /Catalog /Pages 2 0 R>>\nendobj\n"
    content += b"2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>>\nendobj\n"
    content += b"3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 10 10]>>\nendobj\n"
    content += b"2147483647 0 obj <</Root 1 0 R>>\nendobj\nstartxref\n9\n%%EOF"

    with pytest.raises(ExtractionFailed, match="The PDF cannot be parsed") as refused:
        pdf.extract(content, Limits())

    assert refused.value.code == "corrupt"


@pytest.fixture
def read(tmp_path):
    """Extract a PDF in a child, scanned pages and all."""

    def _read(content):
        path = tmp_path / "document"
        path.write_bytes(content)
        return sandbox.run_extraction(path, "pdf", Limits())

    return _read


def stamped_scan(*, layer=False):
    """Return a PDF of one scanned page with a stamp and, perhaps, the words of a recognition under it."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(600, 240))
    canvas.drawImage(ImageReader(documents.drawn("Scanned words")), 0, 0, width=600, height=240)
    canvas.drawString(20, 10, "Received 12 May")
    if layer:
        text = canvas.beginText(60, 150)
        text.setTextRenderMode(INVISIBLE)
        text.textLine("Layer")
        canvas.drawText(text)
    canvas.save()
    return buffer.getvalue()


@reads_pictures
def test_a_scanned_page_with_a_stamp_is_read(read):
    result = read(stamped_scan())

    assert result.text.startswith("Received 12 May\n")
    assert "Scanned words" in result.text
    assert result.metadata["ocr_pages"] == [1]


@reads_pictures
def test_a_page_over_which_a_recognition_laid_its_words_is_not_read_again(read):
    result = read(stamped_scan(layer=True))

    assert sorted(result.text.split()) == ["12", "Layer", "May", "Received"]


@reads_pictures
def test_a_page_whose_fonts_do_not_say_what_their_letters_are_is_read_as_a_picture(read):
    with pikepdf.open(io.BytesIO(pdf_in_a_font_of_its_own("Invoice number of today"))) as document:
        for font in document.pages[0].Resources.Font.values():
            if "/ToUnicode" in font:
                del font.ToUnicode
        content = saved(document)

    assert "Invoice number of today" in read(content).text
