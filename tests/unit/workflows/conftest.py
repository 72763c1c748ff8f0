"""Steps that the engine's tests share."""

from collections.abc import Iterator

import pytest

from tests.unit.workflows import touching
from workflows.choices import Effect, Lane
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext
from workflows.engine.steps.registry import _types, register


@pytest.fixture
def paid() -> Iterator[list[str]]:
    """Let steps of type `pay` act once each; yields the paths of those that did."""
    paths: list[str] = []

    class Pay(Step[StepConfig]):
        type = "pay"
        config_model = StepConfig
        effect = Effect.ONCE
        lane = Lane.FLOW

        def run(self, config: StepConfig, context: StepContext) -> Output:
            paths.append(context.path)
            return Output({"paid": True})

    register(Pay)
    yield paths
    _types.pop(Pay.type)


@pytest.fixture
def nothing_touched() -> None:
    """Let steps of type `touch` tell what touched them, from nothing on."""
    register(touching.Touch)
    touching.touched.clear()
    touching.Touch.broken.clear()
