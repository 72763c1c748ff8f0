"""Rich Text Format."""

import pytest

from files.extractors import rtf
from files.extractors.base import ExtractionFailed, Limits

LIMITS = Limits()


def read(body, **limits):
    """Extract an RTF document by what stands in its outermost group."""
    content = body if isinstance(body, bytes) else body.encode("latin-1")
    return rtf.extract(rb"{\rtf1\ansi\ansicpg1252 " + content + b"}", Limits(**limits))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"one\par two\line three", "one\ntwo\nthree\n"),
        (r"{\b bold} and {\i italic}", "bold and italic\n"),
        (r"caf\'e9 na\u239\'efve \u-10179?\u-8704?", "café naïve \U0001f600\n"),
        (r"\uc2\u24180\'94\'4e\uc0\u24565 .", "年念.\n"),
        (r"\{braces\} a\_b c\-d \emdash\~", "{braces} a-b cd \u2014\xa0\n"),
        (r"{\field{\*\fldinst HYPERLINK x}{\fldrslt a link}}", "a link\n"),
        (r"{\*\unknown secret}{\stylesheet{\s0 Normal;}}{\pict 0badc0de}shown", "shown\n"),
        (r"{\upr{ansi}{\*\ud{unicode}}}", "unicode\n"),
        (r"seen{\v hidden}{\deleted gone} \bin3 }}{ again", "seen  again\n"),
        (r"{\shp{\*\shpinst{\sp{\sn a}{\sv b}}{\shptxt in a box}}}", "in a box\n"),
        (b"raw \xe9\nbroken \r\nlines", "raw ébroken lines\n"),
    ],
)
def test_words_of_a_document(body, text):
    assert read(body).text == text


def test_fonts_have_encodings_of_their_own():
    fonts = r"{\fonttbl{\f0\fcharset0 A;}{\f1\fcharset204 A Cyr;}{\f2\fcharset128 Mincho;}{\f3\fcharset130 Gulim;}}"

    result = read(fonts + r"{\f1 \'cf\'f0\'e8\'e2\'e5\'f2} {\f2 \'83\'5eX} {\f0 \'e9} {\f3 \'d0\'65\'8b\'69}")

    assert result.text == "Привет タX é 한글\n"


def test_table_rows_and_the_paragraphs_around_them():
    body = r"Before\par\trowd\intbl a\par more\cell b\cell\row\trowd\intbl c\cell\cell\row\pard After\par"

    result = read(body)

    assert result.text == "Before\na\nmore\tb\nc\t\nAfter\n"
    assert result.tables == [{"name": "Table 1", "rows": [["a\nmore", "b"], ["c", ""]]}]
    assert (result.metadata["word_paragraphs"], result.metadata["word_tables"]) == (2, 1)


def test_headers_notes_and_comments_follow_the_body():
    body = r"{\header A header\par}Body{\footnote A note} goes on{\*\annotation A comment}\par"

    assert read(body).text == "Body goes on\nA header\nA note\nA comment\n"


def test_title_and_author_are_told():
    body = r"{\info{\title Report \'e9}{\author Ada}{\company Secret}}Words {\title no title}"

    metadata = read(body).metadata

    assert (metadata["title"], metadata["author"], metadata["extraction_method"]) == ("Report é", "Ada", "word")


def test_too_many_groups_in_groups_are_refused():
    with pytest.raises(ExtractionFailed, match="More than 4000 groups") as refused:
        read("{" * 100_000)

    assert refused.value.code == "too_large"


def test_what_is_no_rtf_is_refused():
    with pytest.raises(ExtractionFailed, match="the content is text") as refused:
        rtf.extract(b"plain words", LIMITS)

    assert refused.value.code == "type_mismatch"
