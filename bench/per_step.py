"""Milliseconds per step of workflows of 40 steps, by effect class, next to DBOS."""

from dataclasses import dataclass, field

from bench.processes import Peer
from bench.workloads import STEPS_IN_ROW, steps_of_effect

EFFECTS = ("pure", "idempotent", "once")


@dataclass
class PerStep:
    """The rounds so far, in ms per step."""

    ours: dict[str, list[float]] = field(default_factory=lambda: {effect: [] for effect in EFFECTS})
    dbos: list[float] = field(default_factory=list)


def measure(ours: Peer, dbos: Peer, *, rounds: int, workflows: int) -> PerStep:
    """Run `rounds` rounds of `workflows` workflows of each kind; a first round warms up and does not count."""
    ids = {effect: ours.ask(action="create", name=effect, steps=steps_of_effect(effect)) for effect in EFFECTS}
    found = PerStep()
    to_ms = 1000 / workflows / STEPS_IN_ROW
    for turn in range(rounds + 1):
        reference = dbos.ask(workflows=workflows, steps=STEPS_IN_ROW) * to_ms
        times = {effect: ours.ask(action="run", workflow_id=ids[effect], count=workflows) * to_ms for effect in EFFECTS}
        if turn:
            found.dbos.append(reference)
            for effect, time in times.items():
                found.ours[effect].append(time)
    return found
