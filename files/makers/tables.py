"""CSV, TSV, XLSX and JSON out of tables. Formulas are never written; what looks like one is neutralised.

A workbook of several sheets becomes one CSV for each sheet that has cells, one workbook, or one JSON object of lists.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from itertools import dropwhile, zip_longest
from typing import Any

from files.extractors.base import ExtractionFailed, Limits
from files.makers import table_sources
from files.makers.base import Made, Work, check_length
from files.makers.cells import Cell, Number, Table, harmless, is_blank, text_of
from files.makers.workbook_writer import write_workbook

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_CHECKED_ROWS = 1_000


def convert(work: Work) -> Iterator[Made]:
    """Make the target's files out of the tables of a file."""
    target = work.options["target"]
    tables = table_sources.read(work)
    if target in _DELIMITERS:
        yield from _as_text(tables, target, work.limits)
    elif target == "xlsx":
        yield Made("xlsx", write_workbook(tables, work.limits))
    else:
        yield Made("json", _as_json(tables, work.limits))


def _as_text(tables: list[Table], target: str, limits: Limits) -> Iterator[Made]:
    is_single = len(tables) == 1
    made = 0
    for table in tables:
        content = _delimited(table.rows, _DELIMITERS[target], limits)
        if content:
            made += 1
            yield Made(target, content, label="" if is_single else table.name)
    if not made:
        raise ExtractionFailed("no_content", "The file has no cells")


def _delimited(rows: Iterable[list[Cell]], delimiter: str, limits: Limits) -> bytes:
    """Return rows as RFC 4180 has them, in UTF-8."""
    written = io.BytesIO()
    text = io.TextIOWrapper(written, encoding="utf-8", errors="replace", newline="")
    writer = csv.writer(text, delimiter=delimiter)
    for number, row in enumerate(rows):
        writer.writerow([harmless(cell) for cell in row])
        if number % _CHECKED_ROWS == 0:
            check_length(written.tell(), limits)
    text.flush()
    return written.getvalue()


# --- JSON ----------------------------------------------------------------------------------------


def _as_json(tables: list[Table], limits: Limits) -> bytes:
    """Return a list of objects, one a line; of several sheets an object of such lists."""
    written = _BoundedText(limits)
    if len(tables) == 1:
        _write_objects(tables[0].rows, written)
    else:
        for number, table in enumerate(tables):
            written.add(f"{',' if number else '{'}\n{_dumped(table.name)}: ")
            _write_objects(table.rows, written)
        written.add("\n}")
    written.add("\n")
    return written.content()


class _BoundedText:
    """UTF-8 that refuses to become too long."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._written = io.BytesIO()

    def add(self, text: str) -> None:
        # Lone surrogates have no UTF-8.
        self._written.write(text.encode(errors="replace"))
        check_length(self._written.tell(), self._limits)

    def content(self) -> bytes:
        return self._written.getvalue()


def _write_objects(rows: Iterable[list[Cell]], written: _BoundedText) -> None:
    filled = dropwhile(is_blank, rows)
    headers = _Headers(next(filled, []))
    separator = "["
    for row in filled:
        pairs = (f"{_dumped(key)}: {_json_value(cell)}" for key, cell in headers.paired(row))
        written.add(f"{separator}\n{{{', '.join(pairs)}}}")
        separator = ","
    written.add("[]" if separator == "[" else "\n]")


class _Headers:
    """The keys of a table's objects: its first row, made unique; columns without a header have their number."""

    def __init__(self, row: list[Cell]) -> None:
        self._keys: dict[str, None] = {}
        for cell in row:
            self._add(text_of(cell))

    def paired(self, row: list[Cell]) -> Iterable[tuple[str, Cell]]:
        """Return every key with its cell of a row, empty where the row is short."""
        while len(self._keys) < len(row):
            self._add("")
        return zip_longest(self._keys, row, fillvalue="")

    def _add(self, header: str) -> None:
        wanted = key = header or f"column_{len(self._keys) + 1}"
        number = 2
        while key in self._keys:
            key = f"{wanted}_{number}"
            number += 1
        self._keys[key] = None


def _json_value(cell: Cell) -> str:
    if isinstance(cell, Number):
        return str(cell)
    if isinstance(cell, (str, bool, int)):
        return _dumped(cell)
    return text_of(cell) if isinstance(cell, float) and math.isfinite(cell) else _dumped(text_of(cell))


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
