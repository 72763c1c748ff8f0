"""What the editor tells of step types: names, config keys, an example to insert. Read from the registry."""

import json
from functools import cache
from typing import Any

from workflows.engine.steps import registry
from workflows.engine.steps.base import Step

# A snippet should run as it stands; the schemas know only what a key may hold.
EXAMPLES: dict[str, dict[str, Any]] = {
    "approval": {"group": "Finance", "message": "Pay {{trigger.total}}?", "timeout_seconds": 86_400},
    "conditional": {
        "condition": {"left": "{{trigger.total}}", "operator": "greater_than", "right": 100},
        "true_action": {"steps": [{"name": "large", "type": "log", "config": {"message": "A large one"}}]},
    },
    "data_transform": {
        "source_data": "{{trigger}}",
        "transformations": [{"type": "extract", "path": "name", "key": "name"}],
    },
    "delay": {"seconds": 10},
    "foreach": {
        "items": "{{trigger.lines}}",
        "steps": [{"name": "line", "type": "log", "config": {"message": "{{index}}: {{item}}"}}],
    },
    "file_process": {"action": "extract", "file_id": "{{trigger.file_id}}"},
    "http_request": {"url": "https://example.com/", "method": "GET"},
    "log": {"message": "Hello {{trigger.name}}"},
    "parallel": {
        "steps": [
            {"name": "left", "type": "log", "config": {"message": "One"}},
            {"name": "right", "type": "log", "config": {"message": "Other"}},
        ]
    },
    "wait_for_event": {"event_type": "order.paid", "timeout_seconds": 86_400},
    "workflow": {"workflow_id": 1, "input": {"name": "{{trigger.name}}"}},
    "notification": {"type": "log", "message": "Done: {{trigger.name}}"},
}
_PLACEHOLDERS: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


def step_reference() -> list[dict[str, Any]]:
    """Return, for every step type by name: {type, title, aliases, effect, keys, snippet}."""
    return [_entry(kind) for kind in registry.all_types()]


@cache
def _entry(kind: Step[Any]) -> dict[str, Any]:
    schema = kind.config_model.model_json_schema()
    required = schema.get("required", [])
    keys = [
        {"name": name, "kind": _kind_text(value), "required": name in required, "default": _default_text(value)}
        for name, value in schema.get("properties", {}).items()
    ]
    config = EXAMPLES.get(kind.type) or {
        name: _PLACEHOLDERS.get(schema["properties"][name].get("type", ""), "") for name in required
    }
    return {
        "type": kind.type,
        "title": kind.title or kind.type,
        "aliases": ", ".join(kind.aliases),
        "effect": kind.effect,
        "output_keys": ", ".join(kind.output_keys),
        "keys": keys,
        "snippet": json.dumps({"name": kind.type, "type": kind.type, "config": config}, indent=2, ensure_ascii=False),
    }


def _kind_text(schema: dict[str, Any]) -> str:
    """Return what a key may hold, in the words of JSON Schema."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_kind_text(option) for option in schema["anyOf"] if option.get("type") != "null")
    if schema.get("type") == "array" and schema.get("items"):
        return f"list of {_kind_text(schema['items'])}"
    return str(schema.get("type", "any"))


def _default_text(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, "", {}, []) else json.dumps(default)
