"""Validation of a canonical definition: every problem at once, each with a JSON pointer (ENGINE 2).

What the contract lets pass, passes with a warning: an empty required text, an unknown reference.
"""

import difflib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any

from pydantic import ValidationError

from core.expressions import Reference, check, check_condition, condition_references, references
from workflows.choices import Effect
from workflows.engine.definition import DefinitionProblem, Severity
from workflows.engine.steps import registry
from workflows.engine.steps.base import Step

MOST_STEPS = 1000
MOST_DEPENDENCIES = 10_000
LONGEST_NAME = 255
LONGEST_PATH = 512
# An answer with more of them helps nobody, and a body can hold millions.
MOST_PROBLEMS = 100
# Guessing what was meant compares every pair of names; a definition this large is no typing mistake.
MOST_NAMES_TO_GUESS_FROM = 50
LONGEST_SHOWN = 80
LARGEST_INDEX = "9999"
CONDITIONALS = frozenset({"conditional", "condition"})


def problems_of(canonical: dict[str, Any]) -> list[DefinitionProblem]:
    """Return the problems of a canonical definition; pointers start at the stored `workflow_config`.

    At most MOST_PROBLEMS errors and as many warnings.
    """
    steps = canonical.get("steps")
    if not isinstance(steps, list):
        return [DefinitionProblem("/steps", "must be a list of steps", "type_error")]
    if not isinstance(canonical.get("variables"), dict):
        return [DefinitionProblem("/variables", "must be an object", "type_error")]
    last = canonical.get("finally")
    if (count := _count(steps) + _count(last if isinstance(last, list) else [])) > MOST_STEPS:
        return [DefinitionProblem("/steps", f"{count} steps; at most {MOST_STEPS} are allowed", "too_many_steps")]
    return _bounded(chain(_list_problems(steps, "/steps", known=set()), _final_problems(canonical, steps)))


def _final_problems(canonical: dict[str, Any], steps: list[Any]) -> Iterator[DefinitionProblem]:
    final = canonical.get("finally", [])
    if not isinstance(final, list):
        yield DefinitionProblem("/finally", "must be a list of steps", "type_error")
        return
    known = {str(step.get("name")) for step in steps if isinstance(step, dict)}
    yield from _list_problems(final, "/finally", known=known, prefix="finally/")
    error_workflow = canonical.get("settings", {}).get("error_workflow_id", 1)
    if isinstance(error_workflow, bool) or not isinstance(error_workflow, int) or error_workflow < 1:
        yield DefinitionProblem("/error_workflow_id", "must be the id of a workflow", "type_error")


def _bounded(problems: Iterator[DefinitionProblem]) -> list[DefinitionProblem]:
    """Collect up to MOST_PROBLEMS of either severity; enough errors end the search."""
    kept: list[DefinitionProblem] = []
    counts = {"error": 0, "warning": 0}
    for problem in problems:
        counts[problem.severity] += 1
        if counts[problem.severity] <= MOST_PROBLEMS:
            kept.append(problem)
        if counts["error"] >= MOST_PROBLEMS:
            break
    return kept


def _count(steps: list[Any]) -> int:
    """Count steps at every depth; an action that is one step counts for one."""
    inner = (branch for step in steps for branch in (*_actions(step).values(), _error_branch(step), _parts(step)))
    return len(steps) + sum(_count(_inner_steps(branch)) for branch in inner)


def _inner_steps(action: dict[str, Any]) -> list[Any]:
    if isinstance(action.get("steps"), list):
        return list(action["steps"])
    return [action] if action.get("type") else []


def _list_problems(steps: list[Any], pointer: str, *, known: set[str], prefix: str = "") -> Iterator[DefinitionProblem]:
    """Yield the problems of one list; `known` are the steps outside that have run before it, `prefix` their path."""
    names: list[str] = []
    for index, step in enumerate(steps):
        place = f"{pointer}/{index}"
        if not isinstance(step, dict):
            yield DefinitionProblem(place, "must be an object", "type_error")
            continue
        name = step["name"]
        yield from _name_problems(name, place, {*names, *known}, prefix)
        yield from _step_problems(step, place, steps, known | set(names), f"{prefix}{name}")
        names.append(str(name))
    if len(set(names)) == len(names):
        yield from _order_problems(steps, pointer)


def _name_problems(name: Any, place: str, taken: set[str], prefix: str) -> Iterator[DefinitionProblem]:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        yield DefinitionProblem(f"{place}/name", f"must be text of 1 to {LONGEST_NAME} characters", "name_invalid")
    elif "/" in name or "\x00" in name:
        yield DefinitionProblem(f"{place}/name", "must not contain '/' or U+0000", "name_invalid")
    elif name in taken:
        yield DefinitionProblem(f"{place}/name", f"the name {_shown(name)} is used twice", "duplicate_name")
    elif len(prefix) + len(name) > LONGEST_PATH:
        message = f"with the names of the steps around it, it is over {LONGEST_PATH} characters"
        yield DefinitionProblem(f"{place}/name", message, "name_invalid")


def _step_problems(
    step: dict[str, Any], place: str, siblings: list[Any], known: set[str], path: str
) -> Iterator[DefinitionProblem]:
    yield from _envelope_problems(step, place)
    kind = registry.find(step["type"]) if isinstance(step["type"], str) else None
    if kind is None:
        yield DefinitionProblem(f"{place}/type", _unknown_type(step["type"]), "unknown_type")
        yield from _rest_problems(step, place, known, path)
        return
    config = step["config"]
    if not isinstance(config, dict):
        yield DefinitionProblem(f"{place}/config", "must be an object", "type_error")
        return
    yield from _config_problems(kind, config, f"{place}/config")
    rendered = {key: value for key, value in config.items() if key not in kind.raw_keys}
    yield from _expression_problems(rendered, f"{place}/config", known)
    if step["type"] in CONDITIONALS:
        yield from _action_problems(step, place, siblings, known, path)
    elif step["type"] in ("parallel", "foreach"):
        yield from _part_problems(step, f"{place}/config/steps", known, path)
    yield from _beside_problems(step, place, known, path)


def _rest_problems(step: dict[str, Any], place: str, known: set[str], path: str) -> Iterator[DefinitionProblem]:
    """Yield what can be said of a step whose type nobody knows, so that it is mended in one go."""
    yield from _expression_problems(step["config"], f"{place}/config", known)
    yield from _beside_problems(step, place, known, path)


def _beside_problems(step: dict[str, Any], place: str, known: set[str], path: str) -> Iterator[DefinitionProblem]:
    """Check what stands beside a step's config: when it runs, and what follows a failure."""
    if "when" in step:
        yield from _when_problems(step["when"], f"{place}/when")
    yield from _on_error_problems(step, place, known, path)
    if "compensate" in step:
        yield from _compensate_problems(step, place, known, path)


def _compensate_problems(step: dict[str, Any], place: str, known: set[str], path: str) -> Iterator[DefinitionProblem]:
    undoing = step["compensate"]
    if not isinstance(undoing, dict):
        yield DefinitionProblem(f"{place}/compensate", "must be a step", "type_error")
    elif undoing.get("type") in (*CONDITIONALS, "parallel", "foreach", "stop"):
        message = f"must be a step of its own, not {_shown(undoing['type'])}"
        yield DefinitionProblem(f"{place}/compensate/type", message, "compensate_invalid")
    else:
        known = known | {str(step["name"])}
        yield from _step_problems(undoing, f"{place}/compensate", [], known, f"{path}/compensate")


def _on_error_problems(step: dict[str, Any], place: str, known: set[str], path: str) -> Iterator[DefinitionProblem]:
    steps = _error_branch(step).get("steps")
    if isinstance(steps, list) and steps:
        inside = known | {str(step["name"])}
        yield from _list_problems(steps, f"{place}/on_error/steps", known=inside, prefix=f"{path}/on_error/")
    elif step.get("on_error", "fail") not in ("fail", "continue"):
        message = "must be fail, continue, or a list of steps to run instead"
        yield DefinitionProblem(f"{place}/on_error", message, "on_error_invalid")


def _part_problems(step: dict[str, Any], place: str, known: set[str], path: str) -> Iterator[DefinitionProblem]:
    """Check the steps of a loop, or of each branch of a `parallel`: those of one see nothing of another's."""
    steps = step["config"].get("steps")
    if not isinstance(steps, list) or not steps:
        return  # the config's model says so
    inside = known | {str(step["name"])}
    if step["type"] == "foreach":
        yield from _list_problems(steps, place, known=inside, prefix=f"{path}/{LARGEST_INDEX}/")
        return
    names: set[str] = set()
    for index, part in enumerate(steps):
        where = f"{place}/{index}"
        if not isinstance(part, dict):
            yield DefinitionProblem(where, "must be an object", "type_error")
            continue
        yield from _name_problems(part["name"], where, inside | names, f"{path}/")
        names.add(str(part["name"]))
        if "steps" not in part or "type" in part:
            yield from _step_problems(part, where, [], inside, f"{path}/{part['name']}")
        elif isinstance(part["steps"], list) and part["steps"]:
            prefix = f"{path}/{part['name']}/"
            yield from _list_problems(part["steps"], f"{where}/steps", known=inside, prefix=prefix)
        else:
            yield DefinitionProblem(f"{where}/steps", "must be a list of steps", "type_error")


def _envelope_problems(step: dict[str, Any], place: str) -> Iterator[DefinitionProblem]:
    if (effect := step.get("effect")) is not None and effect not in list(Effect):
        yield DefinitionProblem(f"{place}/effect", f"must be one of {', '.join(Effect)}", "effect_invalid")
    for key, lowest, highest in (("max_retries", 0, 1000), ("timeout_seconds", 0.001, 366 * 86_400)):
        value = step.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            yield DefinitionProblem(f"{place}/{key}", "must be a number", "type_error")
        elif key == "max_retries" and value is not None and value != int(value):
            yield DefinitionProblem(f"{place}/{key}", "must be a whole number", "type_error")
        elif value is not None and not lowest <= value <= highest:
            yield DefinitionProblem(f"{place}/{key}", f"must be from {lowest} to {highest}", "out_of_range")
    if "retry" in step:
        yield from _retry_problems(step["retry"], f"{place}/retry")


def _retry_problems(retry: Any, place: str) -> Iterator[DefinitionProblem]:
    if not isinstance(retry, dict):
        yield DefinitionProblem(place, "must be an object", "type_error")
        return
    for key in ("max_attempts", "initial_interval", "backoff", "max_interval"):
        value = retry.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:  # noqa: PLR2004
            yield DefinitionProblem(f"{place}/{key}", "must be a number from 0 to 86400", "out_of_range")


def _config_problems(kind: Step[Any], config: dict[str, Any], place: str) -> Iterator[DefinitionProblem]:
    """Check a config against the step type's model, leaving out values that an expression will give."""
    try:
        kind.config_model.model_validate(config)
    except ValidationError as error:
        for item in error.errors():
            # What is never filled in, such as a conditional's actions, cannot become right by an expression.
            if set(item["loc"][:1]) & kind.raw_keys or not _holds_expression(item.get("input")):
                where = "/".join(map(str, item["loc"]))
                yield DefinitionProblem(f"{place}/{where}", item["msg"], "config_invalid")
    if kind.type == "http_request" and not config.get("url"):
        yield DefinitionProblem(f"{place}/url", "is empty: the step will fail when it runs", "empty_value", "warning")


def _expression_problems(rendered: Any, place: str, known: set[str]) -> Iterator[DefinitionProblem]:
    for problem in check(rendered):
        where = "".join(f"/{part}" for part in problem.path)
        message = f"bad expression at column {problem.column}: {problem.message}"
        yield DefinitionProblem(f"{place}{where}", message, "bad_expression")
    yield from _reference_problems(references(rendered), place, known)


def _reference_problems(found: list[Reference], place: str, known: set[str]) -> Iterator[DefinitionProblem]:
    for root, path in found:
        name = path.split(".")[1] if root == "steps" and "." in path else None
        if name is not None and name not in known:
            message = f"{_short(path)} names a step that cannot have run before this one{_guess(name, known)}"
            yield DefinitionProblem(place, message, "unknown_reference", "warning")
            known = set()  # One guess for each step.


def _action_problems(
    step: dict[str, Any], place: str, siblings: list[Any], known: set[str], path: str
) -> Iterator[DefinitionProblem]:
    config = step["config"]
    if config.get("condition") is not None:
        yield from _condition_problems(config["condition"], f"{place}/config/condition")
        yield from _reference_problems(condition_references(config["condition"]), f"{place}/config/condition", known)
    for key, action in _actions(step).items():
        where = f"{place}/config/{key}"
        if "skip_to_step" in action:
            yield from _skip_problems(step, action["skip_to_step"], siblings, f"{where}/skip_to_step")
        elif isinstance(action.get("steps"), list):
            inside = known | {str(step["name"])}
            yield from _list_problems(action["steps"], f"{where}/steps", known=inside, prefix=f"{path}/")
        elif "steps" in action:
            yield DefinitionProblem(f"{where}/steps", "must be a list of steps", "type_error")
        elif action:
            inner = {"type": None, "config": {}, "name": key.removesuffix("_action"), **action}
            yield from _name_problems(inner["name"], where, known, f"{path}/")
            yield from _step_problems(inner, where, [], known, f"{path}/{inner['name']}")


def _skip_problems(step: dict[str, Any], target: Any, siblings: list[Any], place: str) -> Iterator[DefinitionProblem]:
    position = next((index for index, item in enumerate(siblings) if item is step), len(siblings))
    later = [item["name"] for item in siblings[position + 1 :] if isinstance(item, dict)]
    if target not in later:
        yield DefinitionProblem(place, f"{_shown(target)} is not a later step of the same list", "unknown_step")


def _condition_problems(condition: Any, place: str) -> Iterator[DefinitionProblem]:
    for problem in check_condition(condition):
        message = f"bad condition at column {problem.column}: {problem.message}"
        # Contract 13.4: an unknown operator fails the step when it runs, so the save only warns.
        named = isinstance(condition, dict) and isinstance(condition.get("operator", condition.get("type")), str)
        severity: Severity = "warning" if named and problem.code == "unknown_operator" else "error"
        yield DefinitionProblem(place, message, "bad_condition", severity)


def _when_problems(condition: Any, place: str) -> Iterator[DefinitionProblem]:
    if isinstance(condition, str | bool | dict):
        yield from _condition_problems(condition, place)
    else:
        yield DefinitionProblem(place, "must be a condition: text, an object, or true or false", "type_error")


def _order_problems(steps: list[Any], pointer: str) -> Iterator[DefinitionProblem]:
    """Check `depends_on`: names of this list, no cycle."""
    names = {str(step["name"]) for step in steps if isinstance(step, dict)}
    needs: dict[str, set[str]] = {}
    above: str | None = None
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            continue
        wanted = step.get("depends_on", [above] if above else [])
        above = str(step["name"])
        if not isinstance(wanted, list) or not all(isinstance(item, str) for item in wanted):
            yield DefinitionProblem(f"{pointer}/{index}/depends_on", "must be a list of step names", "type_error")
            continue
        for name in set(wanted) - names:
            message = f"no step is called {_shown(name)}"
            yield DefinitionProblem(f"{pointer}/{index}/depends_on", message, "unknown_step")
        needs[above] = set(wanted) & names
    if (count := sum(map(len, needs.values()))) > MOST_DEPENDENCIES:
        message = f"{count} dependencies between steps; at most {MOST_DEPENDENCIES} are allowed"
        yield DefinitionProblem(pointer, message, "too_many_dependencies")
        return
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = _short(", ".join(sorted(set(error.args[1]))))
        yield DefinitionProblem(pointer, f"the steps {circle} wait for each other in a circle", "cycle")


def _actions(step: Any) -> dict[str, dict[str, Any]]:
    config = step.get("config") if isinstance(step, dict) else None
    if not isinstance(config, dict):
        return {}
    keys = ("true_action", "false_action")
    return {key: config[key] for key in keys if isinstance(config.get(key), dict)}


def _parts(step: Any) -> dict[str, Any]:
    """Return the config of a `parallel` or `foreach`, which holds its steps."""
    if not isinstance(step, dict) or step.get("type") not in ("parallel", "foreach"):
        return {}
    config = step.get("config")
    return config if isinstance(config, dict) else {}


def _error_branch(step: Any) -> dict[str, Any]:
    branch = step.get("on_error") if isinstance(step, dict) else None
    return branch if isinstance(branch, dict) else {}


def _holds_expression(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def _unknown_type(type_name: Any) -> str:
    if not isinstance(type_name, str):
        return "type is required"
    near = difflib.get_close_matches(type_name[:LONGEST_SHOWN], registry.names(), n=1)
    return f"unknown step type {_shown(type_name)}" + (f"; did you mean {near[0]!r}?" if near else "")


def _guess(name: str, known: set[str]) -> str:
    if len(known) > MOST_NAMES_TO_GUESS_FROM or len(name) > LONGEST_SHOWN:
        return ""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: Any) -> str:
    """Quote a value of the caller's in a message, cut to a readable length."""
    return _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
