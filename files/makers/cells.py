"""Cells on their way from one table format to another.

Nothing is guessed: a text stays a text ("007", "NA", "1e5"), and a number is one only where the source says so
(JSON numbers, numeric cells of workbooks).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from files.extractors.workbook_cells import cell_text

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
# What a spreadsheet reads as a plain number is no formula: signs, digits with separators, an exponent, a per cent.
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+([.,]\d+)*|[.,]\d+)([eE][+-]?\d+)?%?")


class Number(str):
    """A number just as its source writes it, so that no digit is lost."""

    __slots__ = ()


# Texts, numbers, and what else cells of workbooks hold (dates, times, truth values). An empty cell is "".
Cell = Any


@dataclass(frozen=True)
class Table:
    """One table and the name of its sheet, if it has one."""

    name: str
    rows: Iterable[list[Cell]]


def text_of(cell: Cell) -> str:
    """Return a cell as text: numbers as written, dates in ISO 8601."""
    return cell if isinstance(cell, str) else cell_text(cell)


def harmless(cell: Cell) -> str:
    """Return a cell as a text that no spreadsheet takes for a formula (an apostrophe before = + - @ TAB CR).

    Numbers stay as they are, also where they are texts: -12.5.
    """
    text = text_of(cell)
    if text.startswith(_DANGEROUS) and not (isinstance(cell, Number) or _PLAIN_NUMBER.fullmatch(text)):
        return "'" + text
    return text


def is_blank(row: list[Cell]) -> bool:
    return all(cell == "" for cell in row)


def without_blank_end(rows: Iterable[list[Cell]]) -> Iterator[list[Cell]]:
    """Yield rows up to the last that has a value."""
    blank: list[list[Cell]] = []
    for row in rows:
        if is_blank(row):
            blank.append(row)
            continue
        yield from blank
        blank.clear()
        yield row
