"""What a Word document (DOCX) shows from other parts: its charts, and documents that were inserted as they are."""

from typing import Any

from files import filetypes
from files.extractors import registry
from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ooxml import Package

_INSERTED = "aFChunk"
_MAIL_EXTENSIONS = frozenset({"mht", "mhtml", "eml"})
_PAGE_EXTENSIONS = frozenset({"htm", "html", "xhtml"})
# Captions and categories are kept beside their references to a workbook that nobody reads here.
_CAPTIONS = "strCache"


class Inserted:
    """The documents inserted into a part, by the names of their links (altChunk). Each is read once.

    What cannot be read becomes a sentence in `warnings`.
    """

    def __init__(self, package: Package, part: str, limits: Limits) -> None:
        self.warnings: list[str] = []
        self._package = package
        self._limits = limits
        self._parts = {link.identity: link.target for link in package.relations(part) if link.kind == _INSERTED}

    def text(self, identity: str) -> str:
        """Return the text of the document behind a link, whose own insertions are left out."""
        part = self._parts.pop(identity, None)
        if part is None or not self._package.has(part):
            return ""
        try:
            content, _ = self._package.head(part, self._limits.max_part_bytes)
            return _extracted(part, content, self._limits).text
        except ExtractionFailed as error:
            self.warnings.append(f"The inserted document {part[:200]} was not read: {error.message}"[:500])
            return ""


def _extracted(part: str, content: bytes, limits: Limits) -> Extraction:
    extension = _extension(part, content)
    if extension == "docx":
        from files.extractors import docx  # it reads its own insertions by this module

        return docx.extract_alone(content, limits)
    return registry.load(extension)(content, limits)


def _extension(part: str, content: bytes) -> str:
    """Tell what is inserted by its bytes, and where these are plain text, by its name."""
    found = filetypes.describe(content[: filetypes.HEAD_BYTES])
    named = filetypes.extension_of(part)
    if found in {"rtf", "html"}:
        return found
    if found == "zip":
        return "docx"
    if named in _MAIL_EXTENSIONS:
        return "eml"
    return "html" if named in _PAGE_EXTENSIONS else "txt"


def chart_words(package: Package, part: str) -> list[str]:
    """Return titles, captions and categories of a chart, each once; none of a chart that cannot be read."""
    try:
        return list(dict.fromkeys(filter(None, map(_chart_word, package.events(part, ("{*}p", "{*}v"))))))
    except ExtractionFailed:
        return []


def _chart_word(element: Any) -> str:
    if element.tag.endswith("}p"):
        return "".join(leaf.text or "" for leaf in element.iter("{*}t"))
    is_caption = any(parent.tag.endswith(f"}}{_CAPTIONS}") for parent in element.iterancestors())
    return element.text or "" if is_caption else ""
