"""One run: 20 executions of the scenario under faults, and the oracle's word on them."""

import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import oracle, scenario
from tests.chaos.effects import EffectServer
from tests.chaos.faults import Injector, Moods
from tests.chaos.oracle import Invariant, Promises, Seen, Violation
from tests.chaos.stack import Stack

STARTED, UPLOADED = 15, 5
CLIENTS = 6
STUCK_AFTER_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.15
# A trigger answers within this while the broker is down.
SLOWEST_ANSWER_SECONDS = 1.0


@dataclass
class Report:
    """What became of one run."""

    faults: tuple[str, ...]
    hits: Counter[str]
    accepted: int
    seconds: float
    statuses: Counter[str]
    violations: list[Violation]
    slowest_answer_seconds: float


@dataclass
class Load:
    """The clients of a run and what they were promised."""

    promises: Promises = field(default_factory=Promises)
    futures: list[Future[None]] = field(default_factory=list)
    slowest_answer_seconds: float = 0.0

    @property
    def busy(self) -> bool:
        return not all(future.done() for future in self.futures)


def run(
    stack: Stack,
    effects: EffectServer,
    *,
    seed: str,
    faults: tuple[str, ...],
    stuck_after_seconds: float = STUCK_AFTER_SECONDS,
    bad_moods: float = 0.08,
) -> Report:
    """Run the scenario once; everything random follows from `seed`, up to the races that are the point."""
    began_at = time.monotonic()
    dice = random.Random(seed)
    workflow_id = stack.api.create_workflow(scenario.workflow(f"chaos {seed}", effects.url))
    effects.choose = Moods(seed, bad=bad_moods)
    injector = Injector(stack, effects, faults, dice)
    injector.begin()
    # The first faults (a broker that stops) come before the first request.
    injector.tend()
    with ThreadPoolExecutor(CLIENTS) as pool:
        load = _start_load(stack, pool, workflow_id, seed)
        executions = _wait(stack, injector, load, workflow_id, stuck_after_seconds)
    for future in load.futures:
        future.result()
    injector.end()
    violations = judge(stack, effects, load.promises, workflow_id, died=injector.kills)
    if "broker stopped" in faults and load.slowest_answer_seconds > SLOWEST_ANSWER_SECONDS:
        sentence = f"a trigger took {load.slowest_answer_seconds:.2f} s to answer while the broker was down"
        violations.append(Violation(Invariant.SLOW, sentence))
    stack.api.disable(workflow_id)
    return Report(
        faults=faults,
        hits=injector.hits,
        accepted=load.promises.accepted,
        seconds=time.monotonic() - began_at,
        statuses=Counter(item["status"] for item in executions),
        violations=violations,
        slowest_answer_seconds=load.slowest_answer_seconds,
    )


def _start_load(stack: Stack, pool: ThreadPoolExecutor, workflow_id: int, seed: str) -> Load:
    """Upload documents, each of which starts the workflow, and start it further times over the first of them."""
    load = Load()
    # Letters and digits only, so that it comes out of every format as it went in.
    word = "m" + "".join(char for char in seed if char.isalnum())
    first, *others = scenario.documents(word, UPLOADED)

    def upload(document: scenario.Document) -> int:
        file_id = stack.api.upload(document.name, document.content)
        load.promises.uploaded[file_id] = document.marker
        return file_id

    first_upload = pool.submit(upload, first)

    def start(number: int) -> None:
        known = list(load.promises.uploaded) or [first_upload.result()]
        data = {"number": number, "file_id": known[number % len(known)]}
        answer = stack.api.trigger(workflow_id, data, key=f"{seed}-{number}")
        load.promises.started[number] = answer.body
        load.slowest_answer_seconds = max(load.slowest_answer_seconds, answer.seconds)

    def upload_only(document: scenario.Document) -> None:
        upload(document)

    load.futures = [pool.submit(upload_only, document) for document in others]
    load.futures += [pool.submit(start, number) for number in range(STARTED)]
    return load


def _wait(stack: Stack, injector: Injector, load: Load, workflow_id: int, patience: float) -> list[dict[str, Any]]:
    """Look until everything promised has ended, or until nothing may take longer; returns the executions."""
    while True:
        busy = load.busy or injector.pending
        injector.tend()
        executions = stack.api.executions(workflow_id)
        done = not oracle.missing(load.promises, executions) and not oracle.unfinished(executions)
        if done and not busy:
            return executions
        if not busy and time.monotonic() > injector.last_at + patience:
            return executions
        time.sleep(LOOK_EVERY_SECONDS)


def judge(stack: Stack, effects: EffectServer, promises: Promises, workflow_id: int, *, died: bool) -> list[Violation]:
    """Read everything about a workflow's executions over the API and let the oracle judge it."""
    whole = [stack.api.execution(item["id"]) for item in stack.api.executions(workflow_id)]
    steps = {item["id"]: stack.api.steps(item["id"]) for item in whole}
    # Read last: whatever the API calls done has been felt by now.
    felt = [effect for effect in effects.all() if effect.execution_id in steps]
    return oracle.judge(promises, Seen(whole, steps, felt, died=died))
