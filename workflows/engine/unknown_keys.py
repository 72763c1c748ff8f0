"""Keys of a definition that nothing reads: most are typing mistakes. A save warns of them and stays lenient.

Read from the document as it was received; the canonical form no longer has them.
"""

import difflib
from collections.abc import Iterator, Set
from functools import cache
from typing import Any

from pydantic import AliasChoices, AliasPath

from workflows.engine.definition import STEP_KEYS, DefinitionProblem
from workflows.engine.steps import registry
from workflows.engine.steps.base import Step

DOCUMENT_KEYS = frozenset({"steps", "variables", "finally", "strict_expressions", "error_workflow_id"})
# What editors and exports keep beside the steps; it comes back unchanged (ENGINE 2).
EDITOR_KEYS = frozenset(
    {
        *("position", "data", "label", "title", "description", "comment", "comments", "note", "notes", "metadata"),
        *("ui", "nodes", "edges", "viewport", "tags", "version", "author", "format"),
    }
)
# In a document these are columns of the workflow that clients repeat.
REPEATED_KEYS = frozenset({"name", "id", "trigger", "triggers", "settings", "timeout_seconds", "max_retries"})
ACTIONS = ("true_action", "false_action")
ACTION_KEYS = STEP_KEYS | {"steps", "skip_to_step"}
MOST_PROBLEMS = 100
# Deeper than the validation allows steps to stand.
MOST_DEPTH = 100
LONGEST_SHOWN = 80


def problems_of(document: dict[str, Any]) -> list[DefinitionProblem]:
    """Return a warning for each key of a `workflow_config` that nothing reads, MOST_PROBLEMS at most."""
    found = _document_problems(document)
    return [problem for _, problem in zip(range(MOST_PROBLEMS), found, strict=False)]


def _document_problems(document: dict[str, Any]) -> Iterator[DefinitionProblem]:
    yield from _strange(document, "", DOCUMENT_KEYS, REPEATED_KEYS)
    for key in ("steps", "finally"):
        yield from _list_problems(document.get(key), f"/{key}", 0)


def _list_problems(steps: Any, pointer: str, depth: int) -> Iterator[DefinitionProblem]:
    if not isinstance(steps, list) or depth > MOST_DEPTH:
        return
    for index, step in enumerate(steps):
        if isinstance(step, dict):
            yield from _step_problems(step, f"{pointer}/{index}", depth + 1)


def _step_problems(
    step: dict[str, Any], place: str, depth: int, *, own: Set[str] = STEP_KEYS
) -> Iterator[DefinitionProblem]:
    kind = registry.find(step["type"]) if isinstance(step.get("type"), str) else None
    read = config_keys(kind) if kind is not None else None
    config = step.get("config")
    if isinstance(config, dict):
        yield from _strange(step, place, own, config_only=read or frozenset())
        if read is not None:
            yield from _strange(config, f"{place}/config", read)
        yield from _inner_problems(config, f"{place}/config", depth)
    elif config is None:
        # Without `config`, its keys stand in the step itself (contract 13.2).
        if read is not None:
            yield from _strange(step, place, own | read)
        yield from _inner_problems(step, place, depth)
    yield from _branch_problems(step.get("on_error"), f"{place}/on_error", depth)
    if isinstance(undoing := step.get("compensate"), dict):
        yield from _step_problems(undoing, f"{place}/compensate", depth + 1)


def _inner_problems(config: dict[str, Any], place: str, depth: int) -> Iterator[DefinitionProblem]:
    """Look into the steps that a step's config holds: of a loop, of branches, of a conditional's actions."""
    for key in ("steps", "parallel_steps"):
        if branches := _branches(config.get(key)):
            for index, part in enumerate(branches):
                yield from _strange(part, f"{place}/{key}/{index}", frozenset({"name", "steps"}))
                yield from _list_problems(part.get("steps"), f"{place}/{key}/{index}/steps", depth + 1)
        else:
            yield from _list_problems(config.get(key), f"{place}/{key}", depth)
    for key in ACTIONS:
        yield from _branch_problems(config.get(key), f"{place}/{key}", depth, own=ACTION_KEYS)


def _branches(items: Any) -> list[dict[str, Any]]:
    """Return the named lists of steps that a `parallel` holds; none if it holds steps."""
    found = items if isinstance(items, list) else []
    named = all(isinstance(item, dict) and "steps" in item and "type" not in item for item in found)
    return found if named else []


def _branch_problems(
    branch: Any, place: str, depth: int, *, own: Set[str] = STEP_KEYS | {"steps"}
) -> Iterator[DefinitionProblem]:
    """Look into an action or an error branch: a list of steps, {"steps": [...]}, or one step."""
    if isinstance(branch, list):
        yield from _list_problems(branch, place, depth)
    elif isinstance(branch, dict) and depth <= MOST_DEPTH:
        if "type" in branch:
            yield from _step_problems(branch, place, depth + 1, own=own)
        else:
            yield from _strange(branch, place, own)
            yield from _list_problems(branch.get("steps"), f"{place}/steps", depth)


def _strange(
    given: dict[str, Any],
    place: str,
    known: Set[str],
    allowed: Set[str] = frozenset(),
    *,
    config_only: Set[str] = frozenset(),
) -> Iterator[DefinitionProblem]:
    for key in given:
        if key in known or key in EDITOR_KEYS or key in allowed or key[:1] in ("_", "$") or key.startswith("x-"):
            continue
        hint = "; put it into `config`" if key in config_only else _guess(key, known)
        message = f"nothing reads the key {_shown(key)} here{hint}"
        yield DefinitionProblem(f"{place}/{key}", message, "unknown_key", "warning")


def _guess(key: str, known: Set[str]) -> str:
    near = difflib.get_close_matches(key[:LONGEST_SHOWN], sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


@cache
def config_keys(kind: Step[Any]) -> Set[str] | None:
    """Return every key that a step type's config reads, aliases too; None if it takes whatever is given."""
    model = kind.config_model
    if model.model_config.get("extra") == "allow":
        return None
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        keys.add(name)
        given = field.validation_alias or field.alias
        for alias in given.choices if isinstance(given, AliasChoices) else [given]:
            keys.add(str(alias.path[0]) if isinstance(alias, AliasPath) else alias or name)
    return frozenset(keys)


def _shown(key: str) -> str:
    text = repr(key)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
