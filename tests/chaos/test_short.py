"""A short part of the chaos suite, for every `make test`."""

import pytest

from tests.chaos import probes, runs, scenario, stack
from tests.chaos.effects import EffectServer
from tests.chaos.probes import Probe
from tests.chaos.runs import Report
from tests.chaos.scenario import Plot
from tests.chaos.stack import Stack

SHOTS: tuple[Probe, ...] = (probes.lonely, probes.zombie, probes.killed_in_charge, probes.joined, probes.crowd)
RUNS: tuple[tuple[tuple[str, ...], tuple[Plot, ...]], ...] = (
    (("in_checkpoint", "before_trigger_commit"), (scenario.MAIN, scenario.LOOP, scenario.LIMITED)),
    (("tree in http",), (scenario.MAIN, scenario.STAMPS, scenario.FAN)),
    (("broker stopped",), (scenario.MAIN, scenario.EVENT)),
    (("clock jumps",), (scenario.MAIN, scenario.SAGA)),
)


# One test and not nine: the product is started once.
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_kills_zombies_and_a_broker_that_stops_break_no_promise() -> None:
    with EffectServer() as effects, stack.running(effects.address, is_quick=True) as product:
        for shot in SHOTS:
            found = shot(product, effects, shot.__name__, runs.STUCK_AFTER_SECONDS)
            assert [str(violation) for violation in found] == [], shot.__name__
        # The quickest of all runs: of some of them a fault has killed who answers.
        usual_seconds = float("inf")
        for faults, plots in RUNS:
            report = _survives(product, effects, faults, plots, usual_seconds)
            usual_seconds = min(usual_seconds, report.slowest_answer_seconds)


def _survives(
    product: Stack, effects: EffectServer, faults: tuple[str, ...], plots: tuple[Plot, ...], usual_seconds: float
) -> Report:
    report = runs.run(
        product, effects, seed="short-" + faults[0], faults=faults, plots=plots, usual_answer_seconds=usual_seconds
    )

    assert [str(violation) for violation in report.violations] == [], faults
    assert report.accepted == runs.UPLOADED + sum(scenario.STARTS[plot] for plot in plots)
    assert set(report.hits) == set(faults)
    return report
