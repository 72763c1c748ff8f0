"""What a Word document (DOCX) shows beside plain runs: charts, inserted documents, form fields, letters as pictures."""

import pytest

from files.extractors import docx
from files.extractors.base import Limits
from tests import documents

LIMITS = Limits()
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def extract(body, *links, limits=LIMITS, **parts):
    """Extract a document whose main part has these links (kind, target) and the parts of these names in `word/`."""
    written = documents.word_parts(body)
    written["word/_rels/document.xml.rels"] = documents.relations(*links)
    return docx.extract(documents.zipped(written | {f"word/{name}": data for name, data in parts.items()}), limits)


def paragraph(inner):
    return f"<w:p><w:r>{inner}</w:r></w:p>"


def text(words):
    return paragraph(f"<w:t>{words}</w:t>")


def inserted(number):
    return f'<w:altChunk xmlns:r="{_LINKS}" r:id="rId{number}"/>'


def test_words_of_a_chart_follow_the_body_each_once():
    chart = (
        '<c:chartSpace xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main">'
        "<c:title><c:tx><c:rich><a:p><a:r><a:t>Sales of </a:t></a:r><a:r><a:t>May</a:t></a:r></a:p></c:rich></c:tx>"
        "</c:title>"
        "<c:ser><c:tx><c:strRef><c:strCache><c:pt><c:v>North</c:v></c:pt></c:strCache></c:strRef></c:tx>"
        "<c:cat><c:strRef><c:strCache><c:pt><c:v>Week 1</c:v></c:pt></c:strCache></c:strRef></c:cat>"
        "<c:val><c:numRef><c:numCache><c:pt><c:v>4.4000000000000004</c:v></c:pt></c:numCache></c:numRef></c:val></c:ser>"
        "<c:ser><c:cat><c:strRef><c:strCache><c:pt><c:v>Week 1</c:v></c:pt></c:strCache></c:strRef></c:cat></c:ser>"
        "</c:chartSpace>"
    )

    result = extract(text("Body"), ("chart", "chart.xml"), **{"chart.xml": chart})

    assert result.text == "Body\nSales of May\nNorth\nWeek 1\n"
    assert result.metadata["word_paragraphs"] == 1


def test_a_damaged_chart_costs_nothing_but_itself():
    links = ("chart", "chart.xml"), ("comments", "comments.xml")
    comments = f'<w:comments xmlns:w="{documents.WORD}"><w:comment>{text("A comment")}</w:comment></w:comments>'

    result = extract(text("Body"), *links, **{"chart.xml": "<c:chart", "comments.xml": comments})

    assert result.text == "Body\nA comment\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", b"<!DOCTYPE html><html><body><p>Inserted</p></body></html>"),
        ("page.htm", "\ufeff<p>Inserted</p>".encode()),
        ("page.mht", b"MIME-Version: 1.0\nContent-Type: text/html\n\n<p>Inserted</p>"),
        ("words.rtf", rb"{\rtf1 Inserted\par}"),
        ("words.txt", b"Inserted\n"),
        ("words.bin", documents.docx("Inserted")),
    ],
)
def test_an_inserted_document_is_read_where_it_stands(name, content):
    result = extract(text("Before") + inserted(1) + text("After"), ("aFChunk", name), **{name: content})

    assert (result.text, result.warnings) == ("Before\nInserted\nAfter\n", [])


def test_inserted_documents_in_a_control_are_read_and_each_only_once():
    body = f"<w:sdt><w:sdtContent>{inserted(1)}{text('Middle')}{inserted(1)}</w:sdtContent></w:sdt>"

    assert extract(body, ("aFChunk", "a.txt"), **{"a.txt": b"Inserted"}).text == "Inserted\nMiddle\n"
    alone = body.replace(text("Middle"), "")
    assert extract(alone, ("aFChunk", "a.txt"), **{"a.txt": b"Inserted"}).text == "Inserted\n"


def test_an_inserted_document_brings_in_no_further_ones():
    parts = documents.word_parts(text("Inner") + inserted(1)) | {"word/a.txt": "Innermost"}
    parts["word/_rels/document.xml.rels"] = documents.relations(("aFChunk", "a.txt"))

    result = extract(inserted(1), ("aFChunk", "inner.docx"), **{"inner.docx": documents.zipped(parts)})

    assert result.text == "Inner\n"


def test_an_inserted_document_that_cannot_be_read_is_a_warning():
    body = text("Body") + inserted(1) + inserted(2)

    result = extract(body, ("aFChunk", "a.bin"), ("aFChunk", "missing.txt"), **{"a.bin": documents.xlsx()})

    assert result.text == "Body\n"
    assert result.warnings == [
        "The inserted document word/a.bin was not read: The name says Word document, xl/workbook.xml is none"
    ]


@pytest.mark.parametrize(
    ("marks", "shown"),
    [
        ('<w:result w:val="1"/><w:default w:val="2"/>', "two"),
        ('<w:default w:val="2"/>', "three"),
        ("", "one"),
        ('<w:result w:val="9"/>', ""),
        ('<w:result w:val="x"/>', ""),
    ],
)
def test_a_list_to_choose_from_shows_its_chosen_entry(marks, shown):
    entries = "".join(f'<w:listEntry w:val="{entry}"/>' for entry in ("one", "two", "three"))
    field = f"<w:fldChar><w:ffData><w:ddList>{marks}{entries}</w:ddList></w:ffData></w:fldChar>"

    assert extract(paragraph(f"<w:t>Your choice: </w:t>{field}")).text == f"Your choice: {shown}\n"


def test_a_button_shows_its_text_and_other_codes_nothing():
    code = "<w:instrText> MACROBUTTON NoMacro [Click here]</w:instrText><w:instrText> PAGE </w:instrText>"

    assert extract(paragraph(code)).text == "[Click here]\n"
    # Where the paragraph holds more than runs, it is walked in another way.
    assert extract(paragraph(f"{code}<w:txbxContent>{text('Box')}</w:txbxContent>")).text == "[Click here]\nBox\n\n"


def test_letters_drawn_as_a_picture_are_read():
    shape = '<w:pict><v:textpath xmlns:v="urn:schemas-microsoft-com:vml" {}/></w:pict>'

    assert extract(paragraph(shape.format('string="CONFIDENTIAL"'))).text.split() == ["CONFIDENTIAL"]
    assert extract(paragraph(shape.format('on="t"'))).text == ""
