"""The cells of a workbook of any format by calamine, sheet by sheet.

Rows that are merely styled cost nothing: only rows with values are given. Formulas show their stored values. Errors
such as #REF! are empty to calamine: those who read know where they stand from `sheet_errors`.
"""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from io import BytesIO
from typing import Any

from files.extractors import sheet_errors
from files.extractors.base import Extraction, ExtractionFailed, Limits, TableSink, TextSink, short
from files.extractors.sheet_errors import Errors, SheetErrors

_LARGEST_EXACT_FLOAT = 10**21
_LINES_AT_ONCE = 256
_DIGITS_AND_POINT = 16


def open_workbook(content: bytes) -> Any:
    """Return calamine's workbook. Raises ExtractionFailed: encrypted, corrupt."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        return CalamineWorkbook.from_filelike(BytesIO(content))
    except PasswordError as error:
        raise ExtractionFailed("encrypted", "The Excel workbook needs a password") from error
    except (CalamineError, OSError) as error:
        raise ExtractionFailed("corrupt", f"The workbook cannot be read: {error}"[:300]) from error
    except BaseException as error:
        if not _is_panic(error):
            raise
        raise ExtractionFailed("corrupt", f"The workbook is damaged: {error}"[:300]) from None


def _is_panic(error: BaseException) -> bool:
    """Tell calamine's panics from other ends: their class cannot be imported and is no Exception."""
    return type(error).__name__ == "PanicException"


class WorkbookReading:
    """What has been read so far: `text`, `tables` and `total_rows` (rows that have values)."""

    def __init__(self, limits: Limits) -> None:
        self.text = TextSink(limits.max_characters)
        self.tables = TableSink()
        self.total_rows = 0
        self._limits = limits

    def read(self, content: bytes, errors: Errors) -> list[str]:
        """Add the cells of all sheets, hidden ones too, with `errors`; return the names of the sheets.

        A sheet that cannot be read is left out unless none can.
        """
        from python_calamine import CalamineError

        workbook = open_workbook(content)
        failures = []
        for place, name in enumerate(workbook.sheet_names):
            try:
                self._add_sheet(name, workbook.get_sheet_by_name(name), errors.get(place))
            except (CalamineError, OSError) as error:
                failures.append(f"{name}: {error}")
            except BaseException as error:
                if not _is_panic(error):
                    raise
                failures.append(f"{name}: {error}")
        if failures and len(failures) == len(workbook.sheet_names):
            raise ExtractionFailed("corrupt", f"No sheet can be read; {failures[0]}"[:300])
        return list(workbook.sheet_names)

    def add_texts(self, texts: Iterable[str]) -> None:
        """Add what stands beside the cells, a line each, as far as there is room."""
        for text in texts:
            if (words := text.strip()) and not self.text.add(f"{words}\n"):
                return

    def extraction(self, names: list[str], properties: dict[str, str]) -> Extraction:
        """Return what was read of the sheets of these names, with the contract's metadata and the file's properties."""
        metadata = {
            "extraction_method": "excel",
            "excel_sheets": len(names),
            "excel_sheet_names": names,
            "excel_total_rows": self.total_rows,
        }
        return Extraction(
            text=self.text.text(),
            metadata=metadata | short(properties),
            tables=self.tables.tables,
            truncated=self.text.truncated or self.total_rows > self._limits.max_sheet_rows,
        )

    def _add_sheet(self, name: str, sheet: Any, errors: SheetErrors | None) -> None:
        if sheet.width > self._limits.max_sheet_columns:
            message = f"{sheet.width} columns in {name}; the limit is {self._limits.max_sheet_columns}"
            raise ExtractionFailed("too_large", message)
        self.tables.begin(name)
        self.text.add(name + "\n")
        lines: list[str] = []
        for cells in sheet_errors.rows(sheet, errors):
            # Most cells are texts, numbers or empty: not asking further for them halves the time.
            row = _trimmed(
                [
                    cell if cell.__class__ is str else _number(cell) if cell.__class__ is float else cell_text(cell)
                    for cell in cells
                ]
            )
            if not row:
                continue
            self.total_rows += 1
            if self.total_rows <= self._limits.max_sheet_rows and not self.text.truncated:
                lines.append("\t".join(row))
                self.tables.add(row)
                if len(lines) == _LINES_AT_ONCE:
                    self._add_lines(lines)
        self._add_lines(lines)

    def _add_lines(self, lines: list[str]) -> None:
        """Move lines into the text."""
        if lines:
            self.text.add("\n".join([*lines, ""]))
            lines.clear()


def cell_text(value: Any) -> str:
    """Return a cell as text: whole numbers without a point, dates in ISO 8601 with a space before the time."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ") if value.time() != time() else value.date().isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    return _duration(value) if isinstance(value, timedelta) else str(value)


def _number(value: float) -> str:
    """Return a number with the 15 digits that Excel keeps."""
    if value.is_integer() and abs(value) < _LARGEST_EXACT_FLOAT:
        return str(int(value))
    shortest = repr(value)  # quicker, and the same for numbers of so few digits
    return shortest if len(shortest) <= _DIGITS_AND_POINT and "e" not in shortest else f"{value:.15g}"


def _duration(value: timedelta) -> str:
    seconds = round(value.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _trimmed(row: list[str]) -> list[str]:
    """Return the row up to its last cell that has a value."""
    while row and not row[-1].strip():
        row.pop()
    return row
