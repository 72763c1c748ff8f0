"""Workbooks beside XLSX: XLS, XLSB, ODS; and tab-separated values."""

import struct

import pytest

from files.extractors import ods, tsv, xls, xlsb
from files.extractors.base import ExtractionFailed, Limits
from tests import documents, old_office

LIMITS = Limits()
ODS = "application/vnd.oasis.opendocument.spreadsheet"
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def ods_parts(rows, *, doctype="", manifest="<manifest/>"):
    spaces = " ".join(f'xmlns:{name}="{OFFICE}{name}:1.0"' for name in ("office", "table", "text"))
    body = f'<office:body><office:spreadsheet><table:table table:name="Prices">{rows}</table:table>'
    return {
        "mimetype": ODS,
        "META-INF/manifest.xml": manifest,
        "content.xml": f"{doctype}<office:document-content {spaces}>{body}</office:spreadsheet></office:body>"
        "</office:document-content>",
        "meta.xml": '<meta xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Of May</dc:title></meta>',
    }


def ods_cell(text, repeated=1):
    settings = f'office:value-type="string" table:number-columns-repeated="{repeated}"'
    return f"<table:table-cell {settings}><text:p>{text}</text:p></table:table-cell>"


def ods_row(*cells, repeated=1):
    return f'<table:table-row table:number-rows-repeated="{repeated}">{"".join(cells)}</table:table-row>'


EMPTY_REST = ods_row('<table:table-cell table:number-columns-repeated="16384"/>', repeated=1_048_570)


def xlsb_parts(text):
    def record(kind, data=b""):
        code = bytes((kind,)) if kind < 128 else bytes((kind & 127 | 128, kind >> 7))
        return code + bytes((len(data),)) + data

    def words(value):
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    sheet = record(156, struct.pack("<II", 0, 1) + words("rId1") + words("Prices"))
    row = record(0, struct.pack("<II", 0, 0) + bytes(17))
    cell = record(6, struct.pack("<II", 0, 0) + words(text))
    space = struct.pack("<IIII", 0, 0, 0, 0)
    return {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": documents.relations(("officeDocument", "xl/workbook.bin")),
        "xl/workbook.bin": record(131) + record(143) + sheet + record(144) + record(132),
        "xl/_rels/workbook.bin.rels": documents.relations(("worksheet", "worksheets/sheet1.bin")),
        "xl/worksheets/sheet1.bin": record(129)
        + record(148, space)
        + record(145)
        + row
        + cell
        + record(146)
        + record(130),
    }


def test_cells_of_an_xls_workbook():
    result = xls.extract(old_office.xls(["id", "Name"], [7.0, "Zoë"]), LIMITS)

    assert result.text == "Prices\nid\tName\n7\tZoë\n"
    assert result.tables == [{"name": "Prices", "rows": [["id", "Name"], ["7", "Zoë"]]}]
    assert result.metadata == {
        "extraction_method": "excel",
        "excel_sheets": 1,
        "excel_sheet_names": ["Prices"],
        "excel_total_rows": 2,
        "title": "Prices of May",
        "author": "Ada",
    }


def test_cells_of_an_xlsb_workbook():
    result = xlsb.extract(documents.zipped(xlsb_parts("Zoë")), LIMITS)

    assert (result.text, result.metadata["excel_sheet_names"]) == ("Prices\nZoë\n", ["Prices"])


def test_cells_of_an_ods_workbook_whose_empty_rest_is_repeated():
    rows = ods_row(ods_cell("id"), ods_cell("Name")) + ods_row(ods_cell("twice", 2), repeated=2) + EMPTY_REST

    result = ods.extract(documents.zipped(ods_parts(rows)), LIMITS)

    assert result.text == "Prices\nid\tName\ntwice\ttwice\ntwice\ttwice\n"
    assert (result.metadata["excel_total_rows"], result.metadata["title"]) == (3, "Of May")


@pytest.mark.parametrize(
    "rows",
    [
        ods_row(ods_cell("bomb", 16_384), repeated=1_048_576),
        ods_row(ods_cell("first"))
        + EMPTY_REST
        + ods_row('<table:table-cell table:number-columns-repeated="9999"/>', ods_cell("last")),
    ],
    ids=["repeated value", "values far apart"],
)
def test_an_ods_bomb_is_refused_before_it_is_read(rows):
    with pytest.raises(ExtractionFailed, match="the limit is 5000000 cells") as refused:
        ods.extract(documents.zipped(ods_parts(rows)), LIMITS)

    assert refused.value.code == "too_large"


@pytest.mark.parametrize(
    ("extract", "content", "code"),
    [
        (xls.extract, old_office.xls(["a"], encrypted=True), "encrypted"),
        (xls.extract, documents.encrypted_office(), "encrypted"),
        (xls.extract, documents.xlsx(), "type_mismatch"),
        (xls.extract, old_office.doc("words\r"), "type_mismatch"),
        (xls.extract, old_office.xls(["a"])[:400], "corrupt"),
        (xlsb.extract, documents.xlsx(), "type_mismatch"),
        (xlsb.extract, documents.zipped({"a": "b"}), "type_mismatch"),
        (ods.extract, documents.xlsx(), "type_mismatch"),
        (ods.extract, documents.zipped(ods_parts("") | {"mimetype": "application/epub+zip"}), "type_mismatch"),
        (ods.extract, documents.zipped(ods_parts("", manifest="<encryption-data/>")), "encrypted"),
        (ods.extract, documents.zipped(ods_parts("", doctype="<!DOCTYPE x>")), "corrupt"),
    ],
)
def test_workbooks_that_cannot_be_read_end_with_a_code(extract, content, code):
    with pytest.raises(ExtractionFailed) as refused:
        extract(content, LIMITS)

    assert refused.value.code == code


def test_tab_separated_values_may_hold_commas():
    result = tsv.extract(b'id\tname\n007\tDoe, Jane\n008\tRoe, "Rick"\n', LIMITS)

    assert result.tables[0]["rows"] == [["id", "name"], ["007", "Doe, Jane"], ["008", 'Roe, "Rick"']]
    assert (result.metadata["csv_delimiter"], result.metadata["csv_row_count"]) == ("\t", 2)
