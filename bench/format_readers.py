"""One reader of one format in a process of its own: `python -m bench.format_readers ours|raw|markitdown EXTENSION`.

`raw` reads the same text with nothing but the format's library, as its own documentation shows it.
"""

import csv
import email
import email.policy
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.processes import requests

# content -> text
Reader = Callable[[bytes], str]


def main() -> None:
    """Read the document as often as asked; tell seconds, characters and the peak of memory so far."""
    kind, extension = sys.argv[1:]
    read = {"ours": ours, "raw": lambda name: RAW[name], "markitdown": markitdown}[kind](extension)
    for request, answer in requests():
        content = Path(request["path"]).read_bytes()
        began_at = time.perf_counter()
        try:
            characters = len(read(content))
        except Exception as error:  # noqa: BLE001  (a reader that cannot read it is told apart by its text)
            answer({"error": repr(error)[:300]})
            continue
        seconds = time.perf_counter() - began_at
        del content
        answer({"seconds": seconds, "characters": characters, "peak_mib": _peak_mib()})


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def ours(extension: str) -> Reader:
    """Return our extractor with what it reads after the text, as the extraction child calls them."""
    from files.extractors import registry
    from files.extractors.base import Limits

    limits = Limits(ocr_language="eng")
    extract = registry.load(extension)

    def read(content: bytes) -> str:
        found = extract(content, limits)
        later = [line for _, more in registry.later_readers(extension) for line in more(content, limits, found)]
        return found.text + "".join(line["page"]["text"] for line in later if "page" in line)

    return read


def markitdown(extension: str) -> Reader:
    """Return markitdown's reader, its imports done."""
    from markitdown import MarkItDown, StreamInfo

    converter = MarkItDown(enable_plugins=False)
    info = StreamInfo(extension=f".{extension}")
    return lambda content: str(converter.convert_stream(io.BytesIO(content), stream_info=info).markdown)


def _pdf(content: bytes) -> str:
    import pypdfium2

    document = pypdfium2.PdfDocument(content)
    texts = []
    for index in range(len(document)):
        page = document[index]
        text_page = page.get_textpage()
        texts.append(text_page.get_text_bounded())
        text_page.close()
        page.close()
    if not any(texts):
        texts = [
            _letters(document[index].render(scale=200 / 72, grayscale=True).to_pil()) for index in range(len(document))
        ]
    document.close()
    return "\n".join(texts)


def _letters(picture: Any) -> str:
    import tesserocr

    from files.extractors import ocr_languages

    with tesserocr.PyTessBaseAPI(path=str(ocr_languages.folder()), lang="eng") as engine:
        engine.SetImage(picture)
        engine.SetSourceResolution(200)
        return str(engine.GetUTF8Text())


def _png(content: bytes) -> str:
    from PIL import Image

    return _letters(Image.open(io.BytesIO(content)))


def _docx(content: bytes) -> str:
    from lxml import etree

    space = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    lines = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open("word/document.xml") as part:
        for _, paragraph in etree.iterparse(part, tag=f"{space}p"):
            lines.append("".join(text.text or "" for text in paragraph.iter(f"{space}t")))
            paragraph.clear()
    return "\n".join(lines)


def _workbook(content: bytes) -> str:
    from python_calamine import CalamineWorkbook

    workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    sheets = [workbook.get_sheet_by_name(name).to_python() for name in workbook.sheet_names]
    return "\n".join("\t".join(map(str, row)) for rows in sheets for row in rows)


def _csv(content: bytes) -> str:
    text = content.decode()
    rows = sum(1 for _ in csv.reader(io.StringIO(text, newline="")))
    return text if rows else ""


def _text(content: bytes) -> str:
    text = content.decode()
    lines = text.count("\n") + 1
    return text if lines else ""


def _doc(content: bytes) -> str:
    import olefile

    with olefile.OleFileIO(io.BytesIO(content)) as container:
        data = container.openstream("WordDocument").read()
    # Where our own document has its one piece.
    return str(data[1024:].decode("utf-16-le", errors="replace"))


def _html(content: bytes) -> str:
    import lxml.html

    parts = []
    for element in lxml.html.document_fromstring(content.decode()).iter():
        # Without blocks on lines of their own, words of neighbours would grow together.
        if element.tag in {"p", "tr"}:
            parts.append("\n")
        if element.tag != "title":
            parts.append(element.text or "")
        parts.append(element.tail or "")
    return "".join(parts)


def _json(content: bytes) -> str:
    text = content.decode()
    json.loads(text)
    return text


def _xml(content: bytes) -> str:
    from lxml import etree

    return "\n".join(etree.fromstring(content).itertext())


def _eml(content: bytes) -> str:
    message = email.message_from_bytes(content, policy=email.policy.default)
    return str(message.get_content())


RAW: dict[str, Reader] = {
    "pdf": _pdf,
    "docx": _docx,
    **dict.fromkeys(("xlsx", "xls", "ods"), _workbook),
    "csv": _csv,
    **dict.fromkeys(("txt", "md"), _text),
    "doc": _doc,
    "html": _html,
    "json": _json,
    "xml": _xml,
    "eml": _eml,
    "png": _png,
}

if __name__ == "__main__":
    main()
