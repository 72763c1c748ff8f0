"""Word documents of before 2007."""

import struct

import pytest

from files.extractors import doc
from files.extractors.base import ExtractionFailed, Limits
from tests import documents, old_office

LIMITS = Limits()


@pytest.mark.parametrize("wide", [True, False])
def test_text_title_and_author_of_a_document(wide):
    content = old_office.doc("Molière wrote this.\rAnd this.\r", wide=wide)

    result = doc.extract(content, LIMITS)

    assert result.text == "Molière wrote this.\nAnd this.\n"
    assert result.metadata == {
        "extraction_method": "word",
        "word_paragraphs": 2,
        "word_tables": 0,
        "title": "Report",
        "author": "Ada",
    }


def test_table_rows_are_told_from_empty_cells():
    body = "Before\ra\x07\x07\x07b\x07c\x07\x07After\r"

    result = doc.extract(old_office.doc(body, row_ends=[10, 15]), LIMITS)

    assert result.text == "Before\na\t\nb\tc\nAfter\n"
    assert result.tables == [{"name": "Table 1", "rows": [["a", ""], ["b", "c"]]}]
    assert (result.metadata["word_paragraphs"], result.metadata["word_tables"]) == (2, 1)


def test_headers_and_footnotes_follow_the_body():
    content = old_office.doc("Body\x02\r", footnotes="\x02A note\r", headers="\x03\r\r\x04\r\rA header\r")

    result = doc.extract(content, LIMITS)

    assert result.text == "Body\nA header\nA note\n"
    assert result.metadata["word_paragraphs"] == 1


def test_codes_of_fields_are_left_out_and_their_results_stay():
    body = (
        'See \x13 HYPERLINK "http://x" \x14the \x13 PAGE \x14last\x15 page\x15, \x13 TOC \x15end\x1e\x1fing\x0bline\r'
    )

    assert doc.extract(old_office.doc(body), LIMITS).text == "See the last page, end-ing\nline\n"


def test_a_phonetic_guide_stands_behind_its_word():
    body = "\x13EQ \\* jc2 \\* hps11 \\o\\ad(\\s\\up 10(とうきょう),東京)\x15\r"

    assert doc.extract(old_office.doc(body), LIMITS).text == "東京 (とうきょう)\n"


def test_word_95_is_read_in_the_code_page_of_its_language():
    western = doc.extract(old_office.word_95("“Molière”\rcell\x07\x07"), LIMITS)
    russian = doc.extract(old_office.word_95("Привет\r", language=0x419, encoding="cp1251"), LIMITS)

    assert western.text == "“Molière”\ncell\n"
    assert western.tables[0]["rows"] == [["cell"]]
    assert russian.text == "Привет\n"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (old_office.doc("Secret\r", flags=0x100), "encrypted", "The Word document needs a password"),
        (documents.encrypted_office(), "encrypted", "The Word document needs a password"),
        (documents.docx(), "type_mismatch", "The name says Word document, the content is docx"),
        (b"{\\rtf1 text}", "type_mismatch", "The name says Word document, the content is rtf"),
        (old_office.xls(["a"]), "type_mismatch", "The name says Word document, the content is another OLE file"),
        (documents.ole_doc(), "corrupt", "The Word document's container is damaged: "),
        (
            old_office.ole({"WordDocument": b"\xec\xa5\xc1\0" + bytes(2000)}),
            "corrupt",
            "The Word document has no table",
        ),
        (old_office.ole({"WordDocument": bytes(2000)}), "type_mismatch", "The name says Word document, the content is"),
    ],
)
def test_what_cannot_be_read_ends_with_a_code(content, code, message):
    with pytest.raises(ExtractionFailed) as refused:
        doc.extract(content, LIMITS)

    assert refused.value.code == code
    assert refused.value.message.startswith(message)


def test_pieces_beyond_the_end_of_the_file_give_no_text():
    whole = old_office.doc("Words\r")
    piece = struct.pack("<II", 0, 6)
    far = whole.replace(piece + struct.pack("<HI", 0, 1024), piece + struct.pack("<HI", 0, 0x3FFFFFFF))

    assert far != whole
    assert doc.extract(far, LIMITS).text == ""


def test_long_text_is_cut():
    result = doc.extract(old_office.doc("Many words\r" * 50), Limits(max_characters=100))

    assert (len(result.text), result.truncated) == (100, True)
