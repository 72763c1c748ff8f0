"""What stands in workbooks beside plain cells: errors, headers and footers, notes, shapes and charts."""

import struct

import pytest

from files.extractors import header_codes, ods, ole, xls, xlsb, xlsx
from files.extractors.base import Limits
from files.extractors.xls_texts import XlsTexts
from tests import documents, old_office
from tests.unit.files.test_table_makers import one
from tests.unit.files.test_workbooks import ods_cell, ods_parts, ods_row

LIMITS = Limits()
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"


def xlsx_parts(rows, *, tail="", **links):
    """Return a workbook with one sheet, and what its sheet links to: kind -> XML."""
    parts = documents.workbook_parts(First="", Prices=rows)
    part = "xl/worksheets/sheet2.xml"
    parts[part] = parts[part].replace("</worksheet>", f"{tail}</worksheet>")
    links = {kind.rstrip("0123456789"): xml for kind, xml in links.items()}
    parts["xl/worksheets/_rels/sheet2.xml.rels"] = documents.relations(
        *((kind, f"../parts/{kind}.xml") for kind in links)
    )
    return parts | {f"xl/parts/{kind}.xml": xml for kind, xml in links.items()}


def text_of(parts):
    return xlsx.extract(documents.zipped(parts), LIMITS).text


def paragraph(*runs):
    return "<a:p>" + "".join(f"<a:r><a:t>{run}</a:t></a:r>" for run in runs) + "</a:p>"


# --- XLSX ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        '<row r="2"><c r="B2"><v>7</v></c><c r="C2" s="1" t="e"><f>1/0</f><v>#DIV/0!</v></c><c r="D2"/></row>{}'.format(
            '<row r="3"><c r="C3" t="e"><v>#N/A</v></c></row>'
        ),
        "<row r='2'><c r='B2'><v>7</v></c><c t='e' r='C2'><v>#DIV/0!</v></c></row>{}".format(
            "<row r='3'><c r='B3'/><c t='e'><v>#N/A</v></c></row>"
        ),
    ],
    ids=["as Excel writes it", "in another order, without a reference"],
)
def test_error_cells_of_an_xlsx_workbook_are_their_texts(cells):
    result = xlsx.extract(documents.zipped(xlsx_parts(cells)), LIMITS)

    assert result.text == "First\nPrices\n7\t#DIV/0!\n\t#N/A\n"
    assert result.tables[1] == {"name": "Prices", "rows": [["7", "#DIV/0!"], ["", "#N/A"]]}


def test_error_cells_are_converted_as_their_texts():
    rows = '<row r="1"><c r="B1"><v>7</v></c><c r="C1" t="e"><v>#REF!</v></c></row>'

    assert one("xlsx", documents.zipped(xlsx_parts(rows)), "csv", sheet="Prices") == b",7,#REF!\r\n"


def test_headers_and_footers_of_an_xlsx_sheet_come_without_codes():
    tail = (
        "<headerFooter><oddHeader>&amp;L&amp;&quot;Arial,Bold&quot;&amp;12Left&amp;CResearch &amp;&amp; Co</oddHeader>"
        "<oddFooter>&amp;RPage &amp;P of &amp;N</oddFooter><firstFooter>&amp;K01+000First</firstFooter></headerFooter>"
    )

    assert text_of(xlsx_parts("", tail=tail)) == "First\nPrices\nLeft\nResearch & Co\nPage of\nFirst\n"


def test_runs_of_notes_and_shapes_are_joined_and_readings_left_out():
    comments = (
        "<comments><commentList><comment><text><r><t>Aut</t></r><r><t>hor: look</t></r>"
        "<rPh><t>read</t></rPh></text></comment></commentList></comments>"
    )
    drawing = f'<wsDr xmlns:a="{DRAWING}"><txBody>{paragraph("In a ", "bo", "x")}</txBody></wsDr>'

    assert text_of(xlsx_parts("", comments=comments, drawing=drawing)) == "First\nPrices\nAuthor: look\nIn a box\n"


def test_titles_and_series_of_charts_and_words_of_diagrams_are_read():
    parts = xlsx_parts("", drawing="<wsDr/>")
    parts["xl/parts/_rels/drawing.xml.rels"] = documents.relations(("chart", "chart.xml"), ("diagramData", "data.xml"))
    parts["xl/parts/chart.xml"] = (
        f'<chart xmlns:a="{DRAWING}"><title>{paragraph("Sales")}</title><ser><tx><strRef><strCache><pt><v>North</v>'
        "</pt></strCache></strRef></tx><val><numRef><numCache><pt><v>17</v></pt></numCache></numRef></val></ser></chart>"
    )
    parts["xl/parts/data.xml"] = f'<dataModel xmlns:a="{DRAWING}">{paragraph("A step")}</dataModel>'

    assert text_of(parts) == "First\nPrices\nSales\nNorth\nA step\n"


def test_the_header_and_the_chart_of_a_chart_sheet_are_read():
    parts = xlsx_parts("")
    links = [("worksheet", "worksheets/sheet1.xml"), ("chartsheet", "charts/sheet.xml")]
    parts["xl/_rels/workbook.xml.rels"] = documents.relations(*links)
    parts["xl/charts/sheet.xml"] = (
        "<chartsheet><headerFooter><oddHeader>Chart &amp;D</oddHeader></headerFooter></chartsheet>"
    )
    parts["xl/charts/_rels/sheet.xml.rels"] = documents.relations(("drawing", "drawing.xml"))
    parts["xl/charts/drawing.xml"] = f'<wsDr xmlns:a="{DRAWING}">{paragraph("Drawn")}</wsDr>'

    assert text_of(parts).endswith("Chart\nDrawn\n")


def test_damaged_parts_beside_the_cells_leave_the_cells():
    rows = documents.sheet(["kept"])

    assert text_of(xlsx_parts(rows, comments="<comments>", drawing="no XML")) == "First\nPrices\nkept\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ('&C&"Arial,Bold Italic"&8&KFF0000Red &A', "Red"),
        ("&LOne&RTwo\nThree", "One\nTwo\nThree"),
        ("&[Page] of &[Pages], R&&D", "of , R&D"),
        ("", ""),
    ],
)
def test_codes_of_headers_are_cut(code, words):
    assert header_codes.plain(code) == words


# --- XLS -----------------------------------------------------------------------------------------


def wide(text):
    return struct.pack("<HB", len(text), 1) + text.encode("utf-16-le")


def xls_text(records):
    return xls.extract(old_office.xls_of(records), LIMITS).text


@pytest.mark.parametrize("length", [7, 8, 33, 71, 72, 300])
def test_errors_and_texts_of_xls_are_found_between_plain_cells_of_every_kind_and_length(length: int) -> None:
    def cell(kind: int, column: int, data: bytes) -> bytes:
        return old_office.xls_record(kind, struct.pack("<3H", 0, column, 0) + data)

    # What looks like a record within a label is none.
    label = (struct.pack("<HB", length, 0) + b"\x14\0\x04\0" + b"x" * length)[: max(length - 6, 3)]
    plain = [
        cell(0x203, 0, struct.pack("<d", 7.0)),
        cell(0x27E, 1, struct.pack("<I", 2)),
        cell(0x201, 2, b""),
        cell(0x204, 3, label),
    ]
    error, footer = cell(0x205, 4, b"\x2a\x01"), old_office.xls_record(0x15, struct.pack("<HB", 4, 0) + b"&CQ3")
    container = ole.Container(old_office.xls_of(b"".join([*plain, error, *plain, error, footer])), kind="workbook")

    found = XlsTexts(container.read("Workbook"))

    assert found.errors == {0: {0: {4: "#N/A"}}}
    assert found.texts == ["Q3"]


def test_error_cells_of_an_xls_workbook_are_their_texts():
    value = old_office.xls_record(0x205, struct.pack("<3HBB", 1, 1, 0, 0x2A, 1))
    truth = old_office.xls_record(0x205, struct.pack("<3HBB", 1, 2, 0, 1, 0))
    result = bytes((2, 0, 0x07, 0, 0, 0, 255, 255))
    formula = old_office.xls_record(
        0x06, struct.pack("<3H", 2, 1, 0) + result + bytes(6) + struct.pack("<HBH", 3, 30, 0)
    )

    assert xls_text(value + truth + formula) == "Prices\n#N/A\tTRUE\n#DIV/0!\n"


def test_headers_notes_boxes_and_captions_of_an_xls_workbook():
    header = old_office.xls_record(0x14, wide("&C&BQuarter & Co"))
    cell = old_office.xls_record(0x203, struct.pack("<3Hd", 0, 0, 0, 7.0))
    box = old_office.xls_record(0x1B6, struct.pack("<HH6xHHI", 0, 0, 9, 16, 0))
    pieces = old_office.xls_record(0x3C, b"\x00Look ") + old_office.xls_record(
        0x3C, b"\x01" + "here".encode("utf-16-le")
    )
    runs = old_office.xls_record(0x3C, bytes(16))
    caption = old_office.xls_record(0x100D, struct.pack("<HBB", 0, 5, 0) + b"Sales")

    assert xls_text(header + cell + box + pieces + runs + caption) == "Prices\n7\nQuarter Co\nLook here\nSales\n"


def test_headers_and_notes_of_excel_95_are_in_its_code_page():
    begin = old_office.xls_record(0x809, struct.pack("<4H", 0x500, 0x10, 0, 0))
    page = old_office.xls_record(0x42, struct.pack("<H", 1251))
    header = old_office.xls_record(0x14, bytes((6,)) + "Отчёт!".encode("cp1251"))
    note = old_office.xls_record(0x1C, struct.pack("<3H", 0, 0, 7) + "заметка".encode("cp1251"))

    found = xls.XlsTexts(begin + page + header + note)

    assert found.texts == ["Отчёт!", "заметка"]


@pytest.mark.parametrize("kind", [0x06, 0x14, 0x1C, 0x42, 0x85, 0x205, 0x1B6, 0x100D, 0x809])
@pytest.mark.parametrize("length", range(12))
def test_records_that_were_cut_are_no_harm(kind, length):
    found = xls.XlsTexts(old_office.xls_record(kind, b"\xff" * length))

    assert 0 not in found.errors


# --- XLSB ----------------------------------------------------------------------------------------


def record(kind, data=b""):
    code = bytes((kind,)) if kind < 128 else bytes((kind & 127 | 128, kind >> 7))
    return code + bytes((len(data),)) + data


def words(value):
    return struct.pack("<I", len(value)) + value.encode("utf-16-le")


def test_errors_headers_and_notes_of_an_xlsb_workbook():
    none = struct.pack("<I", 0xFFFFFFFF)
    rows = record(0, struct.pack("<II", 4, 0) + bytes(17)) + record(3, struct.pack("<IIB", 1, 0, 0x2A))
    rows += record(0, struct.pack("<II", 5, 0) + bytes(17)) + record(11, struct.pack("<IIB", 2, 0, 0x17) + bytes(8))
    header = record(479, bytes(2) + words("&LTop") + words("&P") + none * 4)
    space = record(148, struct.pack("<IIII", 4, 5, 1, 2))
    parts = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": documents.relations(("officeDocument", "xl/workbook.bin")),
        "xl/workbook.bin": record(131)
        + record(143)
        + record(156, struct.pack("<II", 0, 1) + words("rId1") + words("Prices"))
        + record(144)
        + record(132),
        "xl/_rels/workbook.bin.rels": documents.relations(("worksheet", "worksheets/sheet1.bin")),
        "xl/worksheets/sheet1.bin": record(129) + space + record(145) + rows + record(146) + header + record(130),
        "xl/worksheets/_rels/sheet1.bin.rels": documents.relations(("comments", "../comments1.bin")),
        "xl/comments1.bin": record(637, b"\0" + words("A note")),
    }

    result = xlsb.extract(documents.zipped(parts), LIMITS)

    assert result.text == "Prices\n#N/A\n\t#REF!\nTop\nA note\n"


# --- ODS -----------------------------------------------------------------------------------------


def error_cell(text, repeated=1):
    settings = 'office:value-type="string" office:string-value="" calcext:value-type="error" xmlns:calcext="urn:calc"'
    settings += f' table:number-columns-repeated="{repeated}"'
    return f"<table:table-cell {settings}><text:p>{text}</text:p></table:table-cell>"


def test_error_cells_of_an_ods_workbook_are_their_texts():
    rows = ods_row(ods_cell("id", 2), error_cell("#N/A", 2)) + ods_row(error_cell("#DIV/0!"), ods_cell("x"), repeated=2)

    result = ods.extract(documents.zipped(ods_parts(rows)), LIMITS)

    assert result.text == "Prices\nid\tid\t#N/A\t#N/A\n#DIV/0!\tx\n#DIV/0!\tx\n"


def test_notes_shapes_headers_and_charts_of_an_ods_workbook():
    drawn = 'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'
    cell = (
        '<table:table-cell office:value-type="string"><office:annotation><text:p>A <text:span>no</text:span>te</text:p>'
        "</office:annotation><text:p>cell</text:p></table:table-cell>"
    )
    box = "<draw:text-box><text:p>In a box</text:p></draw:text-box>"
    shapes = f"<table:shapes><draw:frame {drawn}>{box}</draw:frame></table:shapes>"
    parts = ods_parts(shapes + ods_row(cell))
    space = "urn:oasis:names:tc:opendocument:xmlns:"
    parts["styles.xml"] = (
        f'<styles xmlns:style="{space}style:1.0" xmlns:text="{space}text:1.0"><style:header><text:p>Report'
        '<text:s/><text:date>1999</text:date></text:p></style:header><style:footer-left style:display="false">'
        "<text:p>unseen</text:p></style:footer-left><style:footer><text:p><text:sheet-name>???</text:sheet-name> (-)"
        "</text:p></style:footer></styles>"
    )
    parts["Object 1/content.xml"] = (
        f'<chart xmlns:chart="{space}chart:1.0" xmlns:text="{space}text:1.0"><chart:title><text:p>Sales</text:p>'
        "</chart:title><text:p>17</text:p></chart>"
    )

    result = ods.extract(documents.zipped(parts), LIMITS)

    assert result.text == "Prices\ncell\nReport\nA note\nIn a box\nSales\n"
