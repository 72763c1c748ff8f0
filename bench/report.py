"""What a measurement gives, as a table for people and as JSON for programs."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One line of the report. `ratio` is ours divided by the reference.

    `aim` is in the unit of the ratio where there is a reference, else in the result's own; `more_is_better`
    tells from which side it is reached.
    """

    name: str
    unit: str
    ours: float | None
    reference: float | None = None
    aim: float | None = None
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours divided by the reference."""
        if self.ours is None or not self.reference:
            return None
        return self.ours / self.reference

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None without an aim or a value."""
        value = self.ours if self.reference is None else self.ratio
        if value is None or self.aim is None:
            return None
        return value >= self.aim if self.more_is_better else value <= self.aim


def median(values: Sequence[float]) -> float:
    """Return the median of a measurement's rounds."""
    return float(statistics.median(values))


def table(results: Sequence[Result]) -> str:
    """Return the results as aligned text."""
    rows = [("", "unit", "ours", "reference", "ratio", "aim", "")]
    rows += [_row(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(result: Result) -> tuple[str, ...]:
    verdict = {None: "", True: "reached", False: "MISSED"}[result.reached]
    aim = "" if result.aim is None else f"{'>=' if result.more_is_better else '<='} {result.aim:g}"
    numbers = (_number(value) for value in (result.ours, result.reference, result.ratio))
    return (result.name, result.unit, *numbers, aim, verdict)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write a list of `{name, unit, ours, reference, ratio}`; what has no value is null."""
    keys = ("name", "unit", "ours", "reference")
    rows = [{key: asdict(result)[key] for key in keys} | {"ratio": result.ratio} for result in results]
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
