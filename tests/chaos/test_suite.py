"""When `make chaos` calls its own proof too thin."""

import random
from collections import Counter

import pytest

from tests.chaos import __main__ as suite
from tests.chaos import faults, scenario
from tests.chaos.oracle import Invariant, Violation
from tests.chaos.runs import Report


def report(*violations: Violation, hits: int = 1, in_transaction: int = 1) -> Report:
    return Report(
        faults=("in_checkpoint",),
        hits=Counter(in_checkpoint=hits),
        in_transaction=in_transaction,
        accepted=5,
        seconds=1.0,
        statuses=Counter(completed=5),
        violations=list(violations),
        slowest_answer_seconds=0.0,
        effects=10,
    )


def test_a_good_suite_passes_and_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    code = suite.summarize([report()] * 300, seconds=900)

    said = capsys.readouterr().out
    assert code == 0
    assert "runs 300 in 900 s; 300 faults hit" in said
    assert "accepted 1500  lost 0  stuck 0  doubled 0" in said


@pytest.mark.parametrize(
    ("reports", "reason"),
    [
        ([*([report()] * 249), *([report(hits=0, in_transaction=0)] * 51)], "only 249 faults hit, 250 are needed"),
        ([report(in_transaction=0)] * 300, "no kill fell inside a transaction"),
        ([report(hits=0)], "never struck, so nothing is proven about: in_checkpoint"),
        ([report(Violation(Invariant.STUCK, "execution 7"))], "stuck 1"),
    ],
)
def test_a_suite_that_proves_too_little_or_finds_something_fails(
    reports: list[Report], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suite.summarize(reports, seconds=1) == 1
    assert reason in capsys.readouterr().out


def test_a_full_plan_holds_every_fault_and_every_plot() -> None:
    planned = list(faults.plan(300, random.Random(1)))
    played = [plot for plots, _ in zip(faults.plots(random.Random(1)), planned, strict=False) for plot in plots]

    assert {fault for evils in planned for fault in evils} >= {*faults.POINTS, *faults.GENTLE, *faults.DATABASE}
    assert {"zombie", "frozen", "crowd"} < {fault for evils in planned for fault in evils}
    assert set(played) == {*scenario.PLOTS.values()} - {scenario.CALLED}
