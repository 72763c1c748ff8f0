"""Word and Excel files in the sandbox: what is read, in which order, and what is left out."""

import zipfile

import pytest

from files import sandbox
from files.extractors.base import Limits
from tests import documents


@pytest.fixture
def read(tmp_path):
    """Extract bytes in the child and return the result."""

    def _read(content: bytes, extension: str, **limits):
        path = tmp_path / "document"
        path.write_bytes(content)
        return sandbox.run_extraction(path, extension, Limits(**limits))

    return _read


def words(body, **options):
    return documents.zipped(documents.word_parts(body, **options))


def paragraph(text):
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_a_word_document_gives_paragraphs_tables_header_and_properties(read):
    content = documents.docx(
        "First", "Second", table=[["a", "b"], ["c", "d"]], header="On top", title="Report", author="Ada"
    )

    result = read(content, "docx")

    assert result.text == "First\nSecond\na\tb\nc\td\nOn top\n"
    assert result.tables == [{"name": "Table 1", "rows": [["a", "b"], ["c", "d"]]}]
    assert result.metadata == {
        "extraction_method": "word",
        "word_paragraphs": 2,
        "word_tables": 1,
        "title": "Report",
        "author": "Ada",
    }


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        ("<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>", "a\tb\nc"),
        ("<w:r><w:t>a</w:t><w:noBreakHyphen/><w:t>b</w:t></w:r>", "a-b"),
        ('<w:pPr><w:tabs><w:tab w:val="left" w:pos="720"/></w:tabs></w:pPr><w:r><w:t>a</w:t></w:r>', "a"),
        ("<w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink>", "link"),
        ("<w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>", "new"),
        ("<w:moveFrom><w:r><w:t>there</w:t></w:r></w:moveFrom><w:moveTo><w:r><w:t>here</w:t></w:r></w:moveTo>", "here"),
        ("<w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:t>7</w:t></w:r>", "7"),
        ("<w:sdt><w:sdtContent><w:r><w:t>control</w:t></w:r></w:sdtContent></w:sdt>", "control"),
        (
            "<w:ruby><w:rt><w:r><w:t>to</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>T</w:t></w:r></w:rubyBase></w:ruby>",
            "T (to)",
        ),
        ('<w:r><w:sym w:char="2192"/><w:sym w:char="F0B7"/><w:t>x</w:t></w:r>', "→x"),
    ],
)
def test_a_paragraph_says_what_a_reader_sees(read, run, shown):
    assert read(words(f"<w:p>{run}</w:p>"), "docx").text == f"{shown}\n"


def test_a_text_box_is_read_once_where_it_is_anchored(read):
    compatibility = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    box = f"<w:txbxContent>{paragraph('in the box')}{paragraph('and more')}</w:txbxContent>"
    drawing = (
        f'<mc:AlternateContent xmlns:mc="{compatibility}"><mc:Choice Requires="wps">{box}</mc:Choice>'
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    )

    body = f"<w:p><w:r><w:t>before</w:t></w:r><w:r>{drawing}</w:r><w:r><w:t>after</w:t></w:r></w:p>"

    assert read(words(body), "docx").text == "before\nin the box\nand more\nafter\n"


def test_controls_around_blocks_and_nested_tables_keep_their_order(read):
    inner = f"<w:tbl><w:tr><w:tc>{paragraph('x')}</w:tc><w:tc>{paragraph('y')}</w:tc></w:tr></w:tbl>"
    cell = f"<w:tc>{paragraph('outer')}{inner}</w:tc>"
    row = f"<w:sdt><w:sdtContent><w:tr>{cell}</w:tr></w:sdtContent></w:sdt>"
    body = f"<w:sdt><w:sdtContent>{paragraph('one')}<w:tbl>{row}</w:tbl></w:sdtContent></w:sdt>{paragraph('two')}"

    result = read(words(body), "docx")

    assert result.text == "one\nouter\nx\ty\ntwo\n"
    assert (result.metadata["word_paragraphs"], result.metadata["word_tables"]) == (2, 1)


def test_notes_follow_the_body_in_a_fixed_order(read):
    def note(root, inner, text):
        return f'<w:{root} xmlns:w="{documents.WORD}"><w:{inner}>{paragraph(text)}</w:{inner}></w:{root}>'

    notes = {
        "comments": note("comments", "comment", "a comment"),
        "footnotes": note("footnotes", "footnote", "a footnote"),
        "footer": f'<w:ftr xmlns:w="{documents.WORD}">{paragraph("a footer")}</w:ftr>',
    }

    assert read(words(paragraph("body"), **notes), "docx").text == "body\na footer\na footnote\na comment\n"


@pytest.mark.parametrize("extension", ["docx", "docm"])
def test_strict_and_macro_documents_are_read_alike(read, extension):
    parts = documents.word_parts(paragraph("Strict"), space=documents.STRICT_WORD) | {"word/vbaProject.bin": b"\0"}

    assert read(documents.zipped(parts), extension).text == "Strict\n"


def test_a_long_word_document_is_cut_at_the_limit(read):
    result = read(words(paragraph("a" * 50) * 10), "docx", max_characters=100)

    assert (len(result.text), result.truncated) == (100, True)


def test_a_workbook_gives_every_sheet_with_counts(read):
    result = read(documents.xlsx(First=[["id", "amount"], ["007", 1.5], ["", 3.0]], Second=[["only"]]), "xlsx")

    assert result.text == "First\nid\tamount\n007\t1.5\n\t3\nSecond\nonly\n"
    assert result.metadata == {
        "extraction_method": "excel",
        "excel_sheets": 2,
        "excel_sheet_names": ["First", "Second"],
        "excel_total_rows": 4,
    }
    assert result.tables == [
        {"name": "First", "rows": [["id", "amount"], ["007", "1.5"], ["", "3"]]},
        {"name": "Second", "rows": [["only"]]},
    ]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("<c r='A1'><v>0.30000000000000004</v></c>", "0.3"),
        ("<c r='A1'><v>12345678901234</v></c>", "12345678901234"),
        ("<c r='A1'><v>1E-7</v></c>", "1e-07"),
        ("<c r='A1' t='b'><v>1</v></c>", "TRUE"),
        ("<c r='A1' s='1'><v>44197</v></c>", "2021-01-01"),
        ("<c r='A1' s='1'><v>44197.5</v></c>", "2021-01-01 12:00:00"),
        ("<c r='A1' s='2'><v>1.5</v></c>", "36:00:00"),
        ("<c r='A1' t='str'><f>A2</f><v>=1+1</v></c>", "=1+1"),
    ],
)
def test_a_cell_is_shown_as_a_reader_expects(read, cell, shown):
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    styles = (
        f'<styleSheet xmlns="{space}"><numFmts><numFmt numFmtId="164" formatCode="[h]:mm:ss"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/></cellXfs></styleSheet>'
    )
    parts = documents.workbook_parts(S=f"<row r='1'>{cell}</row>") | {"xl/styles.xml": styles}
    parts["xl/_rels/workbook.xml.rels"] = documents.relations(
        ("worksheet", "worksheets/sheet1.xml"), ("styles", "styles.xml")
    )

    assert read(documents.zipped(parts), "xlsx").text == f"S\n{shown}\n"


def test_styled_empty_rows_count_for_nothing(read):
    styled = "".join(f'<row r="{row}"><c r="A{row}" s="0"/><c r="XFD{row}" s="0"/></row>' for row in range(2, 2000))
    last = '<row r="1048576"><c r="XFD1048576" s="0"/></row>'
    parts = documents.workbook_parts(S=documents.sheet(["value"]) + styled + last)

    result = read(documents.zipped(parts), "xlsx")

    assert (result.text, result.metadata["excel_total_rows"]) == ("S\nvalue\n", 1)


def test_rows_past_the_limit_are_counted_but_not_kept(read):
    result = read(documents.xlsx(S=[[str(number)] for number in range(10)]), "xlsx", max_sheet_rows=3)

    assert (result.text, result.truncated, result.metadata["excel_total_rows"]) == ("S\n0\n1\n2\n", True, 10)


def test_stored_parts_are_read_like_deflated_ones(read):
    content = documents.zipped(documents.workbook_parts(S=documents.sheet(["x"])), method=zipfile.ZIP_STORED)

    assert read(content, "xlsx").text == "S\nx\n"


def test_tables_of_a_ruled_pdf_are_read_and_can_be_switched_off(read):
    content = documents.ruled_pdf([["id", "amount"], ["1", "2.50"]])

    told, untold = read(content, "pdf"), read(content, "pdf", pdf_table_pages=0)

    assert told.tables == [{"name": "Page 1, table 1", "rows": [["id", "amount"], ["1", "2.50"]]}]
    assert (untold.tables, untold.text) == ([], told.text)
