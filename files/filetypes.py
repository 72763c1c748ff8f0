"""What a file is, by its bytes. Pure: the web process and the extraction child both use it.

The name's extension decides what a file is taken for, and the bytes must agree: a valid PDF that is also
a valid ZIP is a PDF when it is called `.pdf` and a Word document when it is called `.docx`.
"""

import codecs
import mimetypes
import re
import unicodedata

HEAD_BYTES = 64 * 1024
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
# Possessive (*+): tried in every way, the comments of a few hundred bytes would keep a process busy for years.
_HTML = re.compile(rb"\s*+(<!--.*?-->\s*+)*+<(!doctype\s+html|html|head|body|script)\b", re.IGNORECASE | re.DOTALL)
# Control bytes that text has no use for: all of C0 but backspace, tab, line feed, form feed, return, escape.
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\b\t\n\f\r\x1b") + b"\x7f"
_MAGICS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"{\\rtf", "rtf"),
    (b"\x7fELF", "elf"),
    (b"\x1f\x8b", "gzip"),
)
_BINARY = (*_ZIP, _OLE, b"%PDF-", b"\x89PNG", b"\x7fELF", b"\x1f\x8b", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")
_MIME_TYPES = {
    "pdf": "application/pdf",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "docm": "application/vnd.ms-word.document.macroEnabled.12",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "txt": "text/plain",
    "csv": "text/csv",
    "rtf": "application/rtf",
    "html": "text/html",
    "htm": "text/html",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "json": "application/json",
    "xml": "application/xml",
    "eml": "message/rfc822",
    "tsv": "text/tab-separated-values",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xlsb": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
}
# Part names stand uncompressed in a ZIP's local headers, and stream names as UTF-16 in an OLE directory.
MARKERS = {
    "docx": b"word/",
    "xlsx": b"xl/",
    "ods": b"content.xml",
    "doc": "WordDocument".encode("utf-16-le"),
    "xls": "Workbook".encode("utf-16-le"),
    # Of Excel 5 and 95.
    "book": "Book".encode("utf-16-le"),
    "encrypted": "EncryptedPackage".encode("utf-16-le"),
}
# Extension -> the kind of its parts; macro documents differ in what this project never reads.
_OFFICE = {"docx": "docx", "docm": "docx", "xlsx": "xlsx", "xlsm": "xlsx", "xlsb": "xlsx", "ods": "ods"}
# Extension -> the streams of an OLE file that make it one.
_OLE_STREAMS = {"doc": ("doc",), "xls": ("xls", "book")}
# Kind of picture, as `describe` names it -> Pillow's name; and by the extensions of names.
IMAGE_FORMATS = {"png": "PNG", "jpeg": "JPEG", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP", "webp": "WEBP"}
IMAGE_EXTENSIONS = {kind: kind for kind in IMAGE_FORMATS} | {"jpg": "jpeg", "tif": "tiff"}
TEXT_EXTENSIONS = frozenset({"txt", "csv", "tsv", "html", "htm", "md", "markdown", "json", "xml", "eml"})
# The announcement that such a text begins with.
ISO_2022_KR = b"\x1b$)C"
_FEWEST_UTF32_BYTES = 16
_WIDE_SAMPLE_BYTES = 8 * 1024
# What no text holds: control characters, and what is no character. And what texts in any script hold.
_NO_TEXT = frozenset({"Cc", "Cn", "Co", "Cs"})
_ASCII_TEXT = bytes((0, 9, 10, 13, *range(32, 127)))
_COMMON = frozenset(" \r\n\t.,:;-()0123456789\u3000\u3001\u3002\uff0c")
_LONGEST_MARKER = max(map(len, MARKERS.values()))


class Fingerprint:
    """The part of a file's bytes that tells its type, gathered chunk by chunk."""

    def __init__(self) -> None:
        self.head = b""
        self.markers: set[str] = set()
        self._tail = b""

    def update(self, chunk: bytes) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        if not self._may_have_markers():
            return
        window = self._tail + chunk
        self.markers.update(name for name, marker in MARKERS.items() if marker in window)
        self._tail = window[-_LONGEST_MARKER:]

    def agrees_with(self, extension: str) -> bool:
        """Tell whether the bytes may be what the extension says; unknown extensions are not judged."""
        if extension in _OFFICE:
            return self._is_zip_with(_OFFICE[extension]) or self.is_encrypted_office()
        if extension in _OLE_STREAMS:
            return any(map(self._is_ole_with, _OLE_STREAMS[extension])) or self.is_encrypted_office()
        if extension in IMAGE_EXTENSIONS or extension in {"pdf", "rtf"}:
            return describe(self.head) == IMAGE_EXTENSIONS.get(extension, extension)
        return is_text(self.head) if extension in TEXT_EXTENSIONS else True

    def describe(self) -> str:
        """Name the type of the content, as far as it is known."""
        found = (name for name in ("docx", "xlsx", "ods") if self._is_zip_with(name))
        found_ole = (name for name in ("doc", "xls", "encrypted") if self._is_ole_with(name))
        return next(found, None) or next(found_ole, None) or describe(self.head)

    def _may_have_markers(self) -> bool:
        """Tell whether this is a container, as far as read: nothing else is searched for what containers hold."""
        return self.head.startswith((*_ZIP, _OLE)) or len(self.head) < len(_OLE)

    def is_zip(self) -> bool:
        return self.head.startswith(_ZIP)

    def is_ole(self) -> bool:
        return self.head.startswith(_OLE)

    def is_encrypted_office(self) -> bool:
        """Tell whether this is the OLE container in which Office puts documents with a password."""
        return self._is_ole_with("encrypted")

    def _is_zip_with(self, part: str) -> bool:
        return self.is_zip() and part in self.markers

    def _is_ole_with(self, stream: str) -> bool:
        return self.head.startswith(_OLE) and stream in self.markers


def describe(head: bytes) -> str:
    """Name the type of content that begins with `head`: pdf, zip, ole, html, png, ..., text or binary."""
    if is_pdf(head):
        return "pdf"
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(_OLE):
        return "ole"
    if _HTML.match(head):
        return "html"
    magic = next((name for prefix, name in _MAGICS if head.startswith(prefix)), None)
    return magic or _picture(head) or ("text" if is_text(head) else "binary")


def is_pdf(head: bytes) -> bool:
    """Tell whether the PDF header stands in the first 1,024 bytes (after blanks), where readers look for it.

    A web page may carry the header in its text and is still a web page.
    """
    return b"%PDF-" in head.lstrip()[:1024] and not _HTML.match(head)


def is_text(head: bytes) -> bool:
    """Tell whether `head` is text in some encoding: no binary signature and next to no control bytes."""
    if head.startswith(_BINARY) or _is_bmp(head):
        return False
    if head.startswith(_BOMS) or wide_encoding(head):
        return True
    # ISO-2022-KR shifts with two control bytes.
    shifts = head.count(b"\x0e") + head.count(b"\x0f") if head.startswith(ISO_2022_KR) else 0
    controls = len(head) - len(head.translate(None, _CONTROLS)) - shifts
    return controls * 100 <= len(head)


def _picture(head: bytes) -> str | None:
    """Name the pictures that take more than their first bytes to be told."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    return "bmp" if _is_bmp(head) else None


def _is_bmp(head: bytes) -> bool:
    """Two letters are no signature by themselves; zeros follow the size."""
    return head.startswith(b"BM") and head[6:10] == bytes(4)


def wide_encoding(head: bytes) -> str | None:
    """Return `utf-16-le`, `utf-16-be`, `utf-32-le` or `utf-32-be` for text without a mark, by where its zero bytes are.

    Text of mostly Latin letters can be told so; other text only by its characters, and only in UTF-16.
    """
    quarters = [head[offset::4].count(0) * 4 for offset in range(4)]
    length = len(head)
    if length >= _FEWEST_UTF32_BYTES and length % 4 == 0:
        if min(quarters[2:]) * 20 >= length * 19 and max(quarters[:1]) * 20 <= length:
            return "utf-32-le"
        if min(quarters[:2]) * 20 >= length * 19 and max(quarters[3:]) * 20 <= length:
            return "utf-32-be"
    return _utf16_byte_order(head) or _utf16_by_characters(head)


def _utf16_by_characters(head: bytes) -> str | None:
    """Spaces and line ends give zero bytes to text in any script; read in the right order, all of it is characters."""
    sample = head[: _WIDE_SAMPLE_BYTES // 2 * 2]
    # Zero bytes between ASCII texts, as programs write lists of names, would read as Chinese.
    if b"\0" not in sample or len(sample.translate(None, _ASCII_TEXT)) * 20 < len(sample):
        return None
    found = {name: _common_characters(sample, name) for name in ("utf-16-le", "utf-16-be")}
    name = max(found, key=lambda order: found[order])
    return name if found[name] > 0 and min(found.values()) < found[name] else None


def _common_characters(sample: bytes, encoding: str) -> int:
    """Return how many characters are such as all scripts use; 0 where not all are characters of text."""
    try:
        # The last character may have been cut in two.
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0
    if any(unicodedata.category(char) in _NO_TEXT and char not in "\t\n\r\f" for char in text):
        return 0
    return sum(char in _COMMON for char in text)


def _utf16_byte_order(head: bytes) -> str | None:
    """Zero bytes stand on one side only."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) * 4 < len(head) // 2 or min(even, odd) * 20 > max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def mime_type(filename: str) -> str:
    """Guess the MIME type from the name; the common ones do not depend on the machine's tables."""
    known = _MIME_TYPES.get(extension_of(filename))
    return known or mimetypes.guess_type(filename)[0] or "application/octet-stream"


def extension_of(filename: str) -> str:
    """Return the lower-case extension without its dot, or an empty text."""
    stem, dot, extension = filename.rpartition(".")
    return extension.lower() if dot and stem else ""
