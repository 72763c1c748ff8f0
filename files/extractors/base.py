"""What every extractor takes and gives. Imports no Django: it runs in the extraction child."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Bounds of one extraction (FILES section 3); a breach says the limit and its value."""

    memory_bytes: int = 1024**3
    cpu_seconds: int = 30
    wall_seconds: float = 60.0
    max_descriptors: int = 64
    max_characters: int = 5_000_000
    max_pdf_pages: int = 2_000
    max_csv_rows: int = 1_000_000
    max_csv_columns: int = 10_000
    max_csv_field_bytes: int = 1024**2

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Extraction:
    """The text of a file and what is known about it.

    `metadata` holds the contract's keys of the format; `tables` is [{name, rows: [[cell text]]}].
    """

    text: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False


class ExtractionFailed(Exception):
    """A file gave no text. `code` is one of FILES section 2: encrypted, corrupt, too_large, ..."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TextSink:
    """Gathers text up to the result limit."""

    def __init__(self, max_characters: int) -> None:
        self._room = max_characters
        self._parts: list[str] = []
        self.truncated = False

    def add(self, text: str) -> bool:
        """Add text as far as there is room; False when there is none left."""
        self._parts.append(text[: self._room])
        self.truncated = self.truncated or len(text) > self._room
        self._room -= min(len(text), self._room)
        return not self.truncated

    def text(self) -> str:
        return "".join(self._parts)
