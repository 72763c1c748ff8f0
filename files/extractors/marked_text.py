"""A word processor's text with marks in it, as Word itself keeps it: paragraphs end in a carriage return, cells in
U+0007 and table rows in ROW_END; split into lines and tables.
"""

import re

from files.extractors.base import Extraction, Limits, TableSink, TextSink, short

# What stands in place of the mark at a table row's end, which looks like a cell's.
ROW_END = "\x06"
_LINE_BREAK, _PAGE_BREAK, _COLUMN_BREAK = "\x0b", "\x0c", "\x0e"
# Pictures, note references, separators of notes, optional hyphens: nothing to read.
_GLYPHS: dict[int, str | None] = dict.fromkeys((*range(6), 8, 0x1F), None) | {
    ord(_LINE_BREAK): "\n",
    ord(_PAGE_BREAK): "\r",
    ord(_COLUMN_BREAK): "\r",
    0x1E: "-",
}
_SYMBOLS = re.compile("[\uf000-\uf0ff]")


class MarkedText:
    """What has been read so far."""

    def __init__(self, limits: Limits) -> None:
        self.text = TextSink(limits.max_characters)
        self.table_rows = TableSink()
        self.paragraphs = 0
        self.tables = 0

    def extraction(self, properties: dict[str, str]) -> Extraction:
        """Return what was read, with the contract's metadata and the file's properties."""
        metadata = {
            "extraction_method": "word",
            "word_paragraphs": self.paragraphs,
            "word_tables": self.tables,
        }
        return Extraction(
            text=self.text.text(),
            metadata=metadata | short(properties),
            tables=self.table_rows.tables,
            truncated=self.text.truncated,
        )

    def read(self, text: str, *, is_body: bool) -> None:
        """Add the paragraphs and table rows of one part."""
        in_table = False
        *rows, rest = text.split(ROW_END)
        for line in (*(f"{row}{ROW_END}" for row in rows), rest):
            before, row = _split_row(line)
            for paragraph in before:
                in_table = False
                self.paragraphs += is_body
                if paragraph.strip():
                    self.text.add(paragraph + "\n")
            if row is None:
                continue
            if not in_table:
                self.table_rows.begin(f"Table {len(self.table_rows.tables) + 1}")
                self.tables += is_body
            in_table = True
            self.table_rows.add(row)
            self.text.add("\t".join(row) + "\n")


def _split_row(line: str) -> tuple[list[str], list[str] | None]:
    """Return the paragraphs before a table's row, and the row's cells if there is one."""
    if not line.endswith(ROW_END):
        return _paragraphs(line.replace("\x07", "\r")), None
    first, *cells = line.removesuffix(ROW_END).removesuffix("\x07").split("\x07")
    # Paragraphs before the table stand in front of its first cell, without a mark between them.
    *before, first_cell = first.split("\r")
    return [_shown(paragraph) for paragraph in before], [
        _shown(cell).replace("\r", "\n").strip("\n") for cell in (first_cell, *cells)
    ]


def _paragraphs(text: str) -> list[str]:
    paragraphs = _shown(text).split("\r")
    return paragraphs[:-1] if not paragraphs[-1] else paragraphs


def _shown(text: str) -> str:
    return _SYMBOLS.sub("", text.translate(_GLYPHS))
