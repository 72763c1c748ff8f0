"""The extraction child's answer, line by line: an Extraction, or how the child failed or died. Imports no Django."""

import io
import json
import math
import signal
from contextlib import suppress
from typing import Any

from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.ocr import Reading, mean_confidence

# Begins the line that makes the text whole; JSON escapes line feeds, so nothing else looks like it.
DONE = b'{"done":'
_FEWEST_CHARACTERS = 5
_CODE_CHARACTERS, _MESSAGE_CHARACTERS = 64, 2_000
# What reading meets where keys are missing, values are of another kind, or lists lie in lists without end.
NOT_OURS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
_UNSTORABLE = dict.fromkeys((0, *range(0xD800, 0xE000)))


class ChildDied(ExtractionFailed):
    """The file killed its child (signal, limit or wall clock): worth remembering by its hash."""


def read(answer: bytes, return_code: int, limits: Limits) -> Extraction:
    """Return what the child told. Raises ExtractionFailed, and ChildDied where it died before its text was whole."""
    try:
        return _read(answer, return_code, limits)
    except NOT_OURS as error:
        # Our program does not speak so: the file has taken its child over.
        raise ChildDied("extract_crashed", "The extraction of this file gave an answer that cannot be read") from error


def failure(told: dict[str, Any]) -> ExtractionFailed:
    """Return the error of a child's {code, message}, in what the columns of errors hold."""
    return ExtractionFailed(storable(told["code"])[:_CODE_CHARACTERS], storable(told["message"])[:_MESSAGE_CHARACTERS])


def _read(answer: bytes, return_code: int, limits: Limits) -> Extraction:
    texts: list[str] = []
    # One line at a time: millions of empty ones would take far more memory than the answer.
    lines = iter(io.BytesIO(answer))
    while (line := _parsed(next(lines, b""))) is not None:
        if "error" in line:
            raise failure(line["error"])
        if "done" in line:
            later = _Later("".join(texts), line["done"], limits)
            while (line := _parsed(next(lines, b""))) is not None:
                later.add(line)
            if return_code:
                later.warn(f"{later.reading} were not read: {death(return_code, limits).message}")
            return later.extraction()
        texts.append(line["text"])
    raise death(return_code, limits)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return a line's object; None where the answer ends or was cut off by the child's death."""
    try:
        parsed: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return parsed


class _Later:
    """The text with what the child told after it."""

    def __init__(self, text: str, done: dict[str, Any], limits: Limits) -> None:
        self.reading = "Tables"
        self._text = text
        self._done = done
        self._limits = limits
        self._pages: list[dict[str, Any]] = []
        self._tables: list[Any] = []
        self._warnings: list[str] = list(done.get("warnings", []))

    def add(self, line: dict[str, Any]) -> None:
        """Take in one line that came after `done`."""
        self.reading = line.get("reading", self.reading)
        self._tables += line.get("tables", [])
        if "page" in line:
            self._pages.append(line["page"])
        if "warning" in line:
            self.warn(line["warning"])

    def warn(self, message: str) -> None:
        self._warnings.append(message)

    def extraction(self) -> Extraction:
        text = self._with_pages()
        return Extraction(
            text=storable(text[: self._limits.max_characters]),
            metadata=_storable_json(self._done["metadata"] | self._ocr_metadata()),
            tables=_storable_json(self._done["tables"] + self._tables),
            truncated=bool(self._done["truncated"]) or len(text) > self._limits.max_characters,
            warnings=_storable_json(self._warnings),
        )

    def _with_pages(self) -> str:
        """Return the text with the words of scanned pages where those pages stand."""
        parts, start = [], 0
        for page in self._pages:
            parts += [self._text[start : page["offset"]], page["text"]]
            start = page["offset"]
        return "".join((*parts, self._text[start:]))

    def _ocr_metadata(self) -> dict[str, Any]:
        """Return the keys that scanned pages add; a document of nothing else counts as read by OCR."""
        if not self._pages:
            return {}
        readings = [Reading(page["text"], page["confidence"]) for page in self._pages]
        method = {} if len("".join(self._text.split())) >= _FEWEST_CHARACTERS else {"extraction_method": "ocr"}
        return method | {
            "ocr_pages": [page["number"] for page in self._pages],
            "ocr_confidence": mean_confidence(readings),
            "ocr_language": self._pages[0]["language"],
        }


def death(return_code: int, limits: Limits) -> ChildDied:
    """Return the error that tells of a child's exit status, as Popen gives it, without a whole answer."""
    if return_code == -signal.SIGXCPU:
        return ChildDied("extract_timeout", f"The extraction used more than {limits.cpu_seconds} seconds of CPU")
    cause = _signal_name(-return_code) if return_code < 0 else f"exit code {return_code}"
    return ChildDied("extract_crashed", f"The extraction of this file crashed ({cause})")


def _signal_name(number: int) -> str:
    # Most of the real-time signals have no name.
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def storable(text: Any) -> str:
    """Drop what PostgreSQL's text cannot hold: U+0000 and lone surrogates. Raises TypeError for what is no text."""
    if not isinstance(text, str):
        raise TypeError(type(text))
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_UNSTORABLE)
    return text.replace("\x00", "")


def _storable_json(value: Any) -> Any:
    """Return a value without what PostgreSQL's jsonb cannot hold. Raises ValueError for NaN and infinities."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    if isinstance(value, list):
        return [_storable_json(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable_json(item) for key, item in value.items()}
    return value
