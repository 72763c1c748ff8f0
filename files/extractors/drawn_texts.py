"""What stands on the sheets of a workbook beside their cells: notes, shapes, charts and diagrams, by their XML."""

from collections.abc import Iterator
from typing import Any

from files.extractors.base import ExtractionFailed
from files.extractors.ooxml import Package, Relation, elements

_NOTE_KINDS = ("comments", "threadedComment", "drawing")
# What a drawing shows by links.
_SHOWN_KINDS = ("chart", "chartEx", "diagramData")
# Paragraphs of shapes and charts, notes; and values of charts, where captions by reference are kept.
_TEXTS = ("{*}p", "{*}text", "{*}v")
_BREAK, _READING = "br", "rPh"
_CAPTION = ("tx", "strRef", "strCache", "pt")


def of_sheets(package: Package, sheets: list[str]) -> Iterator[str]:
    """Yield the texts beside the cells of these parts, each once; unreadable parts are left out: the cells count."""
    seen: set[str] = set()
    for kind in _NOTE_KINDS:
        for sheet in sheets:
            for link in _links(package, sheet):
                if link.kind == kind and link.target not in seen:
                    seen.add(link.target)
                    yield from _of_part(package, link.target)
                    yield from _of_shown(package, link.target, seen)


def _of_shown(package: Package, drawing: str, seen: set[str]) -> Iterator[str]:
    for link in _links(package, drawing):
        if link.kind in _SHOWN_KINDS and link.target not in seen:
            seen.add(link.target)
            yield from _of_part(package, link.target)


def _links(package: Package, part: str) -> list[Relation]:
    try:
        return [link for link in package.relations(part) if package.has(link.target)]
    except ExtractionFailed:
        return []


def _of_part(package: Package, part: str) -> Iterator[str]:
    if not part.lower().endswith(".xml"):
        return
    try:
        texts = [_text(item) for item in package.events(part, _TEXTS) if _is_words(item)]
    except ExtractionFailed:
        return
    yield from texts


def _text(item: Any) -> str:
    """Return the words of a paragraph or a note, whose runs may part in the middle of a word."""
    return "".join(_pieces(item)) or (item.text or "")


def _pieces(item: Any) -> Iterator[str]:
    for element in elements(item):
        name = _name(element)
        if name == "t":
            yield element.text or ""
        elif name == _BREAK:
            yield "\n"
        elif name != _READING:
            yield from _pieces(element)


def _is_words(item: Any) -> bool:
    """Tell words from the numbers of charts: of a value's elements, only the caption of a series is one."""
    if _name(item) != "v":
        return True
    above = [_name(parent) for parent, _ in zip(item.iterancestors(), range(4), strict=False)]
    return tuple(reversed(above)) == _CAPTION


def _name(element: Any) -> str:
    name: str = element.tag.rpartition("}")[2]
    return name
