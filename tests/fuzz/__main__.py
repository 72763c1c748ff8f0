"""`python -m tests.fuzz --mutants 2000 --seed N`: damaged documents through extraction and through the product."""

# ruff: noqa: T201  (a program for people)

import argparse
import logging
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from files.extractors.base import Extraction
from tests.fuzz import judge, mutants, product, resources, seeds, stored
from tests.fuzz.judge import Verdict
from tests.fuzz.mutants import Mutant

AT_ONCE = 2
# Kept in hand at a time, so that memory says something about the product and not about us.
_BATCH = 20
_STORED_EVERY = 5
# Everything is imported and warm by then; what is held more at the end has leaked, up to what a few answers of
# megabytes leave in pieces.
_WARM_UP = 200
_MOST_GROWTH_MIB = 64


@dataclass
class Summary:
    """What is told at the end."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    unforeseen: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[Mutant | None, str]] = field(default_factory=list)
    stored: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one mutant."""
        mutant = verdict.mutant
        self.outcomes.setdefault(mutant.extension, Counter())[verdict.outcome] += 1
        self.slowest = sorted([*self.slowest, (verdict.seconds, f"{verdict.outcome:16} {mutant.recipe}")])[-5:]
        if verdict.unforeseen:
            self.unforeseen[f"{mutant.extension}: {re.sub('[0-9]+', 'N', verdict.unforeseen)[:100]}"] += 1
        if verdict.outcome in {"extract_crashed", "extract_timeout"}:
            self.crashes[f"{mutant.extension}: {verdict.message}"] += 1
        self.violations += [(mutant, sentence) for sentence in verdict.violations]


def main(arguments: list[str]) -> int:
    """Run both parts; 0 if nothing was violated."""
    options = _parser().parse_args(arguments)
    found = seeds.by_extension()
    corpus = "with" if seeds.CORPUS.is_dir() else "without"
    print(f"fuzz: {options.mutants} mutants, seed {options.seed}, {corpus} the corpus", flush=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    resources.adopt_orphans()
    resources.use_one_heap()
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        scratch = Path(name)
        tempfile.tempdir = name
        with stored.database():
            numbers = range(options.first, options.first + options.mutants)
            summary = extracted(mutants.drawn(found, seed=options.seed, numbers=numbers), scratch, keep=options.keep)
        numbers = range(10**6, 10**6 + options.uploads)
        uploaded = list(mutants.drawn(found, seed=options.seed, numbers=numbers))
        report = product.run(uploaded, scratch) if uploaded else product.Report()
    summary.violations += report.violations
    _print(summary, report, seconds=time.monotonic() - began_at)
    _keep(options.keep, summary.violations)
    return 1 if summary.violations else 0


def extracted(drawn: Iterator[Mutant], scratch: Path, *, keep: Path | None = None) -> Summary:
    """Extract all mutants, two at a time, and look what is left behind."""
    summary = Summary()
    warm: tuple[resources.Held, float] | None = None
    done = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while batch := list(islice(drawn, _BATCH)):
            for verdict, extraction in pool.map(judge.judged, batch):
                summary.add(verdict)
                _store(summary, verdict.mutant, extraction)
                if keep and (verdict.unforeseen or verdict.outcome == "extract_crashed"):
                    _keep(keep, [(verdict.mutant, verdict.message)])
            if fault := judge.good_file_fault():
                summary.violations.append((batch[-1], fault))
            done += len(batch)
            if warm is None and done >= _WARM_UP:
                warm = resources.held(scratch), resources.resident_mib()
            if done % 200 < _BATCH:
                found = f"{len(summary.violations)} violations, {resources.resident_mib():.0f} MiB"
                print(f"... {done} mutants, {found}", flush=True)
    summary.violations += [(None, sentence) for sentence in _leaks(warm, scratch)]
    return summary


def _store(summary: Summary, mutant: Mutant, extraction: Extraction | None) -> None:
    if extraction is None or (mutant.number % _STORED_EVERY and len(extraction.text) < 1_000_000):
        return
    summary.stored += 1
    if fault := stored.fault(mutant, extraction):
        summary.violations.append((mutant, fault))


def _leaks(warm: tuple[resources.Held, float] | None, scratch: Path) -> Iterator[str]:
    if warm is None:
        return
    before, resident_mib = warm
    after = resources.held(scratch)
    if after.descriptors > before.descriptors:
        yield f"{after.descriptors - before.descriptors} descriptors are left open"
    if len(after.descendants) > len(before.descendants):
        yield f"{len(after.descendants) - len(before.descendants)} processes are left behind"
    if after.temporary_files > before.temporary_files:
        yield f"{after.temporary_files - before.temporary_files} temporary files are left behind"
    if (grown := resources.resident_mib() - resident_mib) > _MOST_GROWTH_MIB:
        yield f"the parent grew by {grown:.0f} MiB; {_MOST_GROWTH_MIB} are allowed"


def _print(summary: Summary, report: product.Report, *, seconds: float) -> None:
    codes = sorted({code for outcomes in summary.outcomes.values() for code in outcomes})
    rows = [("", "mutants", *codes)]
    rows += [_row(name, outcomes, codes) for name, outcomes in sorted(summary.outcomes.items())]
    rows.append(_row("all", sum(summary.outcomes.values(), Counter()), codes))
    for row in rows:
        print("  ".join(cell.rjust(max(len(line[at]) for line in rows)) for at, cell in enumerate(row)))
    for name, counted in (
        ("crashes and timeouts", summary.crashes),
        ("errors only the child caught", summary.unforeseen),
    ):
        print(f"{name}: {counted.total()}")
        for sentence, count in counted.most_common(12):
            print(f"  {count:4}  {sentence}")
    print("slowest:")
    for took, sentence in reversed(summary.slowest):
        print(f"  {took:5.1f} s  {sentence}")
    print(f"stored in PostgreSQL: {summary.stored}; the parent's peak: {resources.peak_mib():.0f} MiB")
    print(f"over HTTP, {report.outcomes.total()} uploads: {dict(report.outcomes.most_common())}")
    print(f"{seconds:.0f} s; violations: {len(summary.violations)}")
    for mutant, sentence in summary.violations:
        print(f"  {f'{mutant.name} ({mutant.recipe})' if mutant else 'in all'}: {sentence}")


def _row(name: str, outcomes: Counter[str], codes: Sequence[str]) -> tuple[str, ...]:
    return (name, str(outcomes.total()), *(str(outcomes[code] or "") for code in codes))


def _keep(folder: Path | None, violations: Sequence[tuple[Mutant | None, str]]) -> None:
    """Write down what failed, and why."""
    for mutant, sentence in violations if folder else ():
        if mutant and folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / mutant.name).write_bytes(mutant.content)
            (folder / f"{mutant.name}.why").write_text(f"{mutant.recipe}\n{sentence}\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutants", type=int, default=2_000)
    parser.add_argument("--uploads", type=int, default=100, help="as many more over HTTP to a running product")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(1_000_000)))
    parser.add_argument("--first", type=int, default=0, help="the number to begin with, to go on with a seed")
    parser.add_argument("--keep", type=Path, help="a folder for the mutants that failed or crashed")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
