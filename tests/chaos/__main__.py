"""`python -m tests.chaos --runs 60 --seed N`: kill everything, then look whether anything was lost."""

# ruff: noqa: T201  (a program for people)

import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

from config.launcher import commands
from tests.chaos import faults, runs, stack
from tests.chaos.effects import EffectServer
from tests.chaos.oracle import Invariant
from tests.chaos.runs import Report

DEFAULT_RUNS = 60


def main(arguments: list[str]) -> int:
    """Run the suite; 0 if every invariant held and every kind of fault has struck."""
    options = _parser().parse_args(arguments)
    if "DATABASE_URL" not in os.environ:
        return commands.with_servers([sys.executable, "-m", "tests.chaos", *arguments], fast=False)
    print(f"chaos: {options.runs} runs of {runs.STARTED + runs.UPLOADED} executions, seed {options.seed}", flush=True)
    began_at = time.monotonic()
    reports = suite(options.runs, options.seed, keep_logs=options.keep_logs)
    return summarize(reports, seconds=time.monotonic() - began_at)


def suite(count: int, seed: int, *, keep_logs: Path | None = None) -> list[Report]:
    """Run `count` runs on one stack and return their reports."""
    reports: list[Report] = []
    dice = random.Random(seed)
    with EffectServer() as effects, stack.running(effects.address) as product:
        try:
            for number, planned in enumerate(faults.plan(count, dice), start=1):
                report = runs.run(product, effects, seed=f"{seed}-{number}", faults=planned)
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
    in_transaction = sum(hits[point] for point in faults.IN_TRANSACTION)
    trees = sum(count for name, count in hits.items() if name.startswith("tree"))
    slowest = max((r.slowest_answer_seconds for r in reports if "broker stopped" in r.faults), default=0.0)
    print(f"\nruns {len(reports)} in {seconds:.0f} s; faults hit:")
    for name, count in sorted(hits.items()):
        print(f"  {name:24} {count}")
    print(f"kills of the whole worker tree {trees}; kills inside a transaction {in_transaction}")
    print(f"slowest trigger while the broker was down {slowest * 1000:.0f} ms")
    print("ended " + ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())))
    print(
        f"accepted {sum(report.accepted for report in reports)}"
        f"  lost {broken[Invariant.LOST]}  stuck {broken[Invariant.STUCK]}  doubled {broken[Invariant.DOUBLED]}"
    )
    others = {str(name): count for name, count in broken.items()}
    print(f"broken invariants: {others or 'none'}")
    missed = {fault for report in reports for fault in report.faults} - set(hits)
    if missed:
        print(f"never struck, so nothing is proven about: {', '.join(sorted(missed))}")
    return 1 if broken or missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--keep-logs", type=Path, help="a folder for the processes' logs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
