"""The workflows that are measured."""

from typing import Any

FIVE_PURE_STEPS: list[dict[str, Any]] = [
    {"name": "begin", "type": "log", "config": {"message": "Order {{trigger.order}} received"}},
    {
        "name": "shape",
        "type": "data_transform",
        "config": {
            "source_data": "{{trigger}}",
            "transformations": [{"type": "extract", "path": "order", "key": "order"}],
        },
    },
    {
        "name": "decide",
        "type": "conditional",
        "config": {
            "condition": "{{steps.shape.order}} > 0",
            "true_action": {"skip_to_step": "report"},
            "false_action": {"skip_to_step": "end"},
        },
    },
    {
        "name": "report",
        "type": "data_transform",
        "config": {
            "source_data": "{{steps.shape}}",
            "transformations": [{"type": "rename", "mapping": {"order": "number"}, "key": "report"}],
        },
    },
    {"name": "end", "type": "log", "config": {"message": "Order {{steps.shape.order}} done"}},
]
TRIGGER_DATA = {"order": 7, "customer": "Example Ltd"}
STEPS_IN_ROW = 40


def steps_of_effect(effect: str) -> list[dict[str, Any]]:
    """Return 40 log steps whose checkpoints follow the rule of one effect class."""
    return [
        {"name": f"step_{number}", "type": "log", "config": {"message": "done"}, "effect": effect}
        for number in range(STEPS_IN_ROW)
    ]


def six_and_a_stop(*, is_saga: bool) -> list[dict[str, Any]]:
    """Return what runs three log steps, then three more that are stored one by one, and fails.

    A saga: the latter three undo the former after the failure; else they stand before it, in a row.
    """
    log = {"type": "log", "config": {"message": "done"}}
    stored = {**log, "effect": "idempotent"}
    undo = {"compensate": log} if is_saga else {}
    steps = [{"name": f"step_{number}", **log, **undo} for number in range(3)]
    more = [] if is_saga else [{"name": f"more_{number}", **stored} for number in range(3)]
    stop = {"name": "stop", "type": "stop", "config": {"status": "failed", "message": "undo it"}}
    return [*steps, *more, stop]
