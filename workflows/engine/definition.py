"""Reading a workflow's request body, in any dialect, into fields and the canonical definition (contract 1.1, 5).

The document is stored as it was received and answered in the dialect that was asked; the engine runs the
canonical form only: {"format": 1, "steps": [...], "variables": {...}, "settings": {...}}.
"""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from core.errors import InvalidInput, Problem
from workflows.choices import Dialect, WorkflowStatus
from workflows.engine.file_triggers import read_triggers
from workflows.models import Workflow
from workflows.schedule import BAD_CRON, LONGEST_CRON, is_cron

FORMAT = 1
LONGEST_EXTENSIONS = 255
# Every worker keeps hundreds of definitions in memory, and each is parsed and checked inside a request.
LONGEST_DOCUMENT = 1024 * 1024
STEP_KEYS = frozenset(
    {
        "name",
        "id",
        "type",
        "config",
        "when",
        "depends_on",
        "retry",
        "max_retries",
        "timeout_seconds",
        "on_error",
        "continue_on_error",
        "effect",
        "compensate",
    }
)
CLEARED_BY_ZERO = ("concurrency_limit", "retention_days", "retention_failed_days", "retention_count")
CANONICAL_KEYS = ("when", "depends_on", "retry", "max_retries", "timeout_seconds", "on_error", "effect", "compensate")


# Documented here, held by check_cron: its words are the contract's.
CronText = Annotated[str, WithJsonSchema({"type": "string", "maxLength": LONGEST_CRON})]


class WorkflowIn(BaseModel):
    """The union of the request bodies of dialects A, B and C; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)

    name: str | None = Field(default=None, min_length=1, max_length=255)
    description: str | None = None
    workflow_config: dict[str, Any] | None = None
    trigger_config: dict[str, Any] | None = None
    cron_schedule: CronText | None = None
    is_scheduled: bool | None = None
    trigger_on_file_upload: bool | None = None
    trigger_file_extensions: str | None = Field(default=None, max_length=LONGEST_EXTENSIONS)
    is_enabled: bool | None = None
    strict_expressions: bool | None = None
    status: Literal["active", "inactive", "paused"] | None = None
    max_retries: int | None = Field(default=None, ge=0, le=1000)
    timeout_seconds: int | None = Field(default=None, ge=1, le=366 * 86_400)
    concurrency_limit: int | None = Field(default=None, ge=0, le=10_000)
    concurrency_key: str | None = Field(default=None, max_length=255)
    concurrency_policy: Literal["queue", "skip", "cancel_running"] | None = None
    release_slot_while_waiting: bool | None = None
    retention_days: int | None = Field(default=None, ge=0, le=36_500)
    retention_failed_days: int | None = Field(default=None, ge=0, le=36_500)
    retention_count: int | None = Field(default=None, ge=0, le=1_000_000)
    # Dialect B
    trigger_type: Literal["manual", "scheduled", "webhook", "event"] | None = None
    steps: list[dict[str, Any]] | None = None
    enabled: bool | None = None
    # Dialect C
    config: dict[str, Any] | None = None
    cron_expression: CronText | None = None
    triggers: list[dict[str, Any]] | None = None

    @field_validator("steps", "triggers", mode="before")
    @classmethod
    def only_objects(cls, value: Any) -> Any:
        """Stop at the first wrong item: a body can hold a million of them, and pydantic would list them all."""
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if not isinstance(item, dict):
                raise PydanticCustomError("dict_type", "item {index} must be an object", {"index": index})
        return value


Severity = Literal["error", "warning"]


@dataclass
class DefinitionProblem:
    """One thing wrong with a definition: a JSON pointer, a sentence, a code; warnings do not stop a save."""

    pointer: str
    message: str
    code: str
    severity: Severity = "error"


@dataclass
class Draft:
    """What a body asks for: columns to set, the dialect, the document as received."""

    dialect: Dialect
    fields: dict[str, Any]
    source: str
    problems: list[DefinitionProblem] = field(default_factory=list)


def read(body: dict[str, Any], *, current: Workflow | None = None) -> Draft:
    """Read a create body, or with `current` an update that holds only what changes.

    Raises InvalidInput naming every field that is wrong.
    """
    source = json.dumps(body, ensure_ascii=False)
    if len(source) > LONGEST_DOCUMENT:
        raise _refusal(f"{len(source)} characters; at most {LONGEST_DOCUMENT} are allowed", kind="document_too_large")
    try:
        given = WorkflowIn.model_validate(body)
    except ValidationError as error:
        raise InvalidInput("Invalid workflow: " + _summary(error), problems=_problems(error)) from error
    dialect = dialect_of(body, current)
    values = {name: value for name, value in given.model_dump().items() if value is not None}
    fields = {"A": _fields_a, "B": _fields_b, "C": _fields_c}[dialect](values, current)
    # Null leaves a field as it is (contract 5), so 0 is what takes a limit away.
    fields |= {name: None for name in CLEARED_BY_ZERO if fields.get(name) == 0}
    _refuse_odd_trigger(values)
    if current is None:
        _require(given, fields)
        fields = _defaults() | fields
    elif fields.get("workflow_config") == {}:
        raise _refusal("Workflow configuration is required", "workflow_config", kind="missing")
    if cron := fields.get("cron_schedule"):
        check_cron(cron)
    return Draft(dialect=dialect, fields=fields | {"dialect": dialect}, source=source)


def dialect_of(body: dict[str, Any], current: Workflow | None = None) -> Dialect:
    """Tell the dialect by the body alone (contract 1.1); an update without a sign keeps the stored one."""
    if body.get("workflow_config") is not None:
        return Dialect.A
    if body.get("trigger_type") is not None or body.get("steps") is not None:
        return Dialect.B
    if body.get("config") is not None or body.get("triggers") is not None:
        return Dialect.C
    return Dialect(current.dialect) if current is not None else Dialect.A


def canonical(workflow: Workflow) -> dict[str, Any]:
    """Return the canonical definition of what the workflow's columns hold."""
    config = workflow.workflow_config
    return {
        "format": FORMAT,
        "steps": _canonical_steps(config.get("steps", [])),
        **({"finally": _canonical_steps(config["finally"], unnamed="finally")} if config.get("finally") else {}),
        "variables": {} if config.get("variables") is None else config["variables"],
        "settings": {
            "max_retries": workflow.max_retries,
            "timeout_seconds": workflow.timeout_seconds,
            "timeout_is_explicit": workflow.timeout_is_explicit,
            "strict_expressions": bool(config.get("strict_expressions", workflow.strict_expressions)),
            **({"release_slot_while_waiting": True} if workflow.release_slot_while_waiting else {}),
            **({"error_workflow_id": config["error_workflow_id"]} if config.get("error_workflow_id") else {}),
        },
    }


def _canonical_steps(steps: Any, *, unnamed: str = "step") -> Any:
    if not isinstance(steps, list):
        return steps
    return [canonical_step(step, index, unnamed=unnamed) for index, step in enumerate(steps)]


def canonical_step(step: Any, index: int, *, unnamed: str = "step") -> Any:
    """Return one step in canonical form; what is no object is left for the validation to refuse."""
    if not isinstance(step, dict):
        return step
    # Only what is absent is replaced: a name of a wrong type is for the validation to refuse.
    names = (step[key] for key in ("name", "id") if step.get(key) not in (None, ""))
    made = {
        "name": next(names, f"{unnamed}_{index}"),
        "type": step.get("type"),
        "config": _canonical_config(step.get("type"), _config_of(step)),
    }
    made |= {key: step[key] for key in CANONICAL_KEYS if step.get(key) is not None}
    if isinstance(step.get("compensate"), dict):
        made["compensate"] = canonical_step({"name": "compensate", **step["compensate"]}, index)
    if step.get("continue_on_error"):
        made["on_error"] = "continue"
    elif isinstance(step.get("on_error"), list | dict):
        made["on_error"] = _canonical_on_error(step["on_error"])
    return made


def _canonical_on_error(branch: list[Any] | dict[str, Any]) -> dict[str, Any]:
    """Return an error branch as {"steps": [...]}; it may also be given as the bare list, or as one step."""
    steps = branch.get("steps", [branch] if branch else []) if isinstance(branch, dict) else branch
    return {"steps": _canonical_steps(steps, unnamed="on_error")}


def check_cron(expression: Any) -> None:
    """Raise InvalidInput unless `expression` is a cron expression by the rule of all doors, `schedule.is_cron`."""
    if not isinstance(expression, str) or not is_cron(expression):
        raise InvalidInput(BAD_CRON, problems=[Problem(("body", "cron_schedule"), BAD_CRON)])


def _config_of(step: dict[str, Any]) -> Any:
    """Return a step's config: the keys beside the envelope's where there is no `config` (contract 13.2)."""
    if step.get("config") is not None:
        return step["config"]
    return {key: value for key, value in step.items() if key not in STEP_KEYS}


def _canonical_config(kind: Any, config: Any) -> Any:
    """Canonicalise the steps inside a conditional's actions, a `parallel` or a `foreach` too."""
    if not isinstance(config, dict):
        return config
    if kind in ("parallel", "foreach"):
        rest = {key: value for key, value in config.items() if key not in ("steps", "parallel_steps")}
        steps = config.get("steps", config.get("parallel_steps"))
        return {**rest, "steps": _canonical_parts(steps) if kind == "parallel" else _canonical_steps(steps)}
    actions = {key: config[key] for key in ("true_action", "false_action") if isinstance(config.get(key), dict)}
    return {**config, **{key: _canonical_action(action) for key, action in actions.items()}}


def _canonical_action(action: dict[str, Any]) -> dict[str, Any]:
    """Canonicalise an action's list of steps, or the action that is itself one step."""
    if isinstance(action.get("steps"), list):
        return {**action, "steps": _canonical_steps(action["steps"])}
    if "type" not in action or "steps" in action or "skip_to_step" in action:
        return action
    kept = {key: value for key, value in action.items() if key in STEP_KEYS and value is not None}
    return {**kept, "config": _canonical_config(action["type"], _config_of(action))}


def _canonical_parts(parts: Any) -> Any:
    """Canonicalise the items of a `parallel`: steps, or named lists of steps."""
    if not isinstance(parts, list):
        return parts
    return [
        {"name": part.get("name") or f"branch_{index}", "steps": _canonical_steps(part["steps"])}
        if isinstance(part, dict) and "steps" in part and "type" not in part
        else canonical_step(part, index)
        for index, part in enumerate(parts)
    ]


def _fields_a(values: dict[str, Any], current: Workflow | None) -> dict[str, Any]:
    names = set(WorkflowIn.model_fields) - {"steps", "enabled", "config", "cron_expression", "triggers"}
    fields = {name: value for name, value in values.items() if name in names}
    if "enabled" in values:
        # Every answer shows both names: whoever switches off by the other one must not be left running.
        fields.setdefault("is_enabled", values["enabled"])
    return _with_timeout(fields)


def _fields_b(values: dict[str, Any], current: Workflow | None) -> dict[str, Any]:
    fields = _fields_a(values, current) | _schedule_b(values, current)
    if "steps" in values:
        # The dialect has no names for what else the definition holds (variables, finally): it stays.
        kept = current.workflow_config if current is not None else {}
        fields["workflow_config"] = {**kept, "steps": values["steps"]}
    if "enabled" in values:
        fields["is_enabled"] = values["enabled"]
    return fields


def _schedule_b(values: dict[str, Any], current: Workflow | None) -> dict[str, Any]:
    """Return what dialect B's one trigger says of the schedule: on with `scheduled`, off with another type."""
    kind = values.get("trigger_type")
    if kind is not None and kind != "scheduled":
        return {"is_scheduled": values.get("is_scheduled", False)}
    fields: dict[str, Any] = {"is_scheduled": True} if kind else {}
    if not kind and (current is None or current.trigger_type != "scheduled"):
        return fields
    cron = (values.get("trigger_config") or {}).get("cron")
    if not cron and current is not None and not current.cron_schedule:
        cron = (current.trigger_config or {}).get("cron")
    return fields | ({"cron_schedule": cron} if cron else {})


def _fields_c(values: dict[str, Any], current: Workflow | None) -> dict[str, Any]:
    fields = _fields_a(values, current)
    if "config" in values:
        fields["workflow_config"] = values["config"]
    if "cron_expression" in values:
        fields |= {"cron_schedule": values["cron_expression"], "is_scheduled": True}
    return fields | _triggers_c(values, current) if "triggers" in values else fields


def _triggers_c(values: dict[str, Any], current: Workflow | None) -> dict[str, Any]:
    """Return what dialect C's list of triggers says; one without file triggers switches them off."""
    kept = values.get("trigger_config") or (current.trigger_config if current is not None else None) or {}
    fields: dict[str, Any] = {"trigger_config": {**kept, "triggers": values["triggers"]}}
    if wanted := [trigger.extensions for trigger in read_triggers(values["triggers"], "triggers")]:
        return fields | {"trigger_on_file_upload": True, "trigger_file_extensions": _union(wanted)}
    return fields | {"trigger_on_file_upload": values.get("trigger_on_file_upload", False)}


def _union(extensions: list[str]) -> str | None:
    """Return the extensions of all file triggers as the column holds them. Raises InvalidInput.

    One trigger without extensions takes every file; each trigger's own conditions are held at the file.
    """
    if not all(extensions):
        return None
    union = ",".join(dict.fromkeys(extensions))
    if len(union) > LONGEST_EXTENSIONS:
        message = f"file_extensions must have at most {LONGEST_EXTENSIONS} characters together"
        raise _refusal(message, "triggers", kind="string_too_long")
    return union


def _refuse_odd_trigger(values: dict[str, Any]) -> None:
    """Refuse a trigger_config whose type is no text or whose triggers cannot be read. Raises InvalidInput."""
    config = values.get("trigger_config") or {}
    if not isinstance(config.get("type"), str | None):
        raise _refusal("trigger_config.type must be text", "trigger_config", "type", kind="string_type")
    if config.get("triggers") is not None:
        read_triggers(config["triggers"], "trigger_config", "triggers")


def _refusal(message: str, *place: str, kind: str) -> InvalidInput:
    return InvalidInput(f"Invalid workflow: {message}", problems=[Problem(("body", *place), message, kind)])


def _with_timeout(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"timeout_is_explicit": True} if "timeout_seconds" in fields else fields


def _defaults() -> dict[str, Any]:
    return {
        "max_retries": settings.MAX_WORKFLOW_RETRIES,
        "timeout_seconds": settings.DEFAULT_WORKFLOW_TIMEOUT_SECONDS,
        "status": WorkflowStatus.ACTIVE,
    }


def _require(given: WorkflowIn, fields: dict[str, Any]) -> None:
    problems = []
    if given.name is None:
        problems.append(Problem(("body", "name"), "Field required", "missing"))
    if not fields.get("workflow_config") and given.trigger_type is None:
        problems.append(Problem(("body", "workflow_config"), "Workflow configuration is required", "missing"))
    if problems:
        names = ", ".join(str(problem.loc[-1]) for problem in problems)
        raise InvalidInput(f"Invalid workflow: {names}: {problems[0].msg}", problems=problems)


def _problems(error: ValidationError) -> list[Problem]:
    return [Problem(("body", *item["loc"]), item["msg"], item["type"]) for item in error.errors()]


def _summary(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
