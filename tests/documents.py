"""Small documents that the tests make themselves."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from docx import Document
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas


def pdf(*pages: str, title: str = "Report", author: str = "Ada", password: str = "") -> bytes:
    """Return a PDF with one line of text on each page; with `password` it needs one to be opened."""
    buffer = io.BytesIO()
    encryption = StandardEncryption(password, ownerPassword="owner", strength=128) if password else None
    canvas = Canvas(buffer, encrypt=encryption)
    canvas.setTitle(title)
    canvas.setAuthor(author)
    for line in pages or ("Hello PDF",):
        canvas.drawString(72, 720, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def ruled_pdf(rows: Sequence[Sequence[str]]) -> bytes:
    """Return a PDF with one table, ruled by lines, below a line of text."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.drawString(72, 760, "A table follows")
    edges = [720 - 24 * index for index in range(len(rows) + 1)]
    columns = [72 + 120 * index for index in range(len(rows[0]) + 1)]
    canvas.grid(columns, edges)
    for row, top in zip(rows, edges, strict=False):
        for cell, left in zip(row, columns, strict=False):
            canvas.drawString(left + 4, top - 16, cell)
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def picture(
    *lines: str, size: tuple[int, int] = (1000, 400), turned: int = 0, kind: str = "PNG", **saving: Any
) -> bytes:
    """Return a picture of black lines of text on white, turned left by degrees, in a format of Pillow's."""
    image = drawn(*lines, size=size).rotate(turned, expand=True)
    buffer = io.BytesIO()
    image.save(buffer, kind, **saving)
    return buffer.getvalue()


def drawn(*lines: str, size: tuple[int, int] = (1000, 400)) -> Image.Image:
    """Return the image of black lines of text on white."""
    image = Image.new("L", size, "white")
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        pen.text((60, 50 + 90 * number), line, fill="black", font=ImageFont.load_default(size=48))
    return image


def scanned_pdf(*pages: str | None, words: str = "") -> bytes:
    """Return a PDF whose pages are pictures of one line each; None is a page with `words` as real text."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    for line in pages:
        if line is None:
            canvas.drawString(72, 720, words)
        else:
            canvas.drawImage(ImageReader(drawn(line)), 40, 500, width=500, height=200)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def truncated_pdf() -> bytes:
    """Return the beginning of a PDF, too short to hold a page."""
    return pdf()[:120]


def csv(rows: int = 3, *, delimiter: str = ",") -> bytes:
    """Return a CSV file with a header (id, name, amount) and `rows` rows with leading zeros."""
    lines = [delimiter.join(("id", "name", "amount"))]
    lines += [delimiter.join((f"{number:05}", f"name {number}", f"{number}.50")) for number in range(1, rows + 1)]
    return ("\n".join(lines) + "\n").encode()


def docx(
    *paragraphs: str, table: Sequence[Sequence[str]] = (), header: str = "", title: str = "", author: str = ""
) -> bytes:
    """Return a Word document: paragraphs, then a table, with a header."""
    document = Document()
    for text in paragraphs or ("Hello Word",):
        document.add_paragraph(text)
    if table:
        grid = document.add_table(len(table), len(table[0]))
        for cells, row in zip(grid.rows, table, strict=True):
            for cell, text in zip(cells.cells, row, strict=True):
                cell.text = text
    if header:
        document.sections[0].header.paragraphs[0].text = header
    document.core_properties.title, document.core_properties.author = title, author
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def zipped(parts: Mapping[str, bytes | str], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP file of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT_WORD = "http://purl.oclc.org/ooxml/wordprocessingml/main"


def relations(*links: tuple[str, str]) -> str:
    """Return a part of links: (last word of the type, target)."""
    items = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(links, 1)
    )
    return f'<Relationships xmlns="{_RELATIONS}">{items}</Relationships>'


def word_parts(body: str, *, space: str = WORD, **notes: str) -> dict[str, bytes | str]:
    """Return the parts of a Word document by the XML of its body and of its `header`, `footnotes`, ... parts."""
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(("officeDocument", "word/document.xml")),
        "word/document.xml": f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>',
        "word/_rels/document.xml.rels": relations(*((kind, f"{kind}.xml") for kind in notes)),
    }
    return parts | {f"word/{kind}.xml": xml for kind, xml in notes.items()}


def sheet(*rows: Sequence[str | float]) -> str:
    """Return the XML of a worksheet's rows, texts inline."""
    lines = []
    for number, row in enumerate(rows, 1):
        cells = "".join(_cell(f"{chr(65 + index)}{number}", value) for index, value in enumerate(row))
        lines.append(f'<row r="{number}">{cells}</row>')
    return "".join(lines)


def _cell(reference: str, value: str | float) -> str:
    if isinstance(value, str):
        return f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{reference}"><v>{value}</v></c>'


def workbook_parts(**sheets: str) -> dict[str, bytes | str]:
    """Return the parts of an Excel workbook by the XML of the rows of each sheet."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>' for number, name in enumerate(sheets, 1)
    )
    links = [("worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(sheets) + 1)]
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{space}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relations(*links),
    }
    for number, rows in enumerate(sheets.values(), 1):
        data = f'<worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>'
        parts[f"xl/worksheets/sheet{number}.xml"] = data
    return parts


def xlsx(**sheets: Sequence[Sequence[str | float]]) -> bytes:
    """Return an Excel workbook by the rows of each sheet."""
    return zipped(
        workbook_parts(**{name: sheet(*rows) for name, rows in (sheets or {"Sheet1": [["Hello Excel"]]}).items()})
    )


def encrypted_office() -> bytes:
    """Return the beginning of the OLE container in which Office puts documents with a password."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000) + "EncryptedPackage".encode("utf-16-le") + bytes(1000)


def ole_doc() -> bytes:
    """Return what looks like a Word document of before 2007."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000) + "WordDocument".encode("utf-16-le") + bytes(1000)
