"""`python -m tests.chaos.mutants`: plant known bugs; a short suite must turn red for each, and be green without."""

# ruff: noqa: T201  (a program for people)

import os
import sys
import time
from collections.abc import Iterator
from functools import partial

from config.launcher import commands
from tests.chaos import probes, runs, scenario, stack
from tests.chaos.effects import EffectServer
from tests.chaos.oracle import Violation
from tests.chaos.planted import MUTANTS
from tests.chaos.probes import Probe
from tests.chaos.stack import Stack

CONTROL = "none (control)"
# Recovery takes a lease of 2 s and a restart; what has not moved then will not move.
PATIENCE_SECONDS = 15.0
PLOTS = (scenario.MAIN, scenario.LOOP, scenario.FAN, scenario.GRAPH, scenario.SAGA)


def main(names: list[str]) -> int:
    """Try the control and the named mutants (default: all); 0 if exactly the mutants are caught."""
    if "DATABASE_URL" not in os.environ:
        return commands.with_servers([sys.executable, "-m", "tests.chaos.mutants", *names], fast=False)
    wrong = 0
    print(f"{'planted bug':30} {'seconds':>7}  caught by")
    for name in names or [CONTROL, *MUTANTS]:
        began_at = time.monotonic()
        probe, violations = attempt("" if name == CONTROL else name)
        caught = f"{probe}: {violations[0]}" if violations else "nothing"
        print(f"{name:30} {time.monotonic() - began_at:7.0f}  {caught}", flush=True)
        wrong += bool(violations) == (name == CONTROL)
    print("every planted bug was caught" if not wrong else f"{wrong} of these are wrong")
    return 1 if wrong else 0


def attempt(mutant: str) -> tuple[str, list[Violation]]:
    """Run the short suite with a planted bug until an invariant breaks. Returns where, and what broke."""
    with EffectServer() as effects, stack.running(effects.address, is_quick=True, CHAOS_MUTANT=mutant) as product:
        for name, probe in suite():
            if violations := probe(product, effects, f"{name}-{mutant}", PATIENCE_SECONDS):
                return name, violations
    return "", []


def suite() -> Iterator[tuple[str, Probe]]:
    """Yield the short suite: aimed shots first, then whole runs."""
    yield "lonely", probes.lonely
    yield "zombie", probes.zombie
    yield "killed in charge", probes.killed_in_charge
    yield "joined", probes.joined
    # A race: the first crowd finds the web process cold, and its starts come one after another.
    for crowd in ("crowd", "second crowd", "third crowd"):
        yield crowd, probes.crowd
    for faults in (("broker flushed",), ("in_checkpoint", "after_claim"), ("extract_before_commit", "in_finish")):
        yield " and ".join(faults), partial(_whole_run, faults)


def _whole_run(
    faults: tuple[str, ...], product: Stack, effects: EffectServer, seed: str, patience: float
) -> list[Violation]:
    report = runs.run(
        product, effects, seed=seed, faults=faults, plots=PLOTS, stuck_after_seconds=patience, bad_moods=0
    )
    return report.violations


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
