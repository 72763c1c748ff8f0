"""Word and Excel files made to do harm: each ends with a code and a sentence that says the limit and the value."""

import io
import struct
import warnings
import zipfile
from functools import partial

import pytest
from lxml import etree

from files import sandbox
from files.extractors import binary_sheet_guard, ooxml
from files.extractors.base import ExtractionFailed, Limits
from files.extractors.ole import Container
from tests import documents, old_office
from tests.unit.files.test_workbooks import xlsb_parts

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


def nested(depth):
    return "<a>" * depth + "</a>" * depth


@pytest.mark.parametrize("is_counted_here", [False, True], ids=["by libxml2", "by us"])
@pytest.mark.parametrize("reading", ["whole", "in pieces"])
def test_a_part_nested_300_deep_is_refused_whatever_libxml2_bears(monkeypatch, is_counted_here, reading):
    if is_counted_here:
        # As newer builds of libxml2 are: with a limit far beyond ours.
        monkeypatch.setattr(ooxml, "_LIBXML2_COUNTS", False)
        monkeypatch.setattr(ooxml.etree, "XMLPullParser", partial(etree.XMLPullParser, huge_tree=True))
    package = ooxml.Package(word({"deep.xml": nested(300), "fine.xml": nested(255)}), Limits())

    def read(name):
        return package.tree(name) if reading == "whole" else list(package.events(name, ("a",)))

    assert len(read("fine.xml")) in {1, 255}
    with pytest.raises(ExtractionFailed) as refusal:
        read("deep.xml")
    assert (refusal.value.code, refusal.value.message) == (
        "too_large",
        "The part deep.xml is nested deeper than 256 elements",
    )


@pytest.mark.parametrize(
    ("extension", "part", "content"),
    [
        ("docx", "word/document.xml", word({"word/document.xml": nested(300)})),
        (
            "xlsx",
            "xl/workbook.xml",
            documents.zipped(documents.workbook_parts(S="") | {"xl/workbook.xml": nested(300)}),
        ),
    ],
)
def test_word_and_excel_files_nested_300_deep_are_refused(refused, extension, part, content):
    assert refused(content, extension) == ("too_large", f"The part {part} is nested deeper than 256 elements")


def xls_with(cells, *, bounds=None):
    """Return an XLS of numbers at these places (row, column), with a record of the sheet's bounds if given."""
    records = [] if bounds is None else [old_office.xls_record(0x200, struct.pack("<IIHHH", *bounds, 0))]
    records += [old_office.xls_record(0x203, struct.pack("<3Hd", *cell, 0, 1.5)) for cell in cells]
    return old_office.xls_of(b"".join(records))


def xlsb_with(cells):
    """Return an XLSB of numbers at these places (row, column)."""
    records = b""
    for row, column in cells:
        records += b"\x00\x19" + struct.pack("<I", row) + bytes(21) + b"\x05\x10" + struct.pack("<IId", column, 0, 1.5)
    parts = xlsb_parts("first")
    sheet = "xl/worksheets/sheet1.bin"
    end = parts[sheet].index(b"\x92\x01")
    return documents.zipped(parts | {sheet: parts[sheet][:end] + records + parts[sheet][end:]})


@pytest.mark.parametrize(
    ("extension", "content", "spread"),
    [
        ("xls", xls_with([(0, 0), (65535, 255)]), "Sheet 1 spreads 2 cells over 16777216"),
        ("xls", xls_with([(0, 0), (65535, 65535)]), "Sheet 1 spreads 2 cells over 4294967296"),
        ("xls", xls_with([(0, 0)], bounds=(0, 1048576, 0, 16384)), "Sheet 1 spreads 1 cells over 17179869184"),
        ("xls", xls_with([(0, 0)], bounds=(9, 1, 0, 1)), "Sheet 1 spreads 1 cells over 4294967288"),
        ("xlsb", xlsb_with([(1048575, 16383)]), "xl/worksheets/sheet1.bin spreads 2 cells over 17179869184"),
    ],
)
def test_binary_workbooks_with_cells_far_apart_are_refused_before_a_grid_is_made(refused, extension, content, spread):
    most = "the limit is 5000000 cells when over 50 times the cells present"

    assert len(content) < 10_000
    assert refused(content, extension) == ("too_large", f"{spread}; {most}")


def test_a_binary_workbook_that_claims_all_of_its_formats_grid_is_read(extract):
    content = xls_with([(0, 0), (65535, 1)], bounds=(0, 65536, 0, 256))

    assert extract(content, "xls").text == "Prices\n1.5\n\t1.5\n"


def test_cells_beyond_what_is_looked_at_count_for_the_workbook(extract, monkeypatch):
    # Of these thirty rows, the five that are looked at would be too few for their grid.
    content = xls_with([(row, column) for row in range(0, 3_000, 100) for column in range(0, 256, 5)])
    monkeypatch.setattr(binary_sheet_guard, "_SEEN_BYTES", 4096)
    stream = Container(content, kind="Excel workbook").read("Workbook")

    binary_sheet_guard.check_xls(stream, Limits(max_grid_cells=1000))

    assert extract(content, "xls").metadata["excel_total_rows"] == 30


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_binary_workbook_cut_anywhere_is_looked_at_as_far_as_it_goes(cut):
    records = xls_with([(0, 0), (1, 1)])
    stream = Container(records, kind="Excel workbook").read("Workbook").rstrip(b"\0")

    binary_sheet_guard.check_xls(stream[: len(stream) - cut], Limits())
