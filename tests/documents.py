"""Small documents that the tests make themselves."""

import io

from reportlab.lib.pdfencrypt import StandardEncryption
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


def truncated_pdf() -> bytes:
    """Return the beginning of a PDF, too short to hold a page."""
    return pdf()[:120]


def csv(rows: int = 3, *, delimiter: str = ",") -> bytes:
    """Return a CSV file with a header (id, name, amount) and `rows` rows with leading zeros."""
    lines = [delimiter.join(("id", "name", "amount"))]
    lines += [delimiter.join((f"{number:05}", f"name {number}", f"{number}.50")) for number in range(1, rows + 1)]
    return ("\n".join(lines) + "\n").encode()
