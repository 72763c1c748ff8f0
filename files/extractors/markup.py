"""The text of HTML as a reader sees it: blocks on lines of their own, cells apart by tabs, scripts and styles left out.

The document is never built: libxml2 calls back as it reads, so depth and size cost nothing. Nothing is fetched or run.
"""

import re
from typing import Any

from lxml import etree

from files.extractors.base import Limits, TableSink, TextSink

_HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object", "head", "select", "canvas"})
_BLOCK_NAMES = (
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol option p pre section summary table tbody tfoot thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset({"td", "th"})
# All other elements only dress the text.
_TELLING = _HIDDEN | _BLOCKS | _CELLS | {"br"}
_BLANKS = re.compile(r"[ \t\r\n\f]+")
_CHUNK_CHARACTERS = 64 * 1024


class HtmlText:
    """Gathers text, tables and title of HTML that is fed to it."""

    def __init__(self, limits: Limits) -> None:
        self.text = TextSink(limits.max_characters)
        self.tables = TableSink()
        self.title = ""
        self._hidden = self._preformatted = 0
        self._in_title = False
        # The line that is being written, and above it the cells that are open.
        self._written: list[list[str]] = [[]]
        self._rows: list[list[str]] = []

    def read(self, text: str) -> None:
        """Read a whole document."""
        if not text.strip():
            return
        parser = etree.HTMLParser(target=self, encoding="utf-8", no_network=True, huge_tree=False)
        for start in range(0, len(text), _CHUNK_CHARACTERS):
            parser.feed(text[start : start + _CHUNK_CHARACTERS].encode("utf-8", errors="replace"))
        parser.close()

    def start(self, tag: str, attributes: Any) -> None:
        """An element begins (called by lxml)."""
        self._in_title = tag == "title" and not self.title
        if tag not in _TELLING:
            return
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _CELLS:
            self._written.append([])
        elif tag == "br":
            self._written[-1].append("\n")
        elif tag in _BLOCKS:
            self._break()
            self._begin(tag)

    def _begin(self, tag: str) -> None:
        if tag == "pre":
            self._preformatted += 1
        elif tag == "table" and not self._rows:
            self.tables.begin(f"Table {len(self.tables.tables) + 1}")
        elif tag == "tr":
            self._rows.append([])

    def end(self, tag: str) -> None:
        """An element ends (called by lxml)."""
        self._in_title = False
        if tag not in _TELLING:
            return
        if tag in _HIDDEN:
            self._hidden -= 1
        elif tag in _CELLS and len(self._written) > 1:
            self._end_cell()
        elif tag == "tr" and self._rows:
            self._end_row()
        elif tag in _BLOCKS:
            self._break()
            self._preformatted -= tag == "pre"

    def _end_cell(self) -> None:
        cell = " ".join("".join(self._written.pop()).split())
        if self._rows:
            self._rows[-1].append(cell)
        else:
            self._written[-1].append(f"{cell} ")

    def _end_row(self) -> None:
        self._break()
        row = self._rows.pop()
        if not self._rows and self.tables.tables:
            self.tables.add(row)
        self._written[-1].append("\t".join(row))
        self._break()

    def data(self, data: str) -> None:
        """Text stands here (called by lxml)."""
        if self._in_title:
            self.title += data
        elif not self._hidden:
            # Most texts need no regular expression, which half of the time would go into.
            plain = "\n" not in data and "  " not in data and "\t" not in data and "\r" not in data and "\f" not in data
            self._written[-1].append(data if plain or self._preformatted else _BLANKS.sub(" ", data))

    def comment(self, text: str) -> None:
        """Comments are not shown (called by lxml)."""

    def close(self) -> None:
        """The document ends (called by lxml)."""
        while len(self._written) > 1:
            self._end_cell()
        while self._rows:
            self._end_row()
        self._break()
        self.title = " ".join(self.title.split())

    def _break(self) -> None:
        """End a line; inside a cell its blocks stand side by side."""
        if len(self._written) > 1:
            self._written[-1].append("\n")
            return
        if not self._written[0]:
            return
        written = "".join(self._written[0])
        self._written[0].clear()
        if "\n" not in written and not self._preformatted:
            if written.strip():
                self.text.add(written.strip(" ") + "\n")
            return
        lines = (line.strip(" ") if not self._preformatted else line for line in written.split("\n"))
        kept = "".join(f"{line}\n" for line in lines if line.strip())
        if kept:
            self.text.add(kept)
