"""What the operator sees: the launcher's own words and the children's lines, also kept in a file."""

import contextlib
import sys
from pathlib import Path

KEEP_BYTES = 20 * 1024 * 1024
NAME_WIDTH = 12


class Console:
    """Prints lines to standard output and to a log file; goes on quietly when nobody reads any more."""

    def __init__(self, log: Path | None = None, *, quiet: bool = False) -> None:
        self._path = log
        self._quiet = quiet
        self._file = log.open("a", encoding="utf-8") if log else None

    def say(self, text: str) -> None:
        """Print words of the launcher itself."""
        self.keep(text)
        self._print(text)

    def show(self, text: str) -> None:
        """Print something that must not be kept: a password or a key."""
        self._print(text)

    def line(self, name: str, text: str) -> None:
        """Print one line of a child."""
        line = f"{name:<{NAME_WIDTH}} | {text}"
        self.keep(line)
        if not self._quiet:
            self._print(line)

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def keep(self, line: str) -> None:
        """Write a line to the log file only."""
        if self._file is None or self._path is None:
            return
        with contextlib.suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()
            if self._file.tell() > KEEP_BYTES:
                self._file.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file = self._path.open("a", encoding="utf-8")
