"""A worker dies between the second and the third compensation of a saga."""

from collections.abc import Iterator
from typing import Any

import pytest

from config.launcher import processes
from tests.chaos import scenario, stack
from tests.chaos.effects import Effect, EffectServer
from tests.chaos.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

UNDONE = ["undo-ship", "undo-pay", "undo-book"]


@pytest.fixture(scope="module")
def effects() -> Iterator[EffectServer]:
    with EffectServer() as server:
        yield server


@pytest.fixture(scope="module")
def product(effects: EffectServer) -> Iterator[Stack]:
    # Long enough that a busy machine takes no step from a worker that lives.
    with stack.running(effects.address, is_quick=True, LEASE_SECONDS="4") as running:
        yield running


def die_before_the_third(product: Stack, effects: EffectServer, *, undo_effect: str) -> dict[str, Any]:
    """Run a saga whose worker is killed once the second compensation is written and before the third acts."""

    def watch(effect: Effect) -> None:
        if effect.step == UNDONE[1]:
            product.arm("before_effect", "child")

    effects.watch = watch
    body = scenario.workflow(scenario.SAGA, f"undone by {undo_effect} steps", effects.url)
    for step in body["workflow_config"]["steps"]:
        if "compensate" in step:
            step["compensate"]["effect"] = undo_effect
    workflow_id = product.api.create_workflow(body)
    execution_id = product.api.trigger(workflow_id, {"number": 1}, key=undo_effect).body
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        product.tend()
        found.update(product.api.execution(execution_id))
        return found["status"] not in {"pending", "running"}

    assert processes.wait_until(has_ended, seconds=90, pause=0.05), found["why"]
    assert product.take_hits("before_effect") == 1
    return found


def felt(effects: EffectServer, execution_id: int) -> list[str]:
    return [effect.step for effect in effects.all() if effect.execution_id == execution_id]


def test_each_is_felt_once_and_in_reverse_and_nothing_stays_open(product: Stack, effects: EffectServer) -> None:
    execution = die_before_the_third(product, effects, undo_effect="idempotent")

    assert felt(effects, execution["id"]) == ["book", "pay", "ship", *UNDONE, "farewell"]
    saga = product.api.saga(execution["id"])
    assert saga is not None
    assert (saga["status"], saga["open"]) == ("compensated", [])
    assert [(step["path"], step["status"]) for step in saga["steps"]] == [
        ("ship", "compensated"),
        ("pay", "compensated"),
        ("book", "compensated"),
    ]


def test_what_may_act_once_only_is_not_repeated_and_stays_open_for_an_operator(
    product: Stack, effects: EffectServer
) -> None:
    execution = die_before_the_third(product, effects, undo_effect="once")

    # Its attempt was on record when the worker died: nobody can know that the act had not begun.
    assert felt(effects, execution["id"]) == ["book", "pay", "ship", *UNDONE[:2], "farewell"]
    saga = product.api.saga(execution["id"])
    assert saga is not None
    assert (saga["status"], saga["open"]) == ("failed", ["book"])

    product.api.retry_saga(execution["id"])

    def is_undone() -> bool:
        product.tend()
        return (product.api.saga(execution["id"]) or {})["status"] == "compensated"

    assert processes.wait_until(is_undone, seconds=90, pause=0.05), product.api.saga(execution["id"])
    assert felt(effects, execution["id"])[-1] == "undo-book"
    assert felt(effects, execution["id"]).count("undo-book") == 1
