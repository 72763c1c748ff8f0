"""The documents that formats are measured on: large, always the same, made here so that nothing is fetched."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

from bench.uploads import pdf_pages
from tests import old_office

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OPEN = "urn:oasis:names:tc:opendocument:xmlns:"
_ODS = "application/vnd.oasis.opendocument.spreadsheet"
_SYLLABLES = ("ba", "co", "den", "fir", "go", "lum", "ma", "nor", "pre", "qui", "ra", "ser", "tis", "ul", "ver", "zo")


@dataclass(frozen=True)
class Document:
    """A document, and how soon its text has to be there, process start included (FILES section 5)."""

    name: str
    extension: str
    content: bytes
    aim_ms: float | None = None


def documents() -> Iterator[Document]:
    """Make one document after the other."""
    words = _Words()
    yield Document("PDF, 50 pages", "pdf", pdf_pages([words.lines(40) for _ in range(50)]), 250)
    yield Document("PDF, 600 pages", "pdf", pdf_pages([words.lines(40) for _ in range(600)]))
    yield Document("DOCX, 872 pages", "docx", _docx(words, pages=872), 400)
    yield Document("DOCX, 1,200 pages", "docx", _docx(words, pages=1_200))
    rows = list(words.rows(19_455))
    yield Document("XLSX, 19,455 rows", "xlsx", _xlsx(rows), 300)
    yield Document("XLS, 19,455 rows", "xls", old_office.xls(*rows))
    yield Document("ODS, 19,455 rows", "ods", _ods(rows))
    yield Document("CSV, 100,000 rows", "csv", _csv(words), 500)
    text = "\n".join(words.lines(60_000))
    yield Document("TXT", "txt", text.encode())
    yield Document("MD", "md", text.replace("\n", "\n\n## ", 500).encode())
    yield Document("DOC", "doc", old_office.doc("\r".join(words.lines(15_000)) + "\r"))
    yield Document("RTF", "rtf", _rtf(words))
    yield Document("HTML", "html", _html(words, blocks=12_000).encode())
    yield Document("JSON", "json", json.dumps([dict(zip("abcdefgh", row, strict=True)) for row in rows]).encode())
    yield Document("XML", "xml", _xml(rows))
    yield Document("EML", "eml", _eml(words))
    page = _scanned(words)
    yield Document("PNG, a scanned page", "png", _png(page), 1_200)
    yield Document("PDF, a scanned page", "pdf", _scanned_pdf(page), 1_200)


class _Words:
    """Words of a made-up language, the same in every run."""

    def __init__(self) -> None:
        self._dice = Random("formats")
        self._known = ["".join(self._dice.choices(_SYLLABLES, k=self._dice.choice((1, 2, 2, 3)))) for _ in range(6_000)]

    def line(self, count: int = 12) -> str:
        return " ".join(self._dice.choices(self._known, k=count))

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def rows(self, count: int) -> Iterator[list[str | float]]:
        for number in range(count):
            names = self._dice.choices(self._known, k=4)
            yield [float(number), *names, round(self._dice.random() * 1000, 2), float(number % 7), self.line(2)]


def _zipped(parts: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _relations(*links: tuple[str, str]) -> str:
    items = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(links, 1)
    )
    return f'<Relationships xmlns="{_RELATIONS}">{items}</Relationships>'


def _content_types(parts: Mapping[str, str]) -> str:
    base = "application/vnd.openxmlformats-officedocument"
    listed = "".join(f'<Override PartName="/{name}" ContentType="{base}.{kind}+xml"/>' for name, kind in parts.items())
    defaults = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
    )
    return f'<Types xmlns="{_TYPES}">{defaults}{listed}</Types>'


def _docx(words: _Words, *, pages: int) -> bytes:
    run = '<w:r><w:rPr><w:rFonts w:ascii="Arial"/><w:sz w:val="22"/></w:rPr><w:t xml:space="preserve">{} </w:t></w:r>'
    settings = '<w:pPr><w:pStyle w:val="Text"/><w:spacing w:after="120"/></w:pPr>'
    cell = "<w:tc><w:tcPr/><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    body: list[str] = []
    for page in range(pages):
        for _ in range(14):
            runs = "".join(run.format(words.line(10)) for _ in range(3))
            body.append(f'<w:p w:rsidR="00AB12CD">{settings}{runs}</w:p>')
        if page % 10 == 0:
            rows = ("".join(cell.format(words.line(2)) for _ in range(4)) for _ in range(6))
            grid = '<w:tblPr/><w:tblGrid><w:gridCol w:w="2000"/></w:tblGrid>'
            body.append(f"<w:tbl>{grid}{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>")
    return _zipped(
        {
            "[Content_Types].xml": _content_types({"word/document.xml": "wordprocessingml.document.main"}),
            "_rels/.rels": _relations(("officeDocument", "word/document.xml")),
            "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{"".join(body)}</w:body></w:document>',
            "word/_rels/document.xml.rels": _relations(),
        }
    )


def _xlsx(rows: list[list[str | float]]) -> bytes:
    strings = {text: at for at, text in enumerate(dict.fromkeys(c for row in rows for c in row if isinstance(c, str)))}
    data = "".join(_xlsx_row(number, row, strings) for number, row in enumerate(rows, 1))
    items = "".join(f"<si><t>{text}</t></si>" for text in strings)
    listed = '<sheets><sheet name="Sales" sheetId="1" r:id="rId1"/></sheets>'
    kinds = {
        "xl/workbook.xml": "spreadsheetml.sheet.main",
        "xl/worksheets/sheet1.xml": "spreadsheetml.worksheet",
        "xl/sharedStrings.xml": "spreadsheetml.sharedStrings",
    }
    links = (("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml"))
    return _zipped(
        {
            "[Content_Types].xml": _content_types(kinds),
            "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
            "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}">{listed}</workbook>',
            "xl/_rels/workbook.xml.rels": _relations(*links),
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_SHEET}"><sheetData>{data}</sheetData></worksheet>',
            "xl/sharedStrings.xml": f'<sst xmlns="{_SHEET}">{items}</sst>',
        }
    )


def _xlsx_row(number: int, row: list[str | float], strings: Mapping[str, int]) -> str:
    cells = (
        f'<c r="{chr(65 + at)}{number}" t="s"><v>{strings[value]}</v></c>'
        if isinstance(value, str)
        else f'<c r="{chr(65 + at)}{number}"><v>{value:g}</v></c>'
        for at, value in enumerate(row)
    )
    return f'<row r="{number}">{"".join(cells)}</row>'


def _ods(rows: list[list[str | float]]) -> bytes:
    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
        said = f'office:value-type="float" office:value="{value:g}"'
        return f"<table:table-cell {said}><text:p>{value:g}</text:p></table:table-cell>"

    spaces = " ".join(f'xmlns:{name}="{_OPEN}{name}:1.0"' for name in ("office", "table", "text"))
    lines = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    table = f'<table:table table:name="Sales">{lines}</table:table>'
    body = f"<office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
    content = f"<office:document-content {spaces}>{body}</office:document-content>"
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    return _zipped({"mimetype": _ODS, "META-INF/manifest.xml": manifest, "content.xml": content})


def _csv(words: _Words) -> bytes:
    lines = ["id,a,b,c,d,price,day,text"]
    lines += [",".join(map(str, row)) for row in words.rows(100_000)]
    return "\n".join(lines).encode()


def _rtf(words: _Words) -> bytes:
    paragraphs = (
        f"\\pard\\plain\\f0\\fs22 {line} {{\\b {words.line(3)}}} caf\\'e9\\par" for line in words.lines(12_000)
    )
    return ("{\\rtf1\\ansi\\ansicpg1252{\\fonttbl{\\f0 Arial;}}\n" + "\n".join(paragraphs) + "}").encode()


def _html(words: _Words, *, blocks: int) -> str:
    parts = []
    for number in range(blocks):
        line = words.line()
        parts.append(f'<p class="text">{line} <a href="/{number}">{words.line(2)}</a> &amp; <b>{words.line(1)}</b></p>')
        if number % 100 == 0:
            row = "".join(f"<td>{words.line(2)}</td>" for _ in range(5))
            parts.append(f"<table>{f'<tr>{row}</tr>' * 10}</table>")
    return f"<!doctype html><html><head><title>Words</title></head><body>{''.join(parts)}</body></html>"


def _xml(rows: list[list[str | float]]) -> bytes:
    lines = ("".join(f"<f{at}>{value}</f{at}>" for at, value in enumerate(row)) for row in rows)
    return f"<?xml version='1.0'?><rows>{''.join(f'<row>{line}</row>' for line in lines)}</rows>".encode()


def _eml(words: _Words) -> bytes:
    head = "From: ada@example.com\r\nTo: bo@example.com\r\nSubject: Words\r\nMIME-Version: 1.0\r\n"
    kind = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return (head + kind + "\r\n".join(words.lines(15_000)) + "\r\n").encode()


def _scanned(words: _Words) -> Image.Image:
    """Return an A4 page at 200 dots per inch."""
    page = Image.new("L", (1654, 2339), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=34)
    for number, line in enumerate(words.line(9) for _ in range(38)):
        pen.text((120, 120 + 55 * number), line, fill="black", font=font)
    return page


def _png(page: Image.Image) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, "PNG", dpi=(200, 200))
    return buffer.getvalue()


def _scanned_pdf(page: Image.Image) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, "PDF", resolution=200)
    return buffer.getvalue()
