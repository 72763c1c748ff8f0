"""HTML, Markdown, JSON, XML and mail messages."""

import pytest

from files.extractors import eml, html, json, markdown, xml
from files.extractors.base import ExtractionFailed, Limits

LIMITS = Limits()


def refusal(extract, content):
    """Return code and message of what an extractor refuses."""
    with pytest.raises(ExtractionFailed) as refused:
        extract(content, LIMITS)
    return refused.value.code, refused.value.message


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>one <b>two</b><p>three<br>four", "one two\nthree\nfour\n"),
        ("<script>alert(1)</script><style>p {}</style><noscript>no</noscript>shown", "shown\n"),
        ("<!-- comment --><h1>Head</h1>text<template>later</template>", "Head\ntext\n"),
        ("<ul><li>a</li>\n  <li>b\n  c</li></ul>", "a\nb c\n"),
        ("<pre>  two\n    lines</pre>", "  two\n    lines\n"),
        ("caf&eacute; &lt;b&gt; &#x4e2d;", "café <b> 中\n"),
        ("", ""),
    ],
)
def test_a_page_is_read_as_it_shows(page, text):
    assert html.extract(page.encode(), LIMITS).text == text


def test_tables_of_a_page_are_told_row_by_row():
    page = "<table><tr><th>id<th>name</tr><tr><td>7<td><p>Zoë</p><p>B.</p></table>after"

    result = html.extract(page.encode(), LIMITS)

    assert result.text == "id\tname\n7\tZoë B.\nafter\n"
    assert result.tables == [{"name": "Table 1", "rows": [["id", "name"], ["7", "Zoë B."]]}]


def test_a_table_in_a_table_stays_in_its_cell():
    page = "<table><tr><td>a<table><tr><td>x<td>y</table><td>b</table>"

    result = html.extract(page.encode(), LIMITS)

    assert result.tables == [{"name": "Table 1", "rows": [["a x y", "b"]]}]


def test_a_page_says_its_title_and_encoding():
    page = '<html><head><meta charset="windows-1251"><title>Тест\n имя</title></head><body>Привет'

    result = html.extract(page.encode("cp1251"), LIMITS)

    assert result.text == "Привет\n"
    assert (result.metadata["title"], result.metadata["encoding"]) == ("Тест имя", "windows-1251")


def test_a_page_that_lies_about_its_encoding_is_read_all_the_same():
    page = '<meta charset="utf-8"><p>' + "Größe über Maß, Öl für Füße. " * 5

    assert "Größe über Maß" in html.extract(page.encode("cp1252"), LIMITS).text


def test_a_page_of_a_hundred_thousand_elements_in_each_other_ends():
    result = html.extract(b"<div>" * 100_000 + b"deep", LIMITS)

    assert result.text in {"deep\n", ""}


def test_markdown_stays_as_it_is_written():
    result = markdown.extract(b"# The *title* #\n\n- item\n", LIMITS)

    assert result.text == "# The *title* #\n\n- item\n"
    assert (result.metadata["title"], result.metadata["line_count"]) == ("The *title*", 4)


def test_json_is_checked_and_stays_as_it_is_written():
    result = json.extract(b'{"b": 1.50, "a": [1, 2]}', LIMITS)

    assert result.text == '{"b": 1.50, "a": [1, 2]}'
    assert (result.metadata["json_type"], result.metadata["json_items"]) == ("object", 2)


def test_escaped_letters_of_json_are_written_out():
    assert json.extract(rb'["caf\u00e9"]', LIMITS).text == '[\n  "café"\n]'


def test_json_that_cannot_be_read_ends_with_a_code():
    assert refusal(json.extract, b'{"a": ') == (
        "corrupt",
        "Not readable as JSON: Expecting value: line 1 column 7 (char 6)",
    )
    assert refusal(json.extract, b"[" * 1_000_000)[0] == "too_large"
    assert refusal(json.extract, b"%PDF-1.4")[0] == "type_mismatch"


def test_xml_gives_the_text_of_its_elements():
    content = (
        '<?xml version="1.0" encoding="utf-16"?><a x="1"><b>one\n two</b>three<!-- no --><c><![CDATA[<4>]]></c></a>'
    )

    result = xml.extract(content.encode("utf-16"), LIMITS)

    assert result.text == "one two\nthree\n<4>\n"
    assert result.metadata["xml_root"] == "a"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "corrupt", "The XML declares entities"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"), "corrupt", "The XML declares entities"),
        (b"<a>" * 300, "too_large", "The XML is nested deeper than 256 elements"),
        (b"<a><b></a>", "corrupt", "Not well-formed XML: "),
        (b"words", "corrupt", "Not well-formed XML: "),
        (b"\x89PNG\r\n\x1a\n", "type_mismatch", "The name says XML, the content is png"),
    ],
)
def test_xml_that_cannot_be_read_ends_with_a_code(content, code, message):
    found = refusal(xml.extract, content)

    assert found[0] == code
    assert found[1].startswith(message)


def test_a_doctype_of_xml_is_not_fetched(tmp_path):
    secret = tmp_path / "secret.dtd"
    secret.write_text('<!ENTITY b "secret words">')
    content = f'<!DOCTYPE a SYSTEM "{secret.as_uri()}"><a>shown &b;</a>'

    assert "secret" not in xml.extract(content.encode(), LIMITS).text


MAIL = b"""From: =?utf-8?q?Zo=C3=AB?= <zoe@example.com>
To: ada@example.com
Subject: =?iso-8859-1?Q?Pr=FCfung?= of
 May
Date: Mon, 5 May 2025 10:00:00 +0000
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/html; charset=utf-8

<p>the page</p>
--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

Q2Fmw6k=
--inner--
--outer
Content-Type: application/pdf
Content-Disposition: attachment; filename="bill.pdf"

JVBERi0=
--outer
Content-Type: message/rfc822

Subject: inside
Content-Type: text/html

<b>An</b> older mail<script>no()</script>
--outer--
"""


def test_a_mail_message_gives_headers_text_and_names_of_attachments():
    result = eml.extract(MAIL, LIMITS)

    assert result.text.splitlines() == [
        "From: Zoë <zoe@example.com>",
        "To: ada@example.com",
        "Date: Mon, 5 May 2025 10:00:00 +0000",
        "Subject: Prüfung of May",
        "",
        "Café",
        "",
        "Attachment: bill.pdf",
        "Subject: inside",
        "",
        "An older mail",
        "",
    ]
    assert result.metadata["email_attachments"] == ["bill.pdf"]
    assert result.metadata["email_subject"] == "Prüfung of May"


def test_what_a_mail_message_says_of_itself_is_cut_to_what_anybody_may_want_to_read():
    long = "x" * 5_000
    attached = f'Content-Disposition: attachment; filename="{long}"'

    result = eml.extract(f"Subject: {long}\n{attached}\n\nwords".encode(), LIMITS)

    assert result.metadata["email_subject"] == "x" * 1_000
    assert result.metadata["email_attachments"] == ["x" * 1_000]


@pytest.mark.parametrize(
    "content",
    [b"Subject: =?x?q?a?= =?utf-8?b?!?=\n\nwords", b"Subject: a\nContent-Type: text/plain; charset=unknown\n\nwords"],
)
def test_a_mail_message_in_unknown_encodings_is_read_all_the_same(content):
    assert "words" in eml.extract(content, LIMITS).text


def test_a_mail_message_of_too_many_parts_is_refused():
    parts = b"--x\nContent-Type: text/plain\n\na\n" * 2_000

    found = refusal(eml.extract, b"Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n" + parts + b"--x--\n")

    assert found == ("too_large", "More than 1000 parts in the mail message")


def test_a_text_without_headers_is_no_mail_message():
    assert refusal(eml.extract, b"just words\n") == (
        "type_mismatch",
        "The name says mail message, the content is text",
    )
