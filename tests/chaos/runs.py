"""One run: some plots under faults, and the oracle's word on them."""

import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import oracle, scenario
from tests.chaos.effects import EffectServer
from tests.chaos.faults import CROWD_STARTS, Injector, Moods
from tests.chaos.oracle import Invariant, Promises, Seen, Violation
from tests.chaos.scenario import Plot
from tests.chaos.stack import Stack

UPLOADED = 1
CLIENTS = 6
STUCK_AFTER_SECONDS = 120.0
LOOK_EVERY_SECONDS = 0.1
# A trigger answers within this while the broker is down, on a machine that has nothing else to do.
SLOWEST_ANSWER_SECONDS = 1.0
# More than one run starts, its calls included.
NEWEST = 40


@dataclass
class Report:
    """What became of one run."""

    faults: tuple[str, ...]
    hits: Counter[str]
    in_transaction: int
    accepted: int
    seconds: float
    statuses: Counter[str]
    violations: list[Violation]
    slowest_answer_seconds: float
    effects: int


@dataclass
class Load:
    """The clients of a run and what they were promised."""

    promises: Promises = field(default_factory=Promises)
    futures: list[Future[None]] = field(default_factory=list)
    slowest_answer_seconds: float = 0.0

    @property
    def busy(self) -> bool:
        return not all(future.done() for future in self.futures)


@dataclass
class Play:
    """The workflows of a run: plot by workflow id, and how often each is started."""

    plots: dict[int, Plot]
    starts: dict[int, int]

    @property
    def main_id(self) -> int | None:
        return next((key for key, plot in self.plots.items() if plot is scenario.MAIN), None)

    def executions(self, stack: Stack) -> list[dict[str, Any]]:
        return [item for item in stack.api.newest(NEWEST) if item["workflow_id"] in self.plots]

    def end(self, stack: Stack) -> None:
        if self.main_id is not None:
            stack.api.disable(self.main_id)


def run(
    stack: Stack,
    effects: EffectServer,
    *,
    seed: str,
    faults: tuple[str, ...],
    plots: tuple[Plot, ...],
    stuck_after_seconds: float = STUCK_AFTER_SECONDS,
    bad_moods: float = 0.04,
    usual_answer_seconds: float = 0.0,
) -> Report:
    """Run the plots once; everything random follows from `seed`, up to the races that are the point.

    `usual_answer_seconds`: how long a trigger takes at most on this machine with all that it is busy with.
    """
    began_at = time.monotonic()
    dice = random.Random(seed)
    before = len(effects.all())
    play = prepare(stack, effects, plots, seed=seed, is_crowd="crowd" in faults)
    effects.choose = Moods(seed, bad=bad_moods)
    injector = Injector(stack, effects, faults, dice)
    injector.begin()
    # The first faults (a broker that stops) come before the first request.
    injector.tend()
    with ThreadPoolExecutor(CLIENTS) as pool:
        load = _start_load(stack, pool, play, seed)
        executions = _wait(stack, injector, load, play, stuck_after_seconds)
    for future in load.futures:
        future.result()
    injector.end()
    violations = judge(
        stack, effects, load.promises, play, died=injector.kills, froze=injector.freezes, jumped="clock jumps" in faults
    )
    slowest_seconds = SLOWEST_ANSWER_SECONDS + 3 * usual_answer_seconds
    if "broker stopped" in faults and load.slowest_answer_seconds > slowest_seconds:
        sentence = f"a trigger took {load.slowest_answer_seconds:.2f} s to answer while the broker was down"
        violations.append(Violation(Invariant.SLOW, sentence))
    play.end(stack)
    return Report(
        faults=faults,
        hits=injector.hits,
        in_transaction=injector.in_transaction,
        accepted=load.promises.accepted,
        seconds=time.monotonic() - began_at,
        statuses=Counter(item["status"] for item in executions),
        violations=violations,
        slowest_answer_seconds=load.slowest_answer_seconds,
        effects=len(effects.all()) - before,
    )


def prepare(stack: Stack, effects: EffectServer, plots: tuple[Plot, ...], *, seed: str, is_crowd: bool = False) -> Play:
    """Create the workflows of a run; a crowd starts the limited one many times."""
    if is_crowd:
        plots = (scenario.MAIN, scenario.LIMITED)
    play = Play({}, {})
    for plot in plots:
        called_id = _create(stack, effects, scenario.CALLED, play, seed) if plot is scenario.FAN else 0
        key = _create(stack, effects, plot, play, seed, called_id=called_id)
        play.starts[key] = CROWD_STARTS if is_crowd and plot is scenario.LIMITED else scenario.STARTS[plot]
    return play


def _create(stack: Stack, effects: EffectServer, plot: Plot, play: Play, seed: str, *, called_id: int = 0) -> int:
    body = scenario.workflow(plot, f"{plot.name} {seed}", effects.url, called_id=called_id)
    key = stack.api.create_workflow(body)
    play.plots[key] = plot
    return key


def _start_load(stack: Stack, pool: ThreadPoolExecutor, play: Play, seed: str) -> Load:
    """Upload documents, each of which starts the first plot, and start each plot as often as it is to be."""
    load = Load()
    # Letters and digits only, so that it comes out of every format as it went in.
    word = "m" + "".join(char for char in seed if char.isalnum())

    def upload(document: scenario.Document) -> None:
        file_id = stack.api.upload(document.name, document.content)
        load.promises.uploaded[file_id] = document.marker

    documents = scenario.documents(word, UPLOADED) if play.main_id else []
    load.futures = uploads = [pool.submit(upload, document) for document in documents]

    def start(workflow_id: int, plot: Plot, number: int) -> None:
        data: dict[str, Any] = {"number": number}
        if plot is scenario.MAIN:
            uploads[0].result()
            data["file_id"] = next(iter(load.promises.uploaded))
        key = f"{seed}-{plot.name}-{number}"
        if plot is scenario.EVENT:
            data["key"] = key
        # What is waited for comes before the start of the first, and about when the second begins to wait.
        if plot is scenario.EVENT and number == 0:
            stack.api.publish(scenario.EVENT_TYPE, {"key": key}, key=f"event-{key}")
        answer = stack.api.trigger(workflow_id, data, key=key)
        if plot is scenario.EVENT and number > 0:
            stack.api.publish(scenario.EVENT_TYPE, {"key": key}, key=f"event-{key}")
        load.promises.started[plot.name, number] = answer.body
        if plot is scenario.APPROVAL:
            _approve(stack, answer.body)
        load.slowest_answer_seconds = max(load.slowest_answer_seconds, answer.seconds)

    load.futures = uploads + [
        pool.submit(start, workflow_id, play.plots[workflow_id], number)
        for workflow_id, count in play.starts.items()
        for number in range(count)
    ]
    return load


def _approve(stack: Stack, execution_id: int) -> None:
    """Say yes to what an execution asks; one that never asks is noticed as stuck."""
    give_up_at = time.monotonic() + STUCK_AFTER_SECONDS
    while time.monotonic() < give_up_at:
        if approval_id := stack.api.pending_approval(execution_id):
            stack.api.approve(approval_id)
            return
        time.sleep(LOOK_EVERY_SECONDS)


def _wait(stack: Stack, injector: Injector, load: Load, play: Play, patience: float) -> list[dict[str, Any]]:
    """Look until everything promised has ended, or until nothing may take longer; returns the executions."""
    while True:
        busy = load.busy or injector.pending
        injector.tend()
        executions = play.executions(stack) if stack.is_whole else []
        done = executions and not oracle.missing(load.promises, executions) and not oracle.unfinished(executions)
        if done and not busy:
            return executions
        if not busy and time.monotonic() > injector.last_at + patience:
            return executions
        time.sleep(LOOK_EVERY_SECONDS)


def judge(
    stack: Stack,
    effects: EffectServer,
    promises: Promises,
    play: Play,
    *,
    died: bool,
    froze: bool = False,
    jumped: bool = False,
) -> list[Violation]:
    """Read everything about a run's executions over the API and let the oracle judge it."""
    whole = [stack.api.execution(item["id"]) for item in play.executions(stack)]
    steps = {item["id"]: stack.api.steps(item["id"]) for item in whole}
    undone = [item["id"] for item in whole if play.plots[item["workflow_id"]].undoing]
    sagas = {key: saga for key in undone if (saga := stack.api.saga(key)) is not None}
    # Read last: whatever the API calls done has been felt by now.
    felt = [effect for effect in effects.all() if effect.execution_id in steps]
    seen = Seen(play.plots, whole, steps, felt, sagas, died=died, froze=froze, jumped=jumped)
    return oracle.judge(promises, seen)
