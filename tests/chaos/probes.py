"""Aimed shots: one execution, one fault at the worst moment, the same every time."""

import signal
import time
from collections.abc import Callable

from tests.chaos import oracle, runs, scenario
from tests.chaos.effects import Effect, EffectServer, Mode, always_normal, ignore
from tests.chaos.oracle import Promises, Violation
from tests.chaos.stack import Stack

Probe = Callable[[Stack, EffectServer, str, float], list[Violation]]
LOOK_EVERY_SECONDS = 0.05


def lonely(stack: Stack, effects: EffectServer, seed: str, patience: float) -> list[Violation]:
    """Start single executions on an idle product: nobody else's bell can wake their lane."""
    return _watched(stack, effects, seed, patience, starts=2)


def zombie(stack: Stack, effects: EffectServer, seed: str, patience: float) -> list[Violation]:
    """Freeze a worker in an HTTP call until another one has taken over and is in a later step, then let it go on.

    What the frozen one brings must not count: its fence is of yesterday.
    """
    moments: list[str] = []

    def choose(execution_id: int, step: str, nth: int) -> Mode:
        return Mode.LATE if nth == 1 and step in {scenario.RESERVE, scenario.CHARGE} else Mode.NORMAL

    def watch(effect: Effect) -> None:
        if effect.step == scenario.RESERVE and "frozen" not in moments:
            stack.signal("io", signal.SIGSTOP)
            moments.append("frozen")
        elif effect.step == scenario.CHARGE and "thawed" not in moments:
            stack.signal("io", signal.SIGCONT)
            moments.append("thawed")

    def tend() -> None:
        if moments and not helped:
            helped.append(True)
            stack.add_worker("io", "io2")

    helped: list[bool] = []
    effects.choose, effects.watch = choose, watch
    try:
        return _watched(stack, effects, seed, patience, tend=tend)
    finally:
        effects.choose, effects.watch = always_normal, ignore
        stack.signal("io", signal.SIGCONT)
        if helped:
            stack.remove("io2")


def killed_in_charge(stack: Stack, effects: EffectServer, seed: str, patience: float) -> list[Violation]:
    """Kill the worker after the once effect took place and before anybody was told."""
    killed: list[bool] = []

    def choose(execution_id: int, step: str, nth: int) -> Mode:
        return Mode.LATE if step == scenario.CHARGE else Mode.NORMAL

    def watch(effect: Effect) -> None:
        if effect.step == scenario.CHARGE and not killed:
            killed.append(True)
            stack.kill("io")

    effects.choose, effects.watch = choose, watch
    try:
        return _watched(stack, effects, seed, patience, died=True)
    finally:
        effects.choose, effects.watch = always_normal, ignore


def _watched(
    stack: Stack,
    effects: EffectServer,
    seed: str,
    patience: float,
    *,
    starts: int = 0,
    died: bool = False,
    tend: Callable[[], None] = lambda: None,
) -> list[Violation]:
    """Upload one document, which starts one execution; then start `starts` more, each after the end of the last."""
    workflow_id = stack.api.create_workflow(scenario.workflow(f"probe {seed}", effects.url))
    promises = Promises()
    # The number makes the bytes, and with them the file, this probe's own.
    document = scenario.documents("p" + "".join(char for char in seed if char.isalnum()), 2)[1]
    file_id = stack.api.upload(document.name, document.content)
    promises.uploaded[file_id] = document.marker
    settled = _settle(stack, promises, workflow_id, patience, tend)
    for number in range(starts):
        if settled:
            answer = stack.api.trigger(workflow_id, {"number": number, "file_id": file_id}, key=f"{seed}-{number}")
            promises.started[number] = answer.body
            settled = _settle(stack, promises, workflow_id, patience, tend)
    violations = runs.judge(stack, effects, promises, workflow_id, died=died)
    stack.api.disable(workflow_id)
    return violations


def _settle(stack: Stack, promises: Promises, workflow_id: int, patience: float, tend: Callable[[], None]) -> None:
    give_up_at = time.monotonic() + patience
    while time.monotonic() < give_up_at:
        stack.tend()
        tend()
        executions = stack.api.executions(workflow_id)
        if not oracle.missing(promises, executions) and not oracle.unfinished(executions):
            return True
        time.sleep(LOOK_EVERY_SECONDS)
    return False
