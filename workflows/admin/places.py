"""Where in a JSON text the value of a JSON pointer stands, so that a problem can be shown at its line."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LEXEME = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
# Steps written without `config` hold its keys themselves (contract 13.2); pointers name it all the same.
_FOLDED = "config"

Path = tuple[str, ...]


@dataclass
class _Frame:
    """An object or list that is open: the key or index of its present member."""

    is_object: bool
    key: str | int
    awaits_key: bool


def lines_of(text: str, pointers: Iterable[str]) -> list[int]:
    """Return the line, from 1, of each pointer's value, or of the nearest value around it that exists.

    `text` must be valid JSON. An object's member stands where its key stands.
    """
    wanted = [tuple(pointer.strip("/").split("/")) for pointer in pointers]
    roots = {path[:2] for path in wanted}
    places = {path: offset for path, offset in _members(text) if path[:2] in roots or len(path) == 1}
    offsets = [places.get(_nearest(path, places), 0) for path in wanted]
    return [text.count("\n", 0, offset) + 1 for offset in offsets]


def _nearest(wanted: Path, places: dict[Path, int]) -> Path:
    found: Path = ()
    for part in wanted:
        if (*found, part) in places:
            found = (*found, part)
        elif part != _FOLDED:
            break
    return found


def _members(text: str) -> Iterator[tuple[Path, int]]:
    """Yield path and offset of every member of every object and list, in the text's order."""
    stack: list[_Frame] = []
    for match in _LEXEME.finditer(text):
        lexeme = match[0]
        top = stack[-1] if stack else None
        if top is not None and top.awaits_key and lexeme.startswith('"'):
            top.key, top.awaits_key = json.loads(lexeme), False
            yield tuple(str(frame.key) for frame in stack), match.start()
        elif lexeme in "}]":
            stack.pop()
        elif lexeme == "," and top is not None:
            _step_on(top)
        elif lexeme not in ":,":
            if top is not None and not top.is_object:
                yield tuple(str(frame.key) for frame in stack), match.start()
            if lexeme in "{[":
                stack.append(_Frame(is_object=lexeme == "{", key=0, awaits_key=lexeme == "{"))


def _step_on(frame: _Frame) -> None:
    if frame.is_object:
        frame.awaits_key = True
    elif isinstance(frame.key, int):
        frame.key += 1
