"""Which step types this process knows, by name and alias."""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from django.conf import settings

from workflows.engine.steps.base import Step

ENTRY_POINT_GROUP = "pyairtable_automation.steps"
BUILT_IN_MODULES = (
    *("log", "delay", "conditional", "parallel", "foreach", "workflow", "stop"),
    *("wait_for_event", "approval"),
    *("data_transform", "http_request", "file_process", "notification"),
)

_types: dict[str, Step[Any]] = {}


def register(step_class: type[Step[Any]]) -> type[Step[Any]]:
    """Register a step type under its name and aliases; usable as a class decorator."""
    step = step_class()
    for name in (step.type, *step.aliases):
        _types[name] = step
    return step_class


def find(type_name: str) -> Step[Any] | None:
    """Return the step type called `type_name` (or so by an alias), or None."""
    _load()
    return _types.get(type_name)


def all_types() -> list[Step[Any]]:
    """Return every registered step type once, by name."""
    _load()
    return sorted(set(_types.values()), key=lambda step: step.type)


def names() -> list[str]:
    """Return all names and aliases, for "unknown type, did you mean" messages."""
    _load()
    return sorted(_types)


@cache
def _load() -> None:
    for module in BUILT_IN_MODULES:
        import_module(f"workflows.engine.steps.{module}")
    for dotted in settings.STEP_MODULES:
        import_module(dotted)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        register(entry_point.load())
