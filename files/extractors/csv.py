"""Comma-separated values: every cell stays text, so leading zeros, long ids and "NA" survive.

The text of the result is the file's own text; the dialect, headers and counts go to the metadata and the
first rows to a table. `csv_row_count` leaves out the header row and `csv_total_rows` counts it.
"""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

from files.extractors.base import (
    TABLE_CHARACTERS,
    TABLE_ROWS,
    Extraction,
    ExtractionFailed,
    Limits,
    TextSink,
)
from files.extractors.decoding import decode

STANDARD_DIALECT: dict[str, Any] = {
    "delimiter": ",",
    "quotechar": '"',
    "quoting": csv.QUOTE_MINIMAL,
    "escapechar": None,
}
# clevercsv's search grows with the sample; a dialect shows in the first lines.
_SAMPLE_CHARACTERS = 16 * 1024
# Parts of numbers, dates and addresses, which clevercsv takes for delimiters where there is one short column.
_NO_DELIMITERS = frozenset("+-=.@_%/")


def extract(content: bytes, limits: Limits, *, delimiter: str = "") -> Extraction:
    """Return the text; metadata: encoding, line_count, csv_delimiter, csv_headers and the counts.

    The dialect is found out unless its `delimiter` is known.
    """
    text, encoding = _decoded(content)
    dialect = STANDARD_DIALECT | {"delimiter": delimiter} if delimiter else _dialect(text)
    headers, rows, total_rows = _read(text, dialect, limits)
    sink = TextSink(limits.max_characters)
    sink.add(text)
    metadata = {
        "extraction_method": "text",
        "encoding": encoding,
        "line_count": text.count("\n") + 1,
        "csv_delimiter": dialect["delimiter"],
        "csv_headers": headers,
        "csv_column_count": len(headers),
        "csv_row_count": max(total_rows - 1, 0),
        "csv_total_rows": total_rows,
    }
    return Extraction(
        text=sink.text(), metadata=metadata, tables=[{"name": "csv", "rows": rows}], truncated=sink.truncated
    )


def _decoded(content: bytes) -> tuple[str, str]:
    """Decode without U+0000, which neither the detector nor the csv module bears and nobody can store."""
    text, encoding = decode(content)
    return text.replace("\0", ""), encoding


def _dialect(text: str) -> dict[str, Any]:
    """Return the csv module's arguments for the file's dialect; commas where none can be told."""
    from clevercsv import Detector
    from clevercsv.exceptions import NoDetectionResult

    sample = text[:_SAMPLE_CHARACTERS]
    if len(text) > len(sample):
        sample = sample[: sample.rfind("\n") + 1] or sample
    try:
        found = Detector().detect(sample)
    except NoDetectionResult:
        found = None
    if found and found.delimiter in _NO_DELIMITERS:
        found = None
    return {
        "delimiter": (found and found.delimiter) or ",",
        "quotechar": (found and found.quotechar) or '"',
        # Without a quote character in the sample the standard one still binds further down, unless
        # a backslash already does its work.
        "quoting": csv.QUOTE_NONE if found and found.escapechar and not found.quotechar else csv.QUOTE_MINIMAL,
        "escapechar": (found and found.escapechar) or None,
    }


def _read(text: str, dialect: dict[str, Any], limits: Limits) -> tuple[list[str], list[list[str]], int]:
    """Return the header row, the first rows (header included) and how many rows there are."""
    csv.field_size_limit(limits.max_csv_field_bytes)
    first, room = [], TABLE_CHARACTERS
    found = _rows(text, dialect, limits)
    total_rows = 0
    for row in islice(found, TABLE_ROWS):
        total_rows += 1
        _check_width(len(row), total_rows, limits)
        room -= sum(map(len, row))
        if total_rows == 1 or room >= 0:
            first.append(row)
    # Of the others only the number counts, and that none is too long. A loop over them would take a tenth of all time.
    while widths := list(map(len, islice(found, TABLE_ROWS))):
        if max(widths) > limits.max_csv_columns or total_rows + len(widths) > limits.max_csv_rows:
            for number, width in enumerate(widths, total_rows + 1):
                _check_width(width, number, limits)
        total_rows += len(widths)
    return (first[0] if first else []), first, total_rows


def read_rows(content: bytes, limits: Limits, *, delimiter: str = "") -> Iterator[list[str]]:
    """Yield all rows that have cells, within the limits. Raises ExtractionFailed: too_large, corrupt, type_mismatch."""
    text, _ = _decoded(content)
    dialect = STANDARD_DIALECT | {"delimiter": delimiter} if delimiter else _dialect(text)
    csv.field_size_limit(limits.max_csv_field_bytes)
    for number, row in enumerate(_rows(text, dialect, limits), 1):
        _check_width(len(row), number, limits)
        yield row


def _check_width(columns: int, number: int, limits: Limits) -> None:
    if number > limits.max_csv_rows:
        raise ExtractionFailed("too_large", f"More than {limits.max_csv_rows} rows")
    if columns > limits.max_csv_columns:
        raise ExtractionFailed("too_large", f"More than {limits.max_csv_columns} columns in row {number}")


def _rows(text: str, dialect: dict[str, Any], limits: Limits) -> Iterator[list[str]]:
    """Yield rows that have cells; blank lines are none."""
    try:
        yield from filter(None, csv.reader(io.StringIO(text, newline=""), **dialect))
    except csv.Error as error:
        if "field larger than" in str(error):
            raise ExtractionFailed("too_large", f"A field is longer than {limits.max_csv_field_bytes} bytes") from error
        raise ExtractionFailed("corrupt", f"Not readable as CSV: {error}") from error
