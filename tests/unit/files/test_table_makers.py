"""CSV, TSV, JSON and workbooks into each other: what each cell becomes, and what is refused."""

import csv
import io
import json
import zipfile

import pytest
from python_calamine import CalamineWorkbook

from files.extractors.base import ExtractionFailed, Limits
from files.makers import registry
from files.makers.base import Made, Work
from tests import documents, old_office

HARD = (
    "id,name,note,empty\r\n"
    "007,Zoë 漢字,NA,\r\n"
    '12345678901234567890,"a ""quoted"", b",1e5,\r\n'
    ",,,\r\n"
    '+49.5,-12.5,"two\r\nlines",0.10\r\n'
).encode()


def make(extension: str, content: bytes, target: str, limits: Limits | None = None, **options: object) -> list[Made]:
    options = {"target": target, **options}
    work = Work(content, extension, options, limits or Limits())
    return list(registry.load("convert", extension, options)(work))


def one(extension: str, content: bytes, target: str, **options: object) -> bytes:
    [made] = make(extension, content, target, **options)
    assert (made.extension, made.label) == (target, "")
    return made.content


def cells(workbook: bytes) -> dict[str, list[list[object]]]:
    """Return what another reader than ours finds in a workbook."""
    opened = CalamineWorkbook.from_filelike(io.BytesIO(workbook))
    return {name: opened.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in opened.sheet_names}


def test_csv_becomes_a_workbook_of_texts():
    workbook = one("csv", HARD, "xlsx")

    assert cells(workbook) == {
        "Sheet1": [
            ["id", "name", "note", "empty"],
            ["007", "Zoë 漢字", "NA", ""],
            ["12345678901234567890", 'a "quoted", b', "1e5", ""],
            ["", "", "", ""],
            ["+49.5", "-12.5", "two\r\nlines", "0.10"],
        ]
    }


def test_csv_becomes_a_list_of_objects_with_every_value_as_it_was_written():
    assert json.loads(one("csv", HARD, "json")) == [
        {"id": "007", "name": "Zoë 漢字", "note": "NA", "empty": ""},
        {"id": "12345678901234567890", "name": 'a "quoted", b', "note": "1e5", "empty": ""},
        {"id": "", "name": "", "note": "", "empty": ""},
        {"id": "+49.5", "name": "-12.5", "note": "two\r\nlines", "empty": "0.10"},
    ]


@pytest.mark.parametrize("way", [("xlsx",), ("json",), ("tsv",), ("xlsx", "json"), ("json", "xlsx"), ("tsv", "xlsx")])
def test_a_round_trip_gives_the_same_bytes(way):
    extension, content = "csv", HARD
    for target in (*way, "csv"):
        extension, content = target, one(extension, content, target)

    assert content == HARD


def test_a_column_without_values_and_a_first_cell_that_is_empty_stay():
    content = b",b,\r\n1,2,\r\n"

    assert one("xlsx", one("csv", content, "xlsx"), "csv") == content


def test_semicolons_and_other_encodings_become_plain_csv():
    content = "name;price\r\nMüller;1,50\r\nÉcole;2,75\r\n".encode("cp1252")

    assert one("tsv", one("csv", content, "tsv"), "csv") == 'name,price\r\nMüller,"1,50"\r\nÉcole,"2,75"\r\n'.encode()


def test_numbers_of_json_are_numbers_in_a_workbook_and_keep_their_digits_in_csv():
    content = b'[{"a": 1.10, "b": "1.10", "c": true, "d": null}, {"a": -3, "e": {"x": [1, "\\u00e9"]}}]'

    workbook = one("json", content, "xlsx")

    assert cells(workbook) == {
        "Sheet1": [["a", "b", "c", "d", "e"], [1.1, "1.10", True, "", ""], [-3.0, "", "", "", '{"x": [1, "é"]}']]
    }
    assert one("json", content, "csv").decode() == ('a,b,c,d,e\r\n1.10,1.10,TRUE,,\r\n-3,,,,"{""x"": [1, ""é""]}"\r\n')


def test_a_number_with_more_digits_than_excel_keeps_is_a_text():
    workbook = one("json", b'[{"id": 12345678901234567, "short": 123456789012345}]', "xlsx")

    assert cells(workbook)["Sheet1"][1] == ["12345678901234567", 123456789012345.0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1, "b": "x"}', b"a,b\r\n1,x\r\n"),
        (b"[1, 2.50, null]", b'value\r\n1\r\n2.50\r\n""\r\n'),
        (b'[["a", "b"], [1, 2]]', b"a,b\r\n1,2\r\n"),
        (b'"text"', b"value\r\ntext\r\n"),
        (b'[{"a": 1}, 2]', b"a,value\r\n1,\r\n,2\r\n"),
    ],
)
def test_json_of_other_shapes_becomes_a_table(content, expected):
    assert one("json", content, "csv") == expected


def test_numbers_and_dates_of_a_workbook_are_written_as_the_extraction_writes_them():
    content = documents.xlsx(Sheet1=[["n", "t"], [1.0, "007"], [2.5, "x"]])

    assert one("xlsx", content, "csv") == b"n,t\r\n1,007\r\n2.5,x\r\n"
    assert one("xlsx", content, "json") == b'[\n{"n": 1, "t": "007"},\n{"n": 2.5, "t": "x"}\n]\n'


def test_every_sheet_that_has_cells_becomes_a_csv_of_its_name():
    content = documents.xlsx(Prices=[["a"], [1.0]], Empty=[], Names=[["b"]])

    assert [(made.label, made.content) for made in make("xlsx", content, "csv")] == [
        ("Prices", b"a\r\n1\r\n"),
        ("Names", b"b\r\n"),
    ]


@pytest.mark.parametrize("sheet", ["Names", "2"])
def test_one_sheet_can_be_chosen_by_name_or_number(sheet):
    content = documents.xlsx(Prices=[["a"]], Names=[["b"], ["x"]])

    assert one("xlsx", content, "csv", sheet=sheet) == b"b\r\nx\r\n"
    assert one("xlsx", content, "json", sheet=sheet) == b'[\n{"b": "x"}\n]\n'


def test_a_sheet_that_is_not_there_is_refused_with_the_names_of_those_that_are():
    content = documents.xlsx(Prices=[["a"]], Names=[["b"]])

    with pytest.raises(ExtractionFailed) as refusal:
        make("xlsx", content, "csv", sheet="Sums")

    assert (refusal.value.code, refusal.value.message) == (
        "sheet_not_found",
        "There is no sheet 'Sums'; the sheets: Prices, Names",
    )


@pytest.mark.parametrize("sheet", ["0", "3", "-1", "٢", "9" * 5_000])
def test_a_number_that_is_no_sheets_is_refused_like_a_name(sheet):
    with pytest.raises(ExtractionFailed, match="There is no sheet") as refusal:
        make("xlsx", documents.xlsx(Prices=[["a"]], Names=[["b"]]), "csv", sheet=sheet)

    assert refusal.value.code == "sheet_not_found"


def test_several_sheets_go_through_json_and_back():
    content = documents.xlsx(Prices=[["a"], ["007"]], Names=[["b"], ["x"]])

    as_json = one("xlsx", content, "json")

    assert json.loads(as_json) == {"Prices": [{"a": "007"}], "Names": [{"b": "x"}]}
    assert cells(one("json", as_json, "xlsx")) == {"Prices": [["a"], ["007"]], "Names": [["b"], ["x"]]}


def test_a_sheet_without_cells_goes_through_json_and_back():
    source = documents.xlsx(Data=[["h"], ["v"]], Spare=[])

    workbook = one("json", one("xlsx", source, "json"), "xlsx")

    assert cells(workbook) == {"Data": [["h"], ["v"]], "Spare": []}


@pytest.mark.parametrize("content", [b"{}", b"[]", b"[{}, {}]"])
def test_json_without_values_has_no_cells(content):
    with pytest.raises(ExtractionFailed, match="The file has no cells") as refusal:
        make("json", content, "csv")

    assert refusal.value.code == "no_content"


def test_a_workbook_of_before_2007_is_converted():
    assert one("xls", old_office.xls(["name", "price"], ["lamp", 34.5]), "csv") == b"name,price\r\nlamp,34.5\r\n"


def test_headers_that_are_missing_or_doubled_become_different_keys():
    assert json.loads(one("csv", b"a,a,\r\n1,2,3,4\r\n5\r\n", "json")) == [
        {"a": "1", "a_2": "2", "column_3": "3", "column_4": "4"},
        {"a": "5", "a_2": "", "column_3": "", "column_4": ""},
    ]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", "-", "=", "+1-2"])
def test_what_a_spreadsheet_would_take_for_a_formula_is_neutralised(text):
    content = json.dumps([{"cell": text}]).encode()

    [_, [in_csv]] = csv.reader(io.StringIO(one("json", content, "csv").decode(), newline=""))

    assert in_csv == "'" + text
    assert cells(one("json", content, "xlsx"))["Sheet1"][1] == ["'" + text]


@pytest.mark.parametrize("text", ["-12.5", "+7", "-1,234.50", "-.5", "-1e-5", "+12%", "a=1", " =1"])
def test_numbers_with_signs_and_harmless_texts_stay_as_they_are(text):
    content = json.dumps([{"cell": text}]).encode()

    assert cells(one("json", content, "xlsx"))["Sheet1"][1] == [text]
    assert json.loads(one("csv", one("json", content, "csv"), "json")) == [{"cell": text}]


def test_no_formula_of_the_source_is_written():
    rows = '<row r="1"><c r="A1" t="str"><f>HYPERLINK("http://x")</f><v>shown</v></c></row>'
    source = documents.zipped(documents.workbook_parts(Sheet1=rows))

    as_csv = one("xlsx", source, "csv")

    assert as_csv == b"shown\r\n"
    with zipfile.ZipFile(io.BytesIO(one("csv", as_csv, "xlsx"))) as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")


def test_texts_that_xml_or_excel_would_change_come_back():
    texts = ["<a & b>", "_x0041_", "  blanks  ", "tab\tin", "line\nfeed", "a\x01b"]
    content = json.dumps([texts]).encode()

    [row] = cells(one("json", content, "xlsx"))["Sheet1"]

    assert row == [*texts[:-1], "ab"]


def test_names_of_sheets_are_made_fit_for_excel():
    content = json.dumps({"a/b": [{"x": 1}], "A b": [{"x": 1}], "y" * 40: [{"x": 1}], "y" * 41: [{"x": 1}]}).encode()

    assert list(cells(one("json", content, "xlsx"))) == ["a b", "A b 2", "y" * 31, "y" * 29 + " 2"]


def test_equal_tables_give_equal_bytes():
    assert one("csv", HARD, "xlsx") == one("csv", HARD, "xlsx")


@pytest.mark.parametrize(
    ("extension", "content", "target", "code", "message"),
    [
        ("json", b"[1,", "csv", "corrupt", "Not readable as JSON: Expecting value: line 1 column 4 (char 3)"),
        ("json", b"[" * 100_000, "csv", "too_large", "The JSON is nested too deeply to be read"),
        ("json", b"[]", "csv", "no_content", "The file has no cells"),
        (
            "csv",
            b"a\r\n" + b"x" * 32_768,
            "xlsx",
            "too_large",
            "Cell A2 has 32768 characters; an XLSX cell holds 32767",
        ),
        ("xlsx", documents.encrypted_office(), "csv", "encrypted", None),
        ("xlsx", b"PK\x03\x04 nothing", "csv", "corrupt", None),
    ],
)
def test_what_cannot_be_converted_is_refused_with_a_code(extension, content, target, code, message):
    with pytest.raises(ExtractionFailed) as refusal:
        make(extension, content, target)

    assert refusal.value.code == code
    assert message in {None, refusal.value.message}


def test_a_file_that_would_become_too_long_is_refused():
    with pytest.raises(ExtractionFailed, match="over 1 MiB, the limit") as refusal:
        make("csv", documents.csv(60_000), "json", limits=Limits(max_made_bytes=1024**2))

    assert refusal.value.code == "too_large"


def test_a_sheet_that_spreads_few_cells_over_billions_is_refused():
    rows = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'

    with pytest.raises(ExtractionFailed) as refusal:
        make("xlsx", documents.zipped(documents.workbook_parts(Sheet1=rows)), "csv")

    assert refusal.value.code == "too_large"
