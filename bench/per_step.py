"""Milliseconds per step of workflows of 40 steps, by effect class, next to DBOS."""

from dataclasses import dataclass, field

from bench.processes import Peer
from bench.report import median
from bench.workloads import STEPS_IN_ROW, six_and_a_stop, steps_of_effect

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


def saga_ms(ours: Peer, *, rounds: int, executions: int = 100) -> float:
    """Return what coordinating a saga costs, in ms: undoing three steps, less storing three steps in a row."""
    in_a_row, saga = (
        ours.ask(action="create", name="saga", steps=six_and_a_stop(is_saga=is_saga)) for is_saga in (False, True)
    )
    added = []
    for turn in range(rounds + 1):
        without, with_it = (
            ours.ask(action="run", workflow_id=workflow_id, count=executions) for workflow_id in (in_a_row, saga)
        )
        if turn:
            added.append((with_it - without) * 1000 / executions)
    return median(added)
