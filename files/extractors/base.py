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
    max_zip_parts: int = 2_000
    max_zip_bytes: int = 100 * 1024**2
    max_part_bytes: int = 60 * 1024**2
    max_zip_ratio: int = 200
    max_sheet_rows: int = 200_000
    max_sheet_columns: int = 16_384
    max_grid_cells: int = 5_000_000
    max_grid_ratio: int = 50
    # Ruled pages of a PDF whose tables are read; 0 reads none.
    pdf_table_pages: int = 3
    pdf_table_seconds: int = 10
    # Scanned pages of a PDF, or pictures of one file, whose letters are read; 0 reads none.
    ocr_pages: int = 10
    ocr_language: str = "eng"
    max_page_pixels: int = 25_000_000
    max_image_pixels: int = 50_000_000
    # Of the files that one act makes: how many, and how long in all.
    max_made_files: int = 100
    max_made_bytes: int = 100 * 1024**2

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Extraction:
    """The text of a file and what is known about it.

    `metadata` holds the contract's keys of the format; `tables` is [{name, rows: [[cell text]]}];
    `warnings` are sentences about what could not be read beside the text; `scanned_pages` is
    [(page number, offset in `text` where its words belong)] of pages that only show pictures.
    """

    text: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False
    warnings: list[str] = field(default_factory=list)
    scanned_pages: list[tuple[int, int]] = field(default_factory=list)


class ExtractionFailed(Exception):
    """A file gave no text. `code` is one of FILES section 2: encrypted, corrupt, too_large, ..."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# Titles, authors and names stand in metadata that lists show; a damaged file may give megabytes.
PROPERTY_CHARACTERS = 1_000


def short(properties: dict[str, str]) -> dict[str, str]:
    """Return a file's own words about itself, each cut to what anybody may want to read."""
    return {name: value[:PROPERTY_CHARACTERS] for name, value in properties.items()}


# The first rows of tables are kept beside the text, for people to look at.
TABLE_ROWS = 1_000
TABLE_CHARACTERS = 1_000_000


class TableSink:
    """Gathers tables: at most TABLE_ROWS rows of each, and TABLE_CHARACTERS in all."""

    def __init__(self) -> None:
        self.tables: list[dict[str, Any]] = []
        self._room = TABLE_CHARACTERS

    def begin(self, name: str) -> None:
        self.tables.append({"name": name[:PROPERTY_CHARACTERS], "rows": []})

    def add(self, row: list[str]) -> None:
        """Add a row to the table begun last, if there is room."""
        rows = self.tables[-1]["rows"]
        if len(rows) >= TABLE_ROWS or self._room <= 0:
            return
        self._room -= sum(map(len, row)) + len(row)
        if self._room > 0:
            rows.append(row)


class TextSink:
    """Gathers text up to the result limit."""

    def __init__(self, max_characters: int) -> None:
        self.length = 0
        self._room = max_characters
        self._parts: list[str] = []
        self.truncated = False

    def add(self, text: str) -> bool:
        """Add text as far as there is room; False when there is none left."""
        taken = len(text)
        if taken > self._room:
            taken = self._room
            text = text[:taken]
            self.truncated = True
        self._parts.append(text)
        self._room -= taken
        self.length += taken
        return not self.truncated

    def text(self) -> str:
        return "".join(self._parts)
