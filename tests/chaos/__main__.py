"""`python -m tests.chaos --runs 300 --seed N`: kill everything, then look whether anything was lost."""

# ruff: noqa: T201  (a program for people)

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.chaos import faults, runs, stack
from tests.chaos.effects import EffectServer
from tests.chaos.oracle import Invariant
from tests.chaos.runs import Report

DEFAULT_RUNS = 300
# Of a full number of runs; a shorter one needs its share.
FEWEST_HITS = 250


def main(arguments: list[str]) -> int:
    """Run the suite; 0 if every invariant held and every kind of fault has struck."""
    options = _parser().parse_args(arguments)
    print(f"chaos: {options.runs} runs, seed {options.seed}", flush=True)
    began_at = time.monotonic()
    reports = suite(options.runs, options.seed, keep_logs=options.keep_logs)
    return summarize(reports, seconds=time.monotonic() - began_at)


def suite(count: int, seed: int, *, keep_logs: Path | None = None) -> list[Report]:
    """Run `count` runs on one stack and return their reports."""
    reports: list[Report] = []
    dice = random.Random(seed)
    with EffectServer() as effects, stack.running(effects.address, is_quick=True, own_database=True) as product:
        try:
            planned = zip(faults.plan(count, dice), faults.plots(dice), strict=False)
            for number, (evils, plots) in enumerate(planned, start=1):
                report = runs.run(product, effects, seed=f"{seed}-{number}", faults=evils, plots=plots)
                reports.append(report)
                print(line(number, report), flush=True)
                for violation in report.violations:
                    print(f"     {violation}", flush=True)
        finally:
            if keep_logs:
                product.keep_logs(keep_logs)
    return reports


def line(number: int, report: Report) -> str:
    """Say in one line what became of a run."""
    struck = ", ".join(f"{name} x{count}" for name, count in report.hits.items()) or f"not hit: {report.faults}"
    ends = ", ".join(f"{count} {status}" for status, count in sorted(report.statuses.items()))
    return f"{number:3}  {report.seconds:5.1f} s  {ends:28}  {struck}"


def summarize(reports: list[Report], *, seconds: float) -> int:
    """Print the totals; returns the exit code."""
    hits: Counter[str] = sum((report.hits for report in reports), Counter())
    broken = Counter(violation.invariant for report in reports for violation in report.violations)
    statuses: Counter[str] = sum((report.statuses for report in reports), Counter())
    in_transaction = sum(report.in_transaction for report in reports)
    trees = sum(count for name, count in hits.items() if name.startswith("tree"))
    slowest = max((r.slowest_answer_seconds for r in reports if "broker stopped" in r.faults), default=0.0)
    print(f"\nruns {len(reports)} in {seconds:.0f} s; {hits.total()} faults hit:")
    for name, count in sorted(hits.items()):
        print(f"  {name:24} {count}")
    print(f"kills of the whole worker tree {trees}; kills inside a transaction {in_transaction}")
    print(f"slowest trigger while the broker was down {slowest * 1000:.0f} ms")
    print(f"effects felt {sum(report.effects for report in reports)}")
    print("ended " + ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())))
    print(
        f"accepted {sum(report.accepted for report in reports)}"
        f"  lost {broken[Invariant.LOST]}  stuck {broken[Invariant.STUCK]}  doubled {broken[Invariant.DOUBLED]}"
    )
    others = {str(name): count for name, count in broken.items()}
    print(f"broken invariants: {others or 'none'}")
    missed = {fault for report in reports for fault in report.faults} - {"crowd"} - set(hits)
    if missed:
        print(f"never struck, so nothing is proven about: {', '.join(sorted(missed))}")
    problems = [*_too_few(len(reports), hits.total(), in_transaction), *broken, *missed]
    return 1 if problems else 0


def _too_few(count: int, hits: int, in_transaction: int) -> list[str]:
    """Return what a suite of `count` runs did not do enough of to prove anything."""
    found = []
    if hits < (needed := FEWEST_HITS * count // DEFAULT_RUNS):
        found.append(f"only {hits} faults hit, {needed} are needed")
    if not in_transaction and count >= len(faults.CYCLE):
        found.append("no kill fell inside a transaction")
    for sentence in found:
        print(sentence)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--keep-logs", type=Path, help="a folder for the processes' logs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
