"""A short part of the chaos suite, for every `make test`."""

import pytest

from tests.chaos import probes, runs, stack
from tests.chaos.effects import EffectServer
from tests.chaos.probes import Probe
from tests.chaos.stack import Stack

SHOTS: tuple[Probe, ...] = (probes.lonely, probes.zombie, probes.killed_in_charge)
RUNS = (
    ("in_checkpoint", "before_trigger_commit"),
    ("tree in http",),
    ("broker stopped",),
)


# One test and not seven: the product is started once.
@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_kills_zombies_and_a_broker_that_stops_break_no_promise() -> None:
    with EffectServer() as effects, stack.running(effects.address) as product:
        for shot in SHOTS:
            assert shot(product, effects, shot.__name__, runs.STUCK_AFTER_SECONDS) == []
        for faults in RUNS:
            _survives(product, effects, faults)


def _survives(product: Stack, effects: EffectServer, faults: tuple[str, ...]) -> None:
    report = runs.run(product, effects, seed="short-" + faults[0], faults=faults)

    assert report.violations == []
    assert report.accepted == runs.STARTED + runs.UPLOADED
    assert set(report.hits) == set(faults)
