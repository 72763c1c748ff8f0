"""Word documents of before 2007."""

import struct

import pytest

from files.extractors import doc, ole
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


def test_the_text_of_a_button_is_shown_though_it_is_part_of_a_code():
    body = "\x13MACROBUTTON NoMacro [Click here]\x15, \x13 MACROBUTTON Go [Go] \x14 \x15, \x13 PAGE \x147\x15\r"

    assert doc.extract(old_office.doc(body), LIMITS).text == "[Click here], [Go] , 7\n"


@pytest.mark.parametrize("wide", [True, False])
def test_deleted_words_are_left_out_and_the_table_around_them_stays(wide):
    body = "Old new\rGone\ra\x07b\x07\x07\x13 PAGE \x147\x15 end\r"
    deleted = [(0, 4), (8, 15), (18, 26)]

    result = doc.extract(old_office.doc(body, row_ends=[17], deleted=deleted, wide=wide), LIMITS)

    assert result.text == "new\n\tb\n7 end\n"
    assert result.tables == [{"name": "Table 1", "rows": [["", "b"]]}]


@pytest.mark.parametrize(
    ("modifier", "shown"), [(0x41 << 1 | 1 << 8, ""), (0x41 << 1, "Words\n"), (3, ""), (1, "Words\n"), (9, "Words\n")]
)
def test_a_piece_that_says_so_is_deleted(modifier, shown):
    lists = [b"\x35\x08\1", b"\x35\x08\1\x16\x68abcd" + old_office.DELETED_97]

    assert doc.extract(old_office.doc("Words\r", modifier=modifier, lists=lists), LIMITS).text == shown


def test_word_95_is_read_in_the_code_page_of_its_language():
    western = doc.extract(old_office.word_95("“Molière”\rcell\x07\x07"), LIMITS)
    russian = doc.extract(old_office.word_95("Привет\r", language=0x419, encoding="cp1251"), LIMITS)

    assert western.text == "“Molière”\ncell\n"
    assert western.tables[0]["rows"] == [["cell"]]
    assert russian.text == "Привет\n"


def test_word_95_is_read_in_the_code_pages_of_its_fonts():
    body = "Привет, “Molière”\r"
    encoded = body[:7].encode("cp1251") + body[7:].encode("cp1252")
    runs = [(0, 7, old_office.in_font(1)), (7, len(encoded), old_office.in_font(0))]

    by_runs = old_office.word_95(encoded.decode("latin-1"), encoding="latin-1", fonts=[0, 204], runs=runs)
    by_default = old_office.word_95("Dvořák\r", encoding="cp1250", fonts=[0, 238], default_font=1)
    by_system = old_office.word_95("“Molière”\r", encoding="mac-roman", of_macintosh=True)

    assert doc.extract(by_runs, LIMITS).text == "Привет, “Molière”\n"
    assert doc.extract(by_default, LIMITS).text == "Dvořák\n"
    assert doc.extract(by_system, LIMITS).text == "“Molière”\n"


def test_deleted_words_of_word_95_are_left_out():
    content = old_office.word_95("Old new\r", runs=[(0, 4, old_office.in_font(0) + old_office.DELETED_95)])

    assert doc.extract(content, LIMITS).text == "new\n"


def test_word_95_of_east_asia_has_two_bytes_for_a_character():
    content = old_office.word_95("中文 text\r", encoding="utf-16-le", magic=0xA699, flags=0x1000)

    assert doc.extract(content, LIMITS).text == "中文 text\n"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (old_office.doc("Secret\r", flags=0x100), "encrypted", "The Word document needs a password"),
        (documents.encrypted_office(), "encrypted", "The Word document needs a password"),
        (
            old_office.ole({"EncryptedPackage": b"secret", "WordDocument": b""}),
            "encrypted",
            "The Word document needs a password",
        ),
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


def test_a_document_about_encryption_is_not_taken_for_encrypted():
    assert doc.extract(old_office.doc("The stream EncryptedPackage\r"), LIMITS).text == "The stream EncryptedPackage\n"


def test_a_stream_that_runs_in_a_circle_is_read_no_longer_than_the_file():
    content = bytearray(old_office.doc("Words\r"))
    # The stream has the sectors 2 to 9; its size stands in the second entry of the directory, which is sector 1.
    struct.pack_into("<I", content, 512 + 4 * 9, 9)
    struct.pack_into("<I", content, 1024 + 128 + 120, 2**30)

    assert doc.extract(bytes(content), LIMITS).text == "Words\n"
    assert len(ole.Container(bytes(content), kind="Word document").read("WordDocument")) == len(content)


def test_long_text_is_cut():
    result = doc.extract(old_office.doc("Many words\r" * 50), Limits(max_characters=100))

    assert (len(result.text), result.truncated) == (100, True)
