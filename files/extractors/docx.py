"""Word documents (DOCX, DOCM), transitional and ISO strict, read from their XML parts piece by piece.

The order is the reader's: the body (paragraphs, tables row by row, text boxes where they are anchored), then headers,
footers, footnotes, endnotes, comments, diagrams and charts. Deleted and moved-away text, field codes and the fallbacks
of drawings are left out: they would show what a reader does not see, or show it twice. Macros are never looked at.
"""

import re
from collections.abc import Iterator
from typing import Any

from files.extractors.base import Extraction, ExtractionFailed, Limits, TableSink, TextSink, short
from files.extractors.docx_inserts import Inserted, chart_words
from files.extractors.ooxml import Package, elements, open_package

_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_MATH = ("http://schemas.openxmlformats.org/officeDocument/2006/math", "http://purl.oclc.org/ooxml/officeDocument/math")
_DRAWING = ("http://schemas.openxmlformats.org/drawingml/2006/main", "http://purl.oclc.org/ooxml/drawingml/main")
_DIAGRAM = (
    "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "http://purl.oclc.org/ooxml/drawingml/diagram",
)
_COMPATIBILITY = "http://schemas.openxmlformats.org/markup-compatibility/2006"
_NOTE_KINDS = ("header", "footer", "footnotes", "endnotes", "comments", "diagramData", "chart", "chartEx")
_CHARTS = frozenset({"chart", "chartEx"})
_PRIVATE_USE = range(0xE000, 0xF900)


def _names(spaces: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(f"{{{space}}}{name}" for space in spaces for name in names)


def _word(*names: str) -> tuple[str, ...]:
    return _names(_WORD, *names)


_ROOTS = frozenset(_word("document"))
_TABLE, _ROW, _CELL = (frozenset(_word(name)) for name in ("tbl", "tr", "tc"))
_PARAGRAPH, _RUBY, _RUBY_TEXT, _SYMBOL, _TAB = (frozenset(_word(name)) for name in ("p", "ruby", "rt", "sym", "tab"))
_BOX_TEXT = frozenset(_word("txbxContent"))
_INSERTED, _CHOICE, _CODE = (frozenset(_word(name)) for name in ("altChunk", "ddList", "instrText"))
_BLOCK_TAGS = _TABLE | _PARAGRAPH | _INSERTED
_CHOICE_ENTRY = _word("listEntry")
# Letters drawn as a picture, as watermarks are.
_WORD_ART = "{urn:schemas-microsoft-com:vml}textpath"
# The code of a field that shows a text to click on.
_BUTTON = re.compile(r"\s*MACROBUTTON\s+\S+\s(.*)", re.DOTALL)
_FALLBACK = f"{{{_COMPATIBILITY}}}Fallback"
_BLOCKS = (
    *_word("p", "tbl", "sdt", "customXml", "smartTag", "ins", "moveTo", "altChunk"),
    *_names(_MATH, "oMathPara", "oMath"),
    *_names(_DIAGRAM, "pt"),
    f"{{{_COMPATIBILITY}}}AlternateContent",
)
# Whose children are blocks.
_CONTAINERS = frozenset((*_word("body", "hdr", "ftr", "footnote", "endnote", "comment"), *_names(_DIAGRAM, "ptLst")))
_TEXT = frozenset((*_word("t"), *_names(_MATH, "t"), *_names(_DRAWING, "t")))
_GLYPHS = dict.fromkeys(_word("br", "cr"), "\n") | dict.fromkeys(_word("ptab"), "\t")
_GLYPHS |= dict.fromkeys(_word("noBreakHyphen"), "-")
_SETTINGS = _word("pPr", "rPr", "tblPr", "tblGrid", "trPr", "tcPr", "sectPr", "sdtPr")
_SKIPPED = frozenset((*_SETTINGS, *_word("del", "moveFrom"), _FALLBACK))
# In a paragraph that has none of these, the text is what its leaves say in their order.
_INVOLVED = (*_word("txbxContent", "ruby", "moveFrom", "del", "tbl"), _FALLBACK)
_INVOLVED_TAGS = frozenset(_INVOLVED)
_LEAF_TAGS = frozenset((*_TEXT, *_GLYPHS, *_SYMBOL, *_TAB, *_CHOICE, *_CODE, _WORD_ART))


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return text and tables; metadata: word_paragraphs and word_tables of the body, title, author."""
    return _extracted(content, limits, is_inserted=False)


def extract_alone(content: bytes, limits: Limits) -> Extraction:
    """Return what `extract` does, without the documents that are inserted into this one."""
    return _extracted(content, limits, is_inserted=True)


def _extracted(content: bytes, limits: Limits, *, is_inserted: bool) -> Extraction:
    package = open_package(content, limits, kind="Word document")
    main = package.main_part("word/document.xml")
    if not package.has(main):
        raise ExtractionFailed("type_mismatch", "The name says Word document, the content is another ZIP")
    inserted = None if is_inserted else Inserted(package, main, limits)
    document = _Document(limits, inserted)
    document.read(package, main, is_body=True)
    document.read_notes(package, main)
    metadata = {
        "extraction_method": "word",
        "word_paragraphs": document.paragraphs,
        "word_tables": document.tables,
    } | short(package.properties())
    return Extraction(
        text=document.text.text(),
        metadata=metadata,
        tables=document.table_rows.tables,
        truncated=document.text.truncated,
        warnings=inserted.warnings if inserted else [],
    )


def _notes(package: Package, main: str) -> dict[str, str]:
    """Return the parts beside the body that carry text and their kinds, in the order in which they are read."""
    links = package.relations(main)
    ordered = [link for kind in _NOTE_KINDS for link in links if link.kind == kind and package.has(link.target)]
    return {link.target: link.kind for link in ordered}


class _Document:
    """What has been read so far."""

    def __init__(self, limits: Limits, inserted: Inserted | None) -> None:
        self._inserted = inserted
        self.text = TextSink(limits.max_characters)
        self.table_rows = TableSink()
        self.paragraphs = 0
        self.tables = 0

    def read(self, package: Package, part: str, *, is_body: bool) -> bool:
        """Add the text of one part, block by block, letting go of each; False when there is no more room."""
        is_document = False
        for block in package.events(part, (*_BLOCKS, *_ROOTS)):
            parent = block.getparent()
            if parent is None:
                is_document = True
            elif parent.tag in _CONTAINERS:
                if not self._add(block, is_body=is_body):
                    return False
                _let_go(block)
        if is_body and not is_document:
            raise ExtractionFailed("type_mismatch", f"The name says Word document, {part[:200]} is none")
        return True

    def read_notes(self, package: Package, main: str) -> None:
        """Add the text of the parts beside the body, as far as there is room."""
        for part, kind in _notes(package, main).items():
            if kind in _CHARTS:
                self.text.add("".join(f"{words}\n" for words in chart_words(package, part)))
            else:
                self.read(package, part, is_body=False)
            if self.text.truncated:
                return

    def _add(self, block: Any, *, is_body: bool) -> bool:
        if block.tag in _PARAGRAPH:  # nearly all are
            return self._add_text(block, is_body=is_body)
        return all(self._add_unwrapped(item, is_body=is_body) for item in _unwrapped(block))

    def _add_unwrapped(self, item: Any, *, is_body: bool) -> bool:
        if item.tag in _TABLE:
            return self._add_table(item, is_body=is_body)
        return self._add_inserted(item) if item.tag in _INSERTED else self._add_text(item, is_body=is_body)

    def _add_inserted(self, item: Any) -> bool:
        identity = next((value for name, value in item.attrib.items() if name.endswith("}id")), "")
        text = self._inserted.text(identity).strip() if self._inserted else ""
        return not text or self.text.add(text + "\n")

    def _add_text(self, paragraph: Any, *, is_body: bool) -> bool:
        self.paragraphs += is_body and paragraph.tag in _PARAGRAPH
        text = _text_of(paragraph)
        return not text or self.text.add(text + "\n")

    def _add_table(self, table: Any, *, is_body: bool) -> bool:
        self.tables += is_body
        self.table_rows.begin(f"Table {len(self.table_rows.tables) + 1}")
        for row in _rows(table):
            self.table_rows.add(row)
            if not self.text.add("\t".join(row) + "\n"):
                return False
        return True


def _unwrapped(block: Any) -> Iterator[Any]:
    """Yield paragraphs and tables out of content controls and revision marks around them."""
    if block.tag in _BLOCK_TAGS or not _holds_blocks(block):
        yield block
        return
    for child in elements(block):
        if child.tag not in _SKIPPED:
            yield from _unwrapped(child)


def _holds_blocks(block: Any) -> bool:
    return next(block.iter(*_BLOCK_TAGS), None) is not None


def _rows(table: Any) -> Iterator[list[str]]:
    """Yield the texts of the cells row by row; rows and cells may be wrapped in content controls."""
    for row in _nearest(table, _ROW):
        yield ["\n".join(filter(None, map(_text_of, _cell_blocks(cell)))) for cell in _nearest(row, _CELL)]


def _nearest(parent: Any, tags: frozenset[str]) -> Iterator[Any]:
    for child in elements(parent):
        if child.tag in tags:
            yield child
        elif child.tag not in _SKIPPED and child.tag not in _PARAGRAPH and child.tag not in _TABLE:
            yield from _nearest(child, tags)


def _cell_blocks(cell: Any) -> Iterator[Any]:
    for child in elements(cell):
        if child.tag not in _SKIPPED:
            yield from _unwrapped(child)


def _text_of(block: Any) -> str:
    """Return the text of a paragraph (or of a table inside a cell)."""
    if block.tag in _TABLE:
        return "\n".join("\t".join(row) for row in _rows(block))
    parts: list[str] = []
    # One by one: lxml needs longer to prepare a search for so many tags than a paragraph's elements take.
    for element in block.iter():
        tag = element.tag
        if tag in _TEXT:
            parts.append(element.text or "")
        elif tag in _LEAF_TAGS:
            parts.append(_leaf(element))
        elif tag in _INVOLVED_TAGS:
            parts.clear()
            _walk(block, parts)
            break
    return "".join(parts)


def _walk(element: Any, parts: list[str]) -> None:
    """Gather the text below an element in document order; libxml2 bounds the depth."""
    for child in elements(element):
        tag = child.tag
        if tag in _SKIPPED:
            continue
        if tag in _LEAF_TAGS:
            parts.append(_leaf(child))
        elif tag in _BOX_TEXT:
            blocks = (item for inner in elements(child) for item in _unwrapped(inner))
            parts.append("\n" + "\n".join(filter(None, map(_text_of, blocks))) + "\n")
        elif tag in _RUBY:
            _walk_ruby(child, parts)
        else:
            _walk(child, parts)


def _walk_ruby(ruby: Any, parts: list[str]) -> None:
    """Write phonetic text in brackets after its base, though it stands before it in the file."""
    phonetic = [child for child in elements(ruby) if child.tag in _RUBY_TEXT]
    for child in elements(ruby):
        if child.tag not in _RUBY_TEXT:
            _walk(child, parts)
    reading: list[str] = []
    for child in phonetic:
        _walk(child, reading)
    if any(reading):
        parts.append(f" ({''.join(reading)})")


def _leaf(leaf: Any) -> str:
    if leaf.tag in _TEXT:
        return leaf.text or ""
    if leaf.tag in _TAB:
        # A tab stop of the paragraph's settings has a position; a tab in the text has none.
        return "" if leaf.attrib and any(name.endswith("}pos") for name in leaf.attrib) else "\t"
    if leaf.tag in _SYMBOL:
        return _symbol(leaf)
    return _GLYPHS.get(leaf.tag) or _field_text(leaf)


def _field_text(leaf: Any) -> str:
    """Return what is seen of a button's code, of a list to choose from, and of letters drawn as a picture."""
    if leaf.tag in _CODE:
        button = _BUTTON.fullmatch(leaf.text or "")
        return button[1] if button else ""
    if leaf.tag in _CHOICE:
        return _chosen(leaf)
    words = leaf.get("string")
    return f"\n{words}\n" if words else ""


def _chosen(choice: Any) -> str:
    """Return the entry that a form's list shows: the chosen one, else the first."""
    entries = {str(index): _value(entry) for index, entry in enumerate(choice.iterchildren(*_CHOICE_ENTRY))}
    settings = {child.tag.rpartition("}")[2]: _value(child) for child in elements(choice)}
    return entries.get(settings.get("result") or settings.get("default") or "0", "")


def _value(element: Any) -> str:
    return next((value for name, value in element.attrib.items() if name.endswith("}val")), "")


def _symbol(leaf: Any) -> str:
    """Return the character of a symbol; those of symbol fonts in the private area mean nothing elsewhere."""
    code = next((value for name, value in leaf.attrib.items() if name.endswith("}char")), "")
    try:
        point = int(code, 16)
        return "" if point in _PRIVATE_USE else chr(point)
    except ValueError:
        return ""


def _let_go(block: Any) -> None:
    """Free a block that has been read, and what came before it in its parent."""
    block.clear()
    parent = block.getparent()
    while block.getprevious() is not None:
        del parent[0]
