"""A workflow with a concurrency limit of 3, claimed by eight processes that are killed again and again."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.launcher import processes
from tests.chaos import oracle, scenario, stack
from tests.chaos.effects import EffectServer
from tests.chaos.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LASTS_SECONDS = 30.0
KILL_EVERY_SECONDS = 1.0
FEWEST_KILLS = 20
IN_LINE = 20
WORKERS = ["io", *(f"io-{number}" for number in range(2, 9))]


@pytest.fixture
def effects() -> Iterator[EffectServer]:
    with EffectServer() as server:
        yield server


@pytest.fixture
def product(effects: EffectServer) -> Iterator[Stack]:
    with stack.running(effects.address, is_quick=True) as running:
        for name in WORKERS[1:]:
            running.add_worker("io", name)
        yield running


def keep_in_line(product: Stack, workflow_id: int, started: list[int], is_over: threading.Event) -> None:
    """Keep so many executions unfinished, until it is over."""
    while not is_over.is_set():
        left = oracle.unfinished(product.api.executions(workflow_id))
        for _ in range(IN_LINE - len(left)):
            key = f"start-{len(started)}"
            started.append(product.api.trigger(workflow_id, {"number": len(started)}, key=key).body)


def kill_now_and_then(product: Stack, dice: random.Random) -> int:
    """Kill one of the workers every so often, for as long as the soak lasts; returns how often."""
    ends_at = time.monotonic() + LASTS_SECONDS
    next_at, kills = time.monotonic() + KILL_EVERY_SECONDS, 0

    def is_over() -> bool:
        nonlocal next_at, kills
        product.tend()
        if time.monotonic() >= next_at:
            next_at += KILL_EVERY_SECONDS
            product.kill(dice.choice(WORKERS))
            kills += 1
        return time.monotonic() >= ends_at

    assert processes.wait_until(is_over, seconds=2 * LASTS_SECONDS, pause=0.02)
    return kills


def test_no_more_run_at_once_than_may_however_many_claim_and_die(product: Stack, effects: EffectServer) -> None:
    workflow_id = product.api.create_workflow(scenario.workflow(scenario.LIMITED, "three at a time", effects.url))
    started: list[int] = []
    is_over = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        line = pool.submit(keep_in_line, product, workflow_id, started, is_over)
        try:
            kills = kill_now_and_then(product, random.Random(3))
        finally:
            is_over.set()
        line.result()

    def all_ended() -> bool:
        product.tend()
        return not oracle.unfinished(product.api.executions(workflow_id))

    assert processes.wait_until(all_ended, seconds=120, pause=0.1)
    assert kills >= FEWEST_KILLS
    executions = product.api.executions(workflow_id)
    assert {item["id"] for item in executions} == set(started)
    assert {item["status"] for item in executions} == {"completed"}
    first = {(effect.execution_id, effect.step): effect.at for effect in reversed(effects.all())}
    spans = [(first[execution_id, "enter"], first[execution_id, "leave"]) for execution_id in started]
    # Never a fourth, and the three slots were in use.
    assert oracle.most_at_once(spans) == scenario.AT_ONCE
