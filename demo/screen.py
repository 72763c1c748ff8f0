"""What the demo shows: a bar, and a table that is drawn again in place; plain lines where nobody sees a terminal."""

import os
import shutil
import sys
from typing import TextIO

BAR_WIDTH = 24
NOT_YET, AT_WORK = "-", "..."
# So that the columns of states and durations stay where they are.
NARROWEST_STATE, NARROWEST_STEP = 10, 5
# What a file's name keeps when the terminal is narrow; the other columns are of more use than its middle.
NAME_WIDTH, SHORTEST_NAME = 26, 12
GAP = "  "
UP_AND_CLEAR = "\x1b[{lines}A\x1b[J"


class Screen:
    """Writes to a terminal or to a pipe. In a pipe nothing is ever drawn again: each change is a line."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self.is_terminal = self._out.isatty()
        self._fancy = (self._out.encoding or "").lower().replace("-", "") == "utf8"
        self._drawn = 0
        self._told: set[str] = set()

    def say(self, text: str = "") -> None:
        """Write a line that stays."""
        self._drawn = 0
        self._write(f"{text}\n")

    def bar(self, name: str, done: int, total: int) -> None:
        """Draw how much of something is done, in bytes; its last state stays."""
        if self.is_terminal:
            shown = f"{_shortened(name, NAME_WIDTH):<26} {self._blocks(done, total)}"
            self._write(f"\r  {shown} {_kilobytes(done)} of {_kilobytes(total)}")
        if done < total:
            return
        self._write("\n" if self.is_terminal else f"  {name:<26} {_kilobytes(total)} sent\n")

    def table(self, head: list[str], rows: list[list[str]]) -> None:
        """Draw a table in place of the one before; in a pipe, tell each cell once it is filled."""
        if not self.is_terminal:
            self._tell(head, rows)
            return
        narrowest = [0, NARROWEST_STATE, *[NARROWEST_STEP] * (len(head) - 2)]
        widths = [max(low, *(len(line[n]) for line in (head, *rows))) for n, low in enumerate(narrowest)]
        room = shutil.get_terminal_size().columns - 1
        widths[0] = min(widths[0], max(SHORTEST_NAME, room - sum(widths[1:]) - len(GAP) * (len(widths) - 1)))
        shown = [[_shortened(line[0], widths[0]), *line[1:]] for line in (head, *rows)]
        lines = [
            GAP.join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip()[:room]
            for line in shown
        ]
        clear = UP_AND_CLEAR.format(lines=self._drawn) if self._drawn else ""
        self._write(clear + "\n".join(lines) + "\n")
        self._drawn = len(lines)

    def _tell(self, head: list[str], rows: list[list[str]]) -> None:
        for row in rows:
            for title, cell in zip(head[1:], row[1:], strict=True):
                line = f"  {row[0]:<26} {title:<8} {cell}"
                if cell not in {NOT_YET, AT_WORK} and line not in self._told:
                    self._told.add(line)
                    self._write(line + "\n")

    def _blocks(self, done: int, total: int) -> str:
        full = BAR_WIDTH * done // max(total, 1)
        block, space = ("█", "░") if self._fancy else ("#", ".")
        return block * full + space * (BAR_WIDTH - full)

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            # Whoever read has gone; the demo ends as it would have.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())


def _kilobytes(count: int) -> str:
    return f"{count / 1024:.1f} KB"


def _shortened(name: str, width: int) -> str:
    """Cut the middle out of a long name: its begin and its extension tell files apart."""
    if len(name) <= width:
        return name
    end = (width - 2) // 2
    return f"{name[: width - 2 - end]}..{name[-end:]}"
