"""Word documents of before 2007 (DOC): Word 97 to 2003, and Word 6 and 95.

The order is that of DOCX: the body with its tables, text boxes, headers and footers, footnotes, endnotes, comments.
Field codes are left out, their results stay. Macros are never looked at.
"""

import re

from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.doc_pieces import MAIN, WordText
from files.extractors.marked_text import MarkedText
from files.extractors.ole import Container

_KIND = "Word document"
_NOTES = ("boxes", "headers", "header_boxes", "footnotes", "endnotes", "comments")
_FIELD_MARKS = re.compile("[\x13\x14\x15]")
_FIELD_BEGIN, _FIELD_SEPARATOR, _FIELD_END = "\x13", "\x14", "\x15"
# A phonetic guide is an equation: the reading stands above the base text.
_PHONETIC = re.compile(r"\x13\s*EQ [^\x13\x15]*?\\o\\a\w\(\\s\\up \d+\(([^\x13\x15()]*)\)[,;]([^\x13\x15()]*)\)\s*\x15")

# A field that shows a text to click on, which is part of its code.
_BUTTON = re.compile(r"\x13\s*MACROBUTTON\s+\S+\s([^\x13-\x15]*)(\x14[^\x13-\x15]*)?\x15")


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return text and tables; metadata: word_paragraphs and word_tables of the body, title, author.

    Raises ExtractionFailed: encrypted, type_mismatch, corrupt.
    """
    container = Container(content, kind=_KIND)
    if not container.has(MAIN):
        raise ExtractionFailed("type_mismatch", f"The name says {_KIND}, the content is another OLE file")
    word = WordText(container)
    marked = MarkedText(limits)
    marked.read(_without_field_codes(word.part("text")), is_body=True)
    for part in _NOTES:
        marked.read(_without_field_codes(word.part(part)), is_body=False)
    return marked.extraction(container.properties())


def _without_field_codes(text: str) -> str:
    """Drop what stands between a field's beginning and its separator (or its end, where it has no result)."""
    if _FIELD_BEGIN not in text:
        return text
    text = _BUTTON.sub(r"\1", _PHONETIC.sub(r"\2 (\1)", text))
    parts: list[str] = []
    # For each open field, whether its code is being passed.
    in_code: list[bool] = []
    start = 0
    for mark in _FIELD_MARKS.finditer(text):
        if not any(in_code):
            parts.append(text[start : mark.start()])
        start = mark.end()
        if mark[0] == _FIELD_BEGIN:
            in_code.append(True)
        elif in_code and mark[0] == _FIELD_SEPARATOR:
            in_code[-1] = False
        elif in_code:
            in_code.pop()
    # A code that never ends is none.
    parts.append(text[start:])
    return "".join(parts)
