"""Tables out of CSV, TSV, JSON and workbooks. Every row of the source is given, or the source is refused."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from files.extractors import csv, ods, sheet_errors, xls, xlsb, xlsx
from files.extractors.base import ExtractionFailed, Limits
from files.extractors.decoding import decode
from files.extractors.ods_texts import OdsTexts
from files.extractors.sheet_errors import Errors, SheetErrors
from files.extractors.workbook_cells import open_workbook
from files.makers.base import Work
from files.makers.cells import Cell, Number, Table, without_blank_end

_VALUE = "value"
_NUMBER = re.compile(r"[0-9]{1,9}")


def read(work: Work) -> list[Table]:
    """Return the tables of a file, in order; their rows are read when they are asked for.

    The option `sheet` (a name, or a number from 1) chooses one. Raises ExtractionFailed, also with `sheet_not_found`.
    """
    if work.extension in {"csv", "tsv"}:
        delimiter = "\t" if work.extension == "tsv" else ""
        tables = [Table("", csv.read_rows(work.content, work.limits, delimiter=delimiter))]
    elif work.extension == "json":
        tables = _of_json(work.content)
    else:
        tables = _of_workbook(work)
    wanted = str(work.options.get("sheet") or "")
    return [_chosen(tables, wanted)] if wanted else tables


def _chosen(tables: list[Table], wanted: str) -> Table:
    by_name = next((table for table in tables if table.name == wanted), None)
    if by_name is not None:
        return by_name
    number = int(wanted) if _NUMBER.fullmatch(wanted) else 0
    if 1 <= number <= len(tables):
        return tables[number - 1]
    names = ", ".join(table.name for table in tables)[:300] or "none has a name"
    raise ExtractionFailed("sheet_not_found", f"There is no sheet {wanted[:100]!r}; the sheets: {names}")


# --- Workbooks -----------------------------------------------------------------------------------


def _of_workbook(work: Work) -> list[Table]:
    errors = _checked(work)
    workbook = open_workbook(work.content)
    return [
        Table(name, _sheet_rows(workbook, name, work.limits, errors.get(place)))
        for place, name in enumerate(workbook.sheet_names)
    ]


def _checked(work: Work) -> Errors:
    """Refuse what would hurt calamine; return the error cells."""
    match work.extension:
        case "xls":
            return xls.checked(work.content, work.limits)[1].errors
        case "xlsb":
            return xlsb.errors(xlsb.checked(work.content, work.limits))
        case "ods":
            return OdsTexts(ods.checked(work.content, work.limits)).errors
        case _:
            return xlsx.errors(*xlsx.checked(work.content, work.limits))


def _sheet_rows(workbook: Any, name: str, limits: Limits, errors: SheetErrors | None) -> Iterator[list[Cell]]:
    from python_calamine import CalamineError

    try:
        sheet = workbook.get_sheet_by_name(name)
    except (CalamineError, OSError) as error:
        raise ExtractionFailed("corrupt", f"The sheet {name} cannot be read: {error}"[:300]) from error
    if sheet.width > limits.max_sheet_columns:
        message = f"{sheet.width} columns in {name}; the limit is {limits.max_sheet_columns}"
        raise ExtractionFailed("too_large", message)
    if sheet.start is None:
        return
    # calamine gives the rows above the first value, but not the columns before it.
    before = [""] * sheet.start[1]
    for number, row in enumerate(without_blank_end(sheet_errors.rows(sheet, errors)), 1):
        if number > limits.max_csv_rows:
            raise ExtractionFailed("too_large", f"More than {limits.max_csv_rows} rows in {name}")
        yield before + row


# --- JSON ----------------------------------------------------------------------------------------


def _of_json(content: bytes) -> list[Table]:
    """Take a list of objects (or of lists) as a table, and an object of such lists as sheets."""
    text, _ = decode(content)
    value = _parsed(text)
    if isinstance(value, dict) and any(value.values()) and all(_is_table(item) for item in value.values()):
        return [Table(name, _json_rows(items)) for name, items in value.items()]
    return [Table("", _json_rows(value if isinstance(value, list) else [value]))]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=str)
    except RecursionError as error:
        raise ExtractionFailed("too_large", "The JSON is nested too deeply to be read") from error
    except ValueError as error:
        raise ExtractionFailed("corrupt", f"Not readable as JSON: {error}"[:300]) from error


def _is_table(value: Any) -> bool:
    # An empty list is a sheet without cells, which is how a workbook's is written.
    return isinstance(value, list) and all(isinstance(item, (dict, list)) for item in value)


def _json_rows(items: list[Any]) -> Iterator[list[Cell]]:
    """Yield the headers, in the order in which keys appear first, and a row for each object."""
    if items and all(isinstance(item, list) for item in items):
        yield from ([_json_cell(value) for value in item] for item in items)
        return
    objects = [item if isinstance(item, dict) else {_VALUE: item} for item in items]
    headers = list(dict.fromkeys(chain.from_iterable(objects)))
    if not headers:
        return
    yield headers
    for item in objects:
        yield [_json_cell(item.get(header)) for header in headers]


def _json_cell(value: Any) -> Cell:
    """Return a value of an object as a cell: null is empty, what has parts is its JSON."""
    if value is None:
        return ""
    return _json_text(value) if isinstance(value, (dict, list)) else value


def _json_text(value: Any) -> str:
    """Write JSON with its numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json_text(str(key))}: {_json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
