"""Whole documents of every format, from which mutants are made: the tests' own, and those of the corpus folder."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from files.extractors import registry
from tests import documents, old_office
from tests.unit.files import test_workbooks as workbooks

CORPUS = Path(os.environ.get("CORPUS_DIR", Path(__file__).resolve().parents[3] / "shared" / "corpus"))
_WORDS = "Größe 25 Euro; naïve café, 12.50 each. "
_PICTURES = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP"}
_MAIL = (
    "From: Ada <ada@example.com>\r\nTo: b@example.com\r\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\r\n"
    'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="edge"\r\n\r\n'
    "--edge\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    "<p>caf=E9</p>\r\n--edge\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n"
    'Content-Disposition: attachment; filename="=?utf-8?b?w6Q=?="\r\n\r\naGVsbG8=\r\n--edge--\r\n'
)
_PAGE = (
    "<!doctype html><html><head><meta charset=utf-8><title>Prices</title><script>no()</script></head><body>"
    "<h1>Größe</h1><table><tr><th>a<td>b</tr><tr><td><table><tr><td>in</table></table><pre>x\n y</pre></body></html>"
)
_RICH = (
    rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset204 A;}{\f1\fcharset128 B;}}{\info{\title Prices}}"
    rb"\pard Gr\'f6\'dfe \u8364?\par\f0\'cf\'f0\f1\'83\'65\par\trowd\intbl a\cell b\cell\row"
    rb"{\header head}{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}{\footnote note}\pard\bin3 {\\}end}"
)


@dataclass(frozen=True)
class Seed:
    """A document as it should be."""

    name: str
    extension: str
    content: bytes


def by_extension() -> dict[str, list[Seed]]:
    """Return the documents of each format, always in the same order."""
    found: dict[str, list[Seed]] = defaultdict(list)
    for seed in (*_own(), *_of_the_corpus()):
        found[seed.extension].append(seed)
    return dict(found)


def _own() -> Iterator[Seed]:
    for makers in (_portable_documents, _word_documents, _workbooks, _texts, _pictures):
        for number, (extension, content) in enumerate(makers()):
            yield Seed(f"own {number}.{extension}", extension, content)


def _of_the_corpus() -> Iterator[Seed]:
    for path in sorted(CORPUS.iterdir()) if CORPUS.is_dir() else ():
        extension = path.suffix[1:].lower()
        # The folder's own lists are no documents of it.
        if registry.supports(extension) and "__" in path.name:
            yield Seed(path.name, extension, path.read_bytes())


def _portable_documents() -> Iterator[tuple[str, bytes]]:
    yield "pdf", documents.pdf("Hello", "page two")
    yield "pdf", documents.ruled_pdf([["id", "name"], ["1", "Ada"], ["2", "Bo"]])
    yield "pdf", documents.scanned_pdf("Hello there", None, words="words")
    yield "pdf", documents.pdf("secret", password="secret")


def _word_documents() -> Iterator[tuple[str, bytes]]:
    whole = documents.docx("One", "Two", table=[["a", "b"], ["c", "d"]], header="head", title="Report", author="Ada")
    yield from (("docx", whole), ("docm", whole))
    run = "<w:r><w:t>{}</w:t></w:r>"
    box = f"<w:p><w:r><w:pict><w:txbxContent><w:p>{run.format('box')}</w:p></w:txbxContent></w:pict></w:r></w:p>"
    notes = {kind: _word_part(kind, run.format(kind)) for kind in ("header", "footnotes", "comments")}
    yield "docx", documents.zipped(documents.word_parts(box + f"<w:p>{run.format('x')}</w:p>", **notes))
    yield "docx", documents.encrypted_office()
    yield "doc", old_office.doc("One\rTwo\x13 PAGE \x14" + "3\x15\ra\x07b\x07\x07end\r", row_ends=(17,), headers="h\r")
    yield "doc", old_office.doc("narrow words\r", footnotes="note\r", wide=False)
    yield "doc", old_office.word_95("Word of 95\ra\x07b\x07\x07", language=0x419, encoding="cp1251")
    yield "doc", documents.ole_doc()
    yield "rtf", _RICH


def _word_part(kind: str, inner: str) -> str:
    root = {"header": "hdr"}.get(kind, kind)
    return f'<w:{root} xmlns:w="{documents.WORD}"><w:p>{inner}</w:p></w:{root}>'


def _workbooks() -> Iterator[tuple[str, bytes]]:
    rows: list[list[str | float]] = [["id", "name", "sum"], [1, "Zoë", 2.5], [2, "=1+1", -3e9]]
    whole = documents.xlsx(Prices=rows, Empty=[], More=rows)
    yield from (("xlsx", whole), ("xlsm", whole), ("xlsx", _shared_strings()))
    yield "xls", old_office.xls(*rows)
    yield "xls", old_office.xls(["a"], encrypted=True)
    yield "xlsb", documents.zipped(workbooks.xlsb_parts("Zoë"))
    cells = workbooks.ods_row(workbooks.ods_cell("id"), workbooks.ods_cell("twice", 2), repeated=2)
    yield "ods", documents.zipped(workbooks.ods_parts(cells + workbooks.EMPTY_REST))


def _shared_strings() -> bytes:
    parts = documents.workbook_parts(S='<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>')
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{space}"><si><t>one</t></si><si><r><t>two</t></r></si></sst>'
    links = (("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml"))
    parts["xl/_rels/workbook.xml.rels"] = documents.relations(*links)
    return documents.zipped(parts)


def _texts() -> Iterator[tuple[str, bytes]]:
    for encoding in ("utf-8", "cp1252", "utf-16", "utf-8-sig"):
        yield "txt", (_WORDS * 8).encode(encoding)
    yield "txt", ("Привет, мир! " * 8).encode("koi8-r")
    for delimiter in ",;\t|":
        yield "csv", documents.csv(30, delimiter=delimiter)
    yield "csv", b'id,text\n1,"two\nlines"\n2,"with ""quotes"""\n3,back\\,slash\n'
    yield "tsv", documents.csv(20, delimiter="\t")
    yield from (("html", _PAGE.encode()), ("htm", _PAGE.replace("utf-8", "windows-1252").encode("cp1252")))
    yield from ((name, f"# Größe\n\n- {_WORDS}\n\n```\ncode\n```\n".encode()) for name in ("md", "markdown"))
    yield "json", b'{"a": [1, 2.5, null, {"b": "caf\\u00e9 \\ud83d\\ude00"}], "c": true}'
    yield "json", b"[" + b",".join(b'{"id": %d}' % number for number in range(40)) + b"]"
    yield (
        "xml",
        '<?xml version="1.0" encoding="utf-8"?><a x="1"><b>Größe</b><!-- no --><c><![CDATA[<]]></c></a>'.encode(),
    )
    yield "xml", '<?xml version="1.0" encoding="utf-16"?><a>Größe</a>'.encode("utf-16")
    yield "eml", _MAIL.encode()


def _pictures() -> Iterator[tuple[str, bytes]]:
    # Small, so that the time goes into damage and not into reading letters.
    for extension, kind in _PICTURES.items():
        yield extension, documents.picture("Hello", size=(240, 140), kind=kind)
    yield "jpeg", documents.picture("Hello", size=(240, 140), kind="JPEG", quality=30)
    yield "tiff", documents.picture("Hello", size=(240, 140), kind="TIFF", compression="tiff_lzw")


Seeds = Mapping[str, list[Seed]]
