"""What must hold after every run, judged from the outside.

The oracle knows what it was promised (ids of 200 answers), what the outside world felt (the effect server's
record), and what the API tells. It never looks into the database.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from tests.chaos import scenario
from tests.chaos.effects import UNCLEAR, Effect

FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})


class Invariant(StrEnum):
    """What can be broken."""

    LOST = "lost"
    STUCK = "stuck"
    DOUBLED = "doubled"
    KEY = "key changed"
    ORDER = "order"
    WRONG_END = "wrong end"
    WRONG_RESULT = "wrong result"
    STARTED_TWICE = "started twice"
    SLOW = "slow answer"


@dataclass(frozen=True)
class Violation:
    """One broken invariant, with what a person needs to look into it."""

    invariant: Invariant
    sentence: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.sentence}"


@dataclass
class Promises:
    """What the product has accepted in a run: number of the start -> execution id, file id -> marker."""

    started: dict[int, int] = field(default_factory=dict)
    uploaded: dict[int, str] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        return len(self.started) + len(self.uploaded)


@dataclass
class Seen:
    """What the API and the effect server tell at the end of a run. `died` says whether a process was killed."""

    executions: list[dict[str, Any]]
    steps: dict[int, list[dict[str, Any]]]
    effects: list[Effect]
    died: bool


def missing(promises: Promises, executions: list[dict[str, Any]]) -> list[str]:
    """Return what was promised and is not there: executions by id, uploads by the execution they start."""
    ids = {execution["id"] for execution in executions}
    by_upload = {item["input_file_ids"][0] for item in executions if item["trigger_type"] == "file_upload"}
    gone = [f"execution {execution_id}" for execution_id in promises.started.values() if execution_id not in ids]
    return gone + [f"the execution of file {file_id}" for file_id in promises.uploaded if file_id not in by_upload]


def unfinished(executions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the executions that have not ended."""
    return [execution for execution in executions if execution["status"] not in FINAL]


def judge(promises: Promises, seen: Seen) -> list[Violation]:
    """Return every broken invariant of a run whose executions have had the time to end."""
    found = [Violation(Invariant.LOST, sentence) for sentence in missing(promises, seen.executions)]
    found += [
        Violation(Invariant.STUCK, f"execution {item['id']} is {item['status']}: {item.get('why')}")
        for item in unfinished(seen.executions)
    ]
    found += _starts(seen.executions)
    effects = _by_execution(seen.effects)
    for execution in seen.executions:
        of_it = effects.get(execution["id"], {})
        found += _effects(execution, of_it)
        if execution["status"] in FINAL:
            found += _end(execution, of_it, died=seen.died)
            found += _order(execution, seen.steps.get(execution["id"], []))
        if execution["status"] == "completed":
            found += _result(execution, of_it, seen.steps.get(execution["id"], []), promises)
    return found


def _by_execution(effects: list[Effect]) -> dict[int, dict[str, list[Effect]]]:
    found: dict[int, dict[str, list[Effect]]] = defaultdict(lambda: defaultdict(list))
    for effect in effects:
        found[effect.execution_id][effect.step].append(effect)
    return found


def _starts(executions: list[dict[str, Any]]) -> list[Violation]:
    """One key starts one execution, and one processed file starts one."""
    numbers = Counter(
        ("file", item["input_file_ids"][0])
        if item["trigger_type"] == "file_upload"
        else ("start", item["trigger_data"]["number"])
        for item in executions
    )
    return [
        Violation(Invariant.STARTED_TWICE, f"{kind} {number} has {count} executions")
        for (kind, number), count in numbers.items()
        if count > 1
    ]


def _effects(execution: dict[str, Any], effects: dict[str, list[Effect]]) -> list[Violation]:
    """`once` at most once, repeats with the same key, and in the order of the steps."""
    name = f"execution {execution['id']}"
    found = []
    if (count := len(effects.get(scenario.CHARGE, []))) > 1:
        found.append(Violation(Invariant.DOUBLED, f"{name} performed its once step {count} times"))
    for step, performed in effects.items():
        keys = {effect.key for effect in performed}
        if keys != {f"{execution['uuid']}:{step}"}:
            found.append(Violation(Invariant.KEY, f"{name} performed {step} with the keys {sorted(keys)}"))
    present = [step for step in scenario.EFFECTS if step in effects]
    for earlier, later in pairwise(present):
        if effects[earlier][-1].at > effects[later][0].at:
            found.append(Violation(Invariant.ORDER, f"{name} performed {earlier} after {later}"))
    if present != list(scenario.EFFECTS[: len(present)]):
        found.append(Violation(Invariant.ORDER, f"{name} performed {present} only"))
    return found


def _end(execution: dict[str, Any], effects: dict[str, list[Effect]], *, died: bool) -> list[Violation]:
    """Completed; or failed because nobody can know what became of the once step."""
    if execution["status"] == "completed":
        return []
    unclear = any(effect.mode in UNCLEAR for effect in effects.get(scenario.CHARGE, []))
    if execution["status"] == "failed" and execution["error_code"] == "outcome_unknown" and (unclear or died):
        return []
    sentence = f"execution {execution['id']} is {execution['status']} ({execution['error_code']}): "
    return [Violation(Invariant.WRONG_END, sentence + str(execution["error_message"]))]


def _order(execution: dict[str, Any], steps: list[dict[str, Any]]) -> list[Violation]:
    """Every step began after the one above it had ended, as its times tell."""
    found = []
    for above, below in pairwise(steps):
        times = (above["completed_at"], below["started_at"])
        if None in times or times[0] > times[1]:
            sentence = f"{below['step_name']} began {times[1]}, {above['step_name']} ended {times[0]}"
            found.append(Violation(Invariant.ORDER, f"execution {execution['id']}: {sentence}"))
    return found


def _result(
    execution: dict[str, Any], effects: dict[str, list[Effect]], steps: list[dict[str, Any]], promises: Promises
) -> list[Violation]:
    """All effects have taken place, all steps are completed, and the text is the document's."""
    problems = [f"{step} never took place" for step in scenario.EFFECTS if step not in effects]
    done = [step["step_name"] for step in steps if step["status"] == "completed"]
    if done != list(scenario.STEPS):
        problems.append(f"only the steps {done} are completed")
    result = execution["result_data"] or {}
    marker = promises.uploaded.get(result.get("shape", {}).get("file"))
    if marker is not None and marker not in result.get("read", {}).get("content", ""):
        problems.append(f"the text of its file lacks {marker!r}")
    return [Violation(Invariant.WRONG_RESULT, f"execution {execution['id']}: {text}") for text in problems]
