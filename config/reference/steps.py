"""The page on step types: what each takes and gives, from its class and its config's model."""

import re
import sys
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from config.reference import examples
from config.reference.expressions import Incomplete
from config.reference.markdown import block, code, page, sentence, table
from core.egress import CODES as EGRESS_CODES
from notifications.errors import DeliveryFailed
from workflows.choices import Effect
from workflows.engine import transformations
from workflows.engine.definition import STEP_KEYS
from workflows.engine.steps import registry
from workflows.engine.steps.base import Step
from workflows.engine.validation import problems_of

ENVELOPE = {
    "name": "unique in its list; `step_0`, `step_1` … where missing",
    "id": "another spelling of `name`",
    "type": "one of the types below",
    "config": "what the type takes; where it is missing, the step's other keys are it",
    "when": "a condition; where it does not hold, the step is skipped",
    "depends_on": "names of steps of the same list that have to run first; without it, the step above",
    "max_retries": "further attempts after a failure that may pass, after 1, 2, 4 s …; default: the workflow's",
    "retry": "the whole policy: `max_attempts`, `initial_interval`, `backoff`, `max_interval`",
    "timeout_seconds": "of one attempt",
    "on_error": '`fail` (default), `continue`, or `{"steps": [...]}`: what runs instead',
    "continue_on_error": "true is another spelling of `on_error: continue`",
    "effect": "what repeating it does outside: `pure`, `idempotent` or `once`; default: the type's",
    "compensate": "a step that undoes this one, should the execution fail, time out or be cancelled after it completed",
}
DOCUMENT = {
    "steps": "the list",
    "variables": "values that expressions read as `{{variables.name}}`",
    "finally": "steps that run whatever came of the others; they see how it ends as `{{outcome.status}}`",
    "error_workflow_id": "the workflow that is started when an execution fails or times out",
    "strict_expressions": "true: an unknown name fails its step",
}
EFFECTS = {
    Effect.PURE: "no effect outside; a crash may run it again and nobody can tell",
    Effect.IDEMPOTENT: "a crash or a retry may repeat it, with the same `Idempotency-Key` or Message-ID",
    Effect.ONCE: "never repeated where it may have happened: the step then ends `outcome_unknown`",
}
ERROR_CODES = {
    "http_request": [f"http_{code}" for code in sorted(EGRESS_CODES)] + ["http_status_<status>"],
    "notification": [f"http_{code}" for code in sorted(EGRESS_CODES)]
    + ["http_status_<status>", *sorted(DeliveryFailed.CODES)],
}

# Where a docstring says which part of the wire contract it follows.
_SOURCE = re.compile(r" \(contract [\d., ]+\)")


def steps_page() -> str:
    """Return the page. Raises Incomplete where a type lacks an example or an example has a problem."""
    if different := set(ENVELOPE) ^ STEP_KEYS:
        raise Incomplete(f"keys of a step that this page and the code do not both know: {sorted(different)}")
    return page(
        "Steps",
        "A workflow's `workflow_config.steps` is a list of these. The same as JSON Schema: "
        "`GET /api/v1/workflows/step-types`. Texts may hold [expressions](expressions.md).",
        "## Keys of every step",
        table(("key", "meaning"), ([code(name), text] for name, text in ENVELOPE.items())),
        "## Effect classes",
        table(("class", "meaning"), ([code(str(name)), text] for name, text in EFFECTS.items())),
        "## Beside the steps",
        table(("key of `workflow_config`", "meaning"), ([code(name), text] for name, text in DOCUMENT.items())),
        *(part for kind in registry.all_types() if is_ours(kind) for part in _parts(kind)),
    )


def is_ours(kind: Step[Any]) -> bool:
    """Tell whether the product brings the type; those of other apps and modules are documented there."""
    return type(kind).__module__.startswith("workflows.engine.steps.")


def _parts(kind: Step[Any]) -> list[str]:
    aliases = f" (also {', '.join(map(code, kind.aliases))})" if kind.aliases else ""
    lane = code(str(kind.lane)) if kind.lane else "whichever it is on"
    outputs = ", ".join(map(code, kind.output_keys)) or "none"
    example = {"name": "example", "type": kind.type, "config": _example(kind)}
    parts = [
        f"## {kind.type}{aliases}",
        _about(kind),
        f"Effect class {code(str(kind.effect))}; lane {lane}. Output: {outputs}.",
        table(("config key", "may hold", "default"), _config_rows(kind)),
    ]
    if kind.type == "data_transform":
        rows = ([code(name), sentence(function.__doc__)] for name, function in transformations.KINDS.items())
        parts.append(table(("transformation", "what it does"), rows))
    if codes := ERROR_CODES.get(kind.type):
        parts.append(f"Error codes beside the general ones: {', '.join(map(code, codes))}.")
    return [*parts, block(example)]


def _about(kind: Step[Any]) -> str:
    """Return what the type's module and class say about it, without the name that is the heading."""
    text = _SOURCE.sub("", sentence(sys.modules[type(kind).__module__].__doc__))
    _, _, rest = text.partition(": ")
    about = rest[:1].upper() + rest[1:]
    return f"{about} {sentence(type(kind).__doc__)}".strip() if type(kind).__doc__ else about


def _example(kind: Step[Any]) -> dict[str, Any]:
    config = examples.STEPS.get(kind.type)
    if config is None:
        raise Incomplete(f"config/reference/examples.py has no example of the step {kind.type!r}")
    steps = [{"name": "example", "type": kind.type, "config": config}]
    if problems := problems_of({"format": 1, "steps": steps, "variables": {}}):
        raise Incomplete(f"the example of the step {kind.type!r}: {problems[0].message}")
    return config


def _config_rows(kind: Step[Any]) -> list[list[str]]:
    properties = kind.config_model.model_json_schema().get("properties", {})
    others = {
        names[0]: names[1:] for names in map(_spellings, *zip(*kind.config_model.model_fields.items(), strict=True))
    }
    return [
        [" or ".join(map(code, [name, *others.get(name, [])])), _kind_text(schema), _default_text(schema)]
        for name, schema in properties.items()
    ]


def _spellings(name: str, field: FieldInfo) -> list[str]:
    match field.validation_alias:
        case AliasChoices(choices=choices):
            return [str(choice) for choice in choices]
        case str(alias):
            return [alias]
        case _:
            return [name]


def _kind_text(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    if "anyOf" in schema:
        return " or ".join(_kind_text(option) for option in schema["anyOf"] if option.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_kind_text(schema.get('items', {}))}"
    return {"string": "text", "object": "object", "boolean": "true or false"}.get(
        str(schema.get("type")), str(schema.get("type", "anything"))
    )


def _default_text(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, "", {}, []) else code(default)
