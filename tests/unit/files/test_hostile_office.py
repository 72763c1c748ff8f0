"""Word and Excel files made to do harm: each ends with a code and a sentence that says the limit and the value."""

import io
import warnings
import zipfile

import pytest

from files import sandbox
from files.extractors.base import ExtractionFailed, Limits
from tests import documents

MIB = 1024**2
BODY = "<w:p><w:r><w:t>fine</w:t></w:r></w:p>"
LAUGHING = "<w:p><w:r><w:t>&j;</w:t></w:r></w:p>"
LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + depth)} "{f"&{chr(97 + depth)};" * 10}">' for depth in range(9))
    + "]>"
)


@pytest.fixture
def extract(tmp_path):
    """Extract bytes in the child."""

    def _extract(content: bytes, extension: str, **limits):
        path = tmp_path / "document"
        path.write_bytes(content)
        return sandbox.run_extraction(path, extension, Limits(**limits))

    return _extract


@pytest.fixture
def refused(extract):
    """Extract bytes that must be refused and return (code, message)."""

    def _refused(content: bytes, extension: str, **limits) -> tuple[str, str]:
        with pytest.raises(ExtractionFailed) as failure:
            extract(content, extension, **limits)
        return failure.value.code, failure.value.message

    return _refused


def word(parts=(), *, method=zipfile.ZIP_DEFLATED):
    """Return a Word document with some parts added or changed."""
    return documents.zipped(documents.word_parts(BODY) | dict(parts), method=method)


def word_with(part):
    """Return a Word document that holds one more part under a name that is there already."""
    buffer = io.BytesIO(word())
    with zipfile.ZipFile(buffer, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(part, "<x/>")
    return buffer.getvalue()


def word_with_password_flag():
    content = bytearray(word())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def excel(rows):
    return documents.zipped(documents.workbook_parts(S=rows))


CONTAINERS = {
    "parts": (
        word({f"word/{index}.xml": "" for index in range(2000)}),
        "too_large",
        "2004 parts in the ZIP; the limit is 2000",
    ),
    "ratio": (word({"word/a": bytes(8 * MIB)}), "too_large", "times; the limit is 200"),
    "part": (word({"word/a": bytes(61 * MIB)}), "too_large", "word/a is 61.0 MiB inflated; the limit is 60 MiB"),
    "total": (
        word({"word/a": bytes(51 * MIB), "word/b": bytes(51 * MIB)}),
        "too_large",
        "102.0 MiB inflated; the limit is 100 MiB",
    ),
    "method": (word(method=zipfile.ZIP_BZIP2), "corrupt", "packed by method 12; only stored and deflate"),
    "dots": (word({"../../etc/passwd": "x"}), "corrupt", "leaves the ZIP: ../../etc/passwd"),
    "backslashes": (word({"word\\..\\..\\x": "x"}), "corrupt", "leaves the ZIP"),
    "twice": (word_with("word/document.xml"), "corrupt", "same name"),
    "twice in capitals": (word_with("WORD/Document.XML"), "corrupt", "same name"),
    "flag": (word_with_password_flag(), "encrypted", "needs a password"),
    "ole": (documents.encrypted_office(), "encrypted", "needs a password"),
    "cut": (word()[:-40], "corrupt", "damaged"),
    "changed": (word(method=zipfile.ZIP_STORED).replace(b"fine", b"fake"), "corrupt", "damaged: Bad CRC-32"),
    "excel": (documents.xlsx(), "type_mismatch", "xl/workbook.xml is none"),
    "text": (b"plain words", "type_mismatch", "the content is text"),
    "doc": (documents.ole_doc(), "type_mismatch", "the content is doc"),
    "malformed": (word({"word/document.xml": "<w:document>"}), "corrupt", "not well-formed XML"),
    "other root": (word({"word/document.xml": "<html><body/></html>"}), "type_mismatch", "document.xml is none"),
    "deep": (word({"word/document.xml": "<a>" * 300 + "</a>" * 300}), "too_large", "deeper than 256"),
}


@pytest.mark.parametrize(("content", "code", "message"), CONTAINERS.values(), ids=CONTAINERS)
def test_a_bad_container_is_refused_with_its_reason(refused, content, code, message):
    found = refused(content, "docx")

    assert found[0] == code
    assert message in found[1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_declaration_is_refused_in_word_and_excel(refused, encoding):
    header = f'<?xml version="1.0" encoding="{encoding}"?>{LAUGHS}'
    laughing = f'{header}<w:document xmlns:w="{documents.WORD}"><w:body>{LAUGHING}</w:body></w:document>'
    strings = f"{header}<sst><si><t>&j;</t></si></sst>"
    parts = documents.workbook_parts(S='<row r="1"><c r="A1" t="s"><v>0</v></c></row>')
    parts["xl/_rels/workbook.xml.rels"] = documents.relations(
        ("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml")
    )

    found = (
        refused(word({"word/document.xml": laughing.encode(encoding)}), "docx"),
        refused(documents.zipped(parts | {"xl/sharedStrings.xml": strings.encode(encoding)}), "xlsx"),
    )

    assert found == (("corrupt", "A part declares a DOCTYPE, which Office files do not have"),) * 2


def test_entities_hidden_in_a_rare_encoding_are_not_expanded(extract):
    header = f'<?xml version="1.0" encoding="IBM037"?>{LAUGHS}'
    text = f'{header}<w:document xmlns:w="{documents.WORD}"><w:body>{BODY}{LAUGHING}</w:body></w:document>'
    try:
        result = extract(word({"word/document.xml": text.encode("cp037")}), "docx").text
    except ExtractionFailed as failure:
        result = failure.code

    assert result in {"fine\n", "corrupt"}


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>',
        "<row r='1'><c s='1' r='A1'><v>1</v></c></row><row r='1048576'><c r='xfd1048576'><v>2</v></c></row>",
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="X&#70;D1048576"><v>2</v></c></row>',
        '<row r="1"><c r="A1"><v>1</v></c><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row>',
    ],
)
def test_two_cells_far_apart_are_refused_before_a_grid_is_made(refused, rows):
    code, message = refused(excel(rows), "xlsx")

    assert code == "too_large"
    assert "spreads 2 cells over 17179869184" in message
    assert "the limit is 5000000 cells when over 50 times the cells present" in message


def test_a_tall_sheet_of_few_columns_is_no_bomb(extract):
    rows = "".join(f'<row r="{row}"><c r="A{row}"><v>{row}</v></c></row>' for row in (1, 1_048_576))

    assert extract(excel(rows), "xlsx").text == "S\n1\n1048576\n"


def test_a_string_used_again_and_again_ends_with_a_code(refused):
    cells = "".join(f'<row r="{row}"><c r="A{row}" t="s"><v>0</v></c></row>' for row in range(1, 3001))
    parts = documents.workbook_parts(S=cells)
    parts["xl/_rels/workbook.xml.rels"] = documents.relations(
        ("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml")
    )
    noise = "".join(f"{number:x} " for number in range(180_000))
    parts["xl/sharedStrings.xml"] = f"<sst><si><t>{noise}</t></si></sst>"

    found = refused(documents.zipped(parts), "xlsx")

    assert found == ("too_large", "The cells repeat shared strings into 2890 MiB; the limit is 100 MiB")


def test_a_word_document_under_an_excel_name_is_refused(refused):
    assert refused(word(), "xlsx") == ("type_mismatch", "The name says Excel workbook, the content is another ZIP")


def test_a_good_file_succeeds_after_every_hostile_one(extract, refused):
    refused(CONTAINERS["deep"][0], "docx")

    assert extract(word(), "docx").text == "fine\n"
