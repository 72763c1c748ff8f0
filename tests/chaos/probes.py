"""Aimed shots: one execution, one fault at the worst moment, the same every time."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.chaos import oracle, runs, scenario
from tests.chaos.effects import Effect, EffectServer, Mode, always_normal, ignore
from tests.chaos.oracle import Promises, Violation
from tests.chaos.runs import Play
from tests.chaos.stack import Stack

Probe = Callable[[Stack, EffectServer, str, float], list[Violation]]
LOOK_EVERY_SECONDS = 0.05
BOTH_SECONDS = 1.0
GRAPHS, CROWD = 4, 8


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
        return _watched(stack, effects, seed, patience, tend=tend, froze=True)
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


def joined(stack: Stack, effects: EffectServer, seed: str, patience: float) -> list[Violation]:
    """Let the two middle steps of a graph end at the same moment: the last one waits for both."""
    pairs: dict[int, threading.Barrier] = {}
    lock = threading.Lock()

    def watch(effect: Effect) -> None:
        if effect.step not in {"one", "two"}:
            return
        with lock:
            pair = pairs.setdefault(effect.execution_id, threading.Barrier(2))
        try:
            pair.wait(BOTH_SECONDS)
        except threading.BrokenBarrierError:
            return

    effects.watch = watch
    try:
        return _started_at_once(stack, effects, scenario.GRAPH, count=GRAPHS, seed=seed, patience=patience)
    finally:
        effects.watch = ignore


def crowd(stack: Stack, effects: EffectServer, seed: str, patience: float) -> list[Violation]:
    """Start a limited workflow many times at the same moment; each stays long enough to meet the others."""

    def choose(execution_id: int, step: str, nth: int) -> Mode:
        return Mode.LATE if step == "enter" else Mode.NORMAL

    effects.choose = choose
    try:
        return _started_at_once(stack, effects, scenario.LIMITED, count=CROWD, seed=seed, patience=patience)
    finally:
        effects.choose = always_normal


def _started_at_once(
    stack: Stack, effects: EffectServer, plot: scenario.Plot, *, count: int, seed: str, patience: float
) -> list[Violation]:
    play = runs.prepare(stack, effects, (plot,), seed=seed)
    [workflow_id] = play.plots
    promises = Promises()
    together = threading.Barrier(count)

    def start(number: int) -> None:
        together.wait()
        answer = stack.api.trigger(workflow_id, {"number": number}, key=f"{seed}-{number}")
        promises.started[plot.name, number] = answer.body

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(start, range(count)))
    _settle(stack, promises, play, patience, lambda: None)
    return runs.judge(stack, effects, promises, play, died=False)


def _watched(
    stack: Stack,
    effects: EffectServer,
    seed: str,
    patience: float,
    *,
    starts: int = 0,
    died: bool = False,
    froze: bool = False,
    tend: Callable[[], None] = lambda: None,
) -> list[Violation]:
    """Upload one document, which starts one execution; then start `starts` more, each after the end of the last."""
    play = runs.prepare(stack, effects, (scenario.MAIN,), seed=seed)
    [workflow_id] = play.plots
    promises = Promises()
    # The seed makes the bytes, and with them the file, this probe's own.
    [document] = scenario.documents("p" + "".join(char for char in seed if char.isalnum()), 1)
    file_id = stack.api.upload(document.name, document.content)
    promises.uploaded[file_id] = document.marker
    settled = _settle(stack, promises, play, patience, tend)
    for number in range(starts):
        if settled:
            answer = stack.api.trigger(workflow_id, {"number": number, "file_id": file_id}, key=f"{seed}-{number}")
            promises.started[scenario.MAIN.name, number] = answer.body
            settled = _settle(stack, promises, play, patience, tend)
    violations = runs.judge(stack, effects, promises, play, died=died, froze=froze)
    play.end(stack)
    return violations


def _settle(stack: Stack, promises: Promises, play: Play, patience: float, tend: Callable[[], None]) -> bool:
    give_up_at = time.monotonic() + patience
    while time.monotonic() < give_up_at:
        stack.tend()
        tend()
        executions = play.executions(stack)
        if not oracle.missing(promises, executions) and not oracle.unfinished(executions):
            return True
        time.sleep(LOOK_EVERY_SECONDS)
    return False
