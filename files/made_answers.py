"""The answer of a child that makes files (`files.making_child`), read from where it was copied to. No Django."""

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from files import answers
from files.extractors.base import Limits

_LONGEST_LINE_BYTES = 64 * 1024
_EXTENSION = re.compile(r"[a-z0-9]{1,16}")
LINES_BYTES = 1024**2


@dataclass(frozen=True)
class MadePart:
    """One file of an answer: what the child says of it, and where its bytes lie."""

    extension: str
    label: str
    facts: dict[str, int]
    start: int
    size_bytes: int


def read(answer: IO[bytes], return_code: int, limits: Limits) -> list[MadePart]:
    """Return the files of an answer. Raises ExtractionFailed, and ChildDied where the answer has no end.

    The child read a stranger's file, so nothing that it says is trusted: lengths must fit the answer.
    """
    with suppress(*answers.NOT_OURS):
        return _read(answer, limits)
    raise answers.death(return_code, limits)


def _read(answer: IO[bytes], limits: Limits) -> list[MadePart]:
    length = answer.seek(0, os.SEEK_END)
    answer.seek(0)
    parts: list[MadePart] = []
    for line in _lines(answer):
        if "error" in line:
            raise answers.failure(line["error"])
        if "done" in line and parts:
            return parts
        part = _part(line, answer.tell())
        if part is None or part.start + part.size_bytes > length or len(parts) >= limits.max_made_files:
            break
        answer.seek(part.size_bytes, os.SEEK_CUR)
        parts.append(part)
    raise ValueError("the answer has no end")


def _lines(answer: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON of the lines, as far as there are any where lines should be."""
    while line := answer.readline(_LONGEST_LINE_BYTES):
        parsed = json.loads(line)
        if not isinstance(parsed, dict):
            return
        yield parsed


def _part(line: dict[str, Any], start: int) -> MadePart | None:
    made = line.get("made")
    if not isinstance(made, dict) or not isinstance(made.get("size"), int) or made["size"] < 0:
        return None
    # It becomes a part of the name in the storage, where `x/../y` would be somebody else's bytes.
    if not _EXTENSION.fullmatch(made["extension"]):
        return None
    facts = {answers.storable(name): value for name, value in made["facts"].items() if isinstance(value, int)}
    return MadePart(made["extension"], answers.storable(made["label"]), facts, start, made["size"])


class PartStream(io.RawIOBase):
    """The bytes of one part as a file of its own that can be read and sought."""

    def __init__(self, answer: IO[bytes], part: MadePart) -> None:
        super().__init__()
        self._answer = answer
        self._part = part
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._part.size_bytes}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        left = max(self._part.size_bytes - self._position, 0)
        self._answer.seek(self._part.start + self._position)
        chunk = self._answer.read(min(len(buffer), left))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
