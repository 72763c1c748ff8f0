"""The demo's table on narrow terminals."""

import io

import pytest

from demo.screen import Screen


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_long_name_is_cut_in_its_middle_before_a_sentence_loses_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    name = "the-quarterly-report-of-the-whole-company-for-october-2026.csv"
    reason = "running: waits for a free worker of the lane files"

    Screen(out).table(["document", "state", "read"], [[name, reason, "12 ms"]])

    _, line = out.getvalue().splitlines()
    assert line == f"the-quart..-2026.csv  {reason}  12 ms"


def test_names_that_fit_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()

    Screen(out).table(["document", "state"], [["orders-october.csv", "completed"]])

    assert out.getvalue().splitlines()[1] == "orders-october.csv  completed"


def test_a_long_name_leaves_the_bar_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()

    Screen(out).bar("x" * 100 + ".pdf", 1024, 2048)

    assert len(out.getvalue()) < 80
    assert "xxx.pdf " in out.getvalue()
