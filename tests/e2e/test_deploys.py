"""Deploys: old and new code side by side, and workers that are told to stop."""

import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from config.launcher import processes
from tests.chaos import stack
from tests.chaos.effects import Effect, EffectServer, Mode
from tests.chaos.stack import Process, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NEW_CODE = {"STEP_MODULES": "tests.e2e.new_code"}
# Celery's own default is to wait for as long as it takes; what runs here takes less than a second of its own.
GRACE_SECONDS = 60.0


@pytest.fixture
def effects() -> Iterator[EffectServer]:
    with EffectServer() as server:
        yield server


@pytest.fixture
def product(effects: EffectServer) -> Iterator[Stack]:
    with stack.running(effects.address, **stack.CALM) as running:
        yield running


def replace(product: Stack, name: str) -> None:
    """Tell a process to stop, wait until it has, and start it anew with the environment of now."""
    process = product.process(name)
    process.wanted = False
    product.signal(name, signal.SIGTERM)
    wait_for_end(process)
    product.start(process)


def wait_for_end(process: Process) -> None:
    assert process.popen is not None
    process.popen.wait(timeout=GRACE_SECONDS)


def soon(product: Stack, condition: Any, *, seconds: float = 60) -> bool:
    def holds() -> bool:
        product.tend()
        return bool(condition())

    return processes.wait_until(holds, seconds=seconds, pause=0.05)


def test_a_step_type_that_only_new_workers_know_waits_for_one_of_them(product: Stack) -> None:
    product.environ = product.environ | NEW_CODE
    replace(product, "web")
    assert soon(product, product.api.is_live)
    steps = [
        {"name": "first", "type": "log", "config": {"message": "old code knows this"}},
        {"name": "greet", "type": "greet_from_the_future", "config": {"name": "{{trigger.who}}"}},
    ]
    workflow_id = product.api.create_workflow({"name": "W", "workflow_config": {"steps": steps}})

    execution_id = product.api.trigger(workflow_id, {"who": "Ada"}, key="once").body

    assert soon(product, lambda: product.api.execution(execution_id)["waiting_on"] == "timer")
    waiting = product.api.execution(execution_id)
    assert (waiting["status"], waiting["why"]) == (
        "running",
        "step 'greet' has the type 'greet_from_the_future', which no worker that looked at it knows",
    )

    # The rollout goes on: the old worker is replaced, and the pause is over.
    replace(product, "flow")
    with psycopg.connect(product.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("UPDATE workflow_branches SET wake_at = now() WHERE waiting_on = 'timer'")

    assert soon(product, lambda: product.api.execution(execution_id)["status"] == "completed")
    assert product.api.execution(execution_id)["result_data"]["greet"] == {"greeting": "hello Ada"}


@pytest.mark.parametrize("lane", ["io", "flow"])
def test_a_worker_told_to_stop_ends_the_step_it_runs_and_leaves_the_rest(
    product: Stack, effects: EffectServer, lane: str
) -> None:
    told: list[Effect] = []

    def stop_the_worker(effect: Effect) -> None:
        if not told:
            told.append(effect)
            product.process(lane).wanted = False
            product.signal(lane, signal.SIGTERM)

    effects.choose = lambda execution_id, step, nth: Mode.LATE
    effects.watch = stop_the_worker
    call = {"method": "POST", "url": f"{effects.url}/{{{{execution_id}}}}/NAME", "json": {}}
    steps = [
        {
            "name": name,
            "type": "http_request",
            "effect": "once",
            "config": call | {"url": call["url"].replace("NAME", name)},
        }  # type: ignore[attr-defined]
        for name in ("a", "b")
    ]
    workflow_id = product.api.create_workflow({"name": "W", "workflow_config": {"steps": steps}})

    execution_id = product.api.trigger(workflow_id, {}, key="once").body
    assert soon(product, lambda: told)
    wait_for_end(product.process(lane))
    product.start(product.process(lane))

    assert soon(product, lambda: product.api.execution(execution_id)["status"] == "completed")
    assert [(effect.step, effect.nth) for effect in effects.all()] == [("a", 1), ("b", 1)]
    with psycopg.connect(product.environ["DATABASE_URL"]) as connection:
        attempts = connection.execute("SELECT max(attempt), count(*) FROM workflow_execution_steps").fetchone()
    assert attempts == (1, 2)
