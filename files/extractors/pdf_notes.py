"""What lies on top of a PDF page: the values of form fields, comments, typed-on text, the words of stamps and buttons.

The looks of annotations are drawn into the open page, which then gives their words with its own. What has no looks
(sticky notes, values that no reader has drawn yet) or is drawn otherwise than it reads is told in lines of its own.
"""

import ctypes
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

# A page of a form has hundreds; a hostile file has as many as fit into it.
_MOST = 10_000
_MOST_OPTIONS = 1_000
# Of one page; ten thousand annotations may say the same megabyte.
_MOST_CHARACTERS = 5_000_000
# Other annotations' words are a comment of their own, or the page's.
_WORDLESS = frozenset({raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP})
_CHOICES = frozenset({raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX})
_WORD = re.compile(r"\w+")
# What fills in a number of UTF-16 code units and returns how many bytes there are.
_Filler = Callable[[Any, int], int]


def draw_in(page: Any) -> list[str] | None:
    """Draw the looks of a page's annotations into it, seen once it is loaded again, and return their words.

    None, and no change, where there are no annotations but links.
    """
    words: list[str] = []
    kinds: set[int] = set()
    count = raw.FPDFPage_GetAnnotCount(page)
    room = _MOST_CHARACTERS
    for index in range(min(count, _MOST)):
        kinds.update(_add_words(page, index, words))
        room -= len(words[-1]) if words else 0
        if room < 0:
            break
    if not kinds - _WORDLESS:
        return None
    if count <= _MOST:
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
    return words


def without(words: list[str], text: str) -> list[str]:
    """Return those words, each once, that the text does not hold already, whatever lies between them."""
    held = _in_a_row(text)
    wanted = {found: item.strip() for item in words if (found := _in_a_row(item)).strip()}
    return [item for found, item in wanted.items() if found not in held]


def attachments(document: Any) -> list[str]:
    """Return the names of the files that a document carries."""
    names = []
    for index in range(min(raw.FPDFDoc_GetAttachmentCount(document), _MOST)):
        attachment = raw.FPDFDoc_GetAttachment(document, index)
        names.append(_text(partial(raw.FPDFAttachment_GetName, attachment)))
    return [name for name in names if name]


def _in_a_row(text: str) -> str:
    return f" {' '.join(_WORD.findall(unicodedata.normalize('NFKC', text).casefold()))} "


def _add_words(page: Any, index: int, words: list[str]) -> Iterator[int]:
    """Add what an annotation says and yield its kind; nothing where it is damaged."""
    annotation = raw.FPDFPage_GetAnnot(page, index)
    if not annotation:
        return
    try:
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        if kind == raw.FPDF_ANNOT_WIDGET and page.formenv:
            words += _values(page.formenv, annotation)
        elif kind not in _WORDLESS:
            words.append(_text(partial(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")))
        yield kind
    finally:
        raw.FPDFPage_CloseAnnot(annotation)


def _values(form: pdfium.PdfFormEnv, annotation: Any) -> list[str]:
    """Return what a field holds: its text, or the labels of what is chosen. Boxes hold no words."""
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    chosen = _chosen(form, annotation) if kind in _CHOICES else []
    if chosen or kind not in _CHOICES | {raw.FPDF_FORMFIELD_TEXTFIELD}:
        return chosen
    return [_text(partial(raw.FPDFAnnot_GetFormFieldValue, form, annotation))]


def _chosen(form: pdfium.PdfFormEnv, annotation: Any) -> list[str]:
    count = min(raw.FPDFAnnot_GetOptionCount(form, annotation), _MOST_OPTIONS)
    return [
        _text(partial(raw.FPDFAnnot_GetOptionLabel, form, annotation, index))
        for index in range(count)
        if raw.FPDFAnnot_IsOptionSelected(form, annotation, index)
    ]


def _text(fill: _Filler) -> str:
    """Return the text that PDFium fills a buffer with."""
    size = fill(None, 0)
    buffer = ctypes.create_string_buffer(size)
    fill(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return "\n".join(buffer.raw.decode("utf-16-le", "ignore").rstrip("\0").splitlines())
