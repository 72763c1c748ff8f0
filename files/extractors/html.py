"""Web pages (HTML): their text in the order of the page. Scripts and styles are left out; links are not followed."""

import re

from files import filetypes
from files.extractors.base import Extraction, Limits, short
from files.extractors.decoding import decode
from files.extractors.markup import HtmlText

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_DECLARED_BYTES = 4096
# Browsers read these names as the wider Windows encodings.
_WIDER = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "gb2312": "gb18030", "iso-8859-9": "cp1254"}


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text; metadata: encoding, line_count, title."""
    text, encoding = declared(content) or decode(content)
    page = HtmlText(limits)
    page.read(text)
    metadata = {"extraction_method": "text", "encoding": encoding, "line_count": text.count("\n") + 1}
    if page.title:
        metadata |= short({"title": page.title})
    return Extraction(
        text=page.text.text(), metadata=metadata, tables=page.tables.tables, truncated=page.text.truncated
    )


def declared(content: bytes) -> tuple[str, str] | None:
    """Return text and encoding as the page itself says, if it does and its bytes bear it out."""
    found = _CHARSET.search(content[:_DECLARED_BYTES])
    if found is None or not filetypes.is_text(content[: filetypes.HEAD_BYTES]):
        return None
    name = found[1].decode("ascii", errors="replace").lower()
    encoding = _WIDER.get(name, name)
    if encoding.startswith(("utf-16", "utf-32", "utf16", "utf32")):
        return None  # read so far as single bytes, it is none of these
    try:
        return content.decode(encoding), encoding
    except (UnicodeDecodeError, LookupError):
        return None
