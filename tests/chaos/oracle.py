"""What must hold after every run, judged from the outside.

The oracle knows what it was promised (ids of 200 answers), what the outside world felt (the effect server's
record), and what the API tells. It never looks into the database.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from tests.chaos import scenario
from tests.chaos.effects import UNCLEAR, Effect
from tests.chaos.scenario import Plot

FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})
# A request counts as in flight no longer than its sender may have believed so: from a frozen sender's on, the
# lease runs out (after 2 s, renewed all the while) before somebody else may begin the next.
LONGEST_LIVE_SECONDS = 0.5

Effects = dict[str, list[Effect]]


class Invariant(StrEnum):
    """What can be broken."""

    LOST = "lost"
    STUCK = "stuck"
    DOUBLED = "doubled"
    KEY = "key changed"
    ORDER = "order"
    LIMIT = "limit exceeded"
    WRONG_END = "wrong end"
    WRONG_RESULT = "wrong result"
    WRONG_SAGA = "wrong saga"
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
    """What the product has accepted in a run: (plot's name, number of the start) -> execution id, file id -> marker."""

    started: dict[tuple[str, int], int] = field(default_factory=dict)
    uploaded: dict[int, str] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        return len(self.started) + len(self.uploaded)


@dataclass
class Seen:
    """What the API and the effect server tell at the end of a run.

    `plots` is by workflow id; `steps` and `sagas` by execution id, the latter for plots that undo. `died`: a
    process was ended or frozen. `froze`: one outlived its lease. `jumped`: the clock was set back.
    """

    plots: dict[int, Plot]
    executions: list[dict[str, Any]]
    steps: dict[int, list[dict[str, Any]]]
    effects: list[Effect]
    sagas: dict[int, dict[str, Any]] = field(default_factory=dict)
    died: bool = False
    froze: bool = False
    jumped: bool = False


@dataclass
class Case:
    """One execution with all that is known about it."""

    execution: dict[str, Any]
    plot: Plot
    effects: Effects
    steps: list[dict[str, Any]]
    saga: dict[str, Any] | None
    seen: Seen

    @property
    def name(self) -> str:
        return f"execution {self.execution['id']} ({self.plot.name})"

    def may_be_unknown(self, step: str) -> bool:
        """Tell whether nobody can know what became of a once act."""
        return self.seen.died or any(effect.mode in UNCLEAR for effect in self.effects.get(step, []))

    def wrong(self, sentence: str, invariant: Invariant = Invariant.WRONG_RESULT) -> Violation:
        return Violation(invariant, f"{self.name}: {sentence}")


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
    cases = _cases(seen)
    found += _starts(cases)
    found += _slots(cases)
    for case in cases:
        found += [*_effects(case), *_items_at_once(case)]
        if case.execution["status"] in FINAL:
            found += [*_end(case), *_times(case), *_saga(case)]
            if (case.execution["status"], case.execution["error_code"]) == case.plot.ends:
                found += _result(case, promises, {item["id"]: item for item in seen.executions})
    return found


def most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    """Return how many spans of time there are at once; one that ends as another begins is not beside it."""
    turns = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in turns:
        now += change
        most = max(most, now)
    return most


def _cases(seen: Seen) -> list[Case]:
    effects: dict[int, Effects] = defaultdict(lambda: defaultdict(list))
    for effect in seen.effects:
        effects[effect.execution_id][effect.step].append(effect)
    return [
        Case(
            execution=item,
            plot=seen.plots[item["workflow_id"]],
            effects=effects.get(item["id"], {}),
            steps=seen.steps.get(item["id"], []),
            saga=seen.sagas.get(item["id"]),
            seen=seen,
        )
        for item in seen.executions
    ]


def _starts(cases: list[Case]) -> Iterator[Violation]:
    """One key starts one execution, one processed file one, and one call one."""
    numbers = Counter(
        ("file", case.execution["input_file_ids"][0])
        if case.execution["trigger_type"] == "file_upload"
        else (case.plot.name, case.execution["trigger_data"]["number"])
        for case in cases
    )
    for (kind, number), count in numbers.items():
        if count > 1:
            yield Violation(Invariant.STARTED_TWICE, f"{kind} {number} has {count} executions")


def _slots(cases: list[Case]) -> Iterator[Violation]:
    """Of a limited workflow no more run than may: each from its first sign to the first of its end."""
    spans = [
        (case.effects["enter"][0].at, case.effects["leave"][0].at)
        for case in cases
        if case.plot is scenario.LIMITED and "enter" in case.effects and "leave" in case.effects
    ]
    if (most := most_at_once(spans)) > scenario.AT_ONCE:
        yield Violation(Invariant.LIMIT, f"{most} executions ran where {scenario.AT_ONCE} may")


def _items_at_once(case: Case) -> Iterator[Violation]:
    """Of a loop no more items are in flight than may: each by its first request, while nobody took it over."""
    if case.plot not in scenario.LOOPS or (case.seen.froze and case.plot is scenario.STAMPS):
        return
    if (most := most_at_once(item_spans(case.effects))) > scenario.AT_ONCE:
        yield case.wrong(f"{most} items were in flight where {scenario.AT_ONCE} may be", Invariant.LIMIT)


def item_spans(effects: Effects) -> list[tuple[float, float]]:
    """Return from when until when each item was certainly in flight."""
    spans = []
    for first, *repeats in effects.values():
        ends = [first.at + LONGEST_LIVE_SECONDS, *(repeat.at for repeat in repeats[:1])]
        spans.append((first.at, min([*ends, *([first.ended_at] if first.ended_at else [])])))
    return spans


def _effects(case: Case) -> Iterator[Violation]:
    """`once` at most once, repeats with the same key, in the plot's order, and nothing that is not in the plot."""
    for step, performed in case.effects.items():
        act = case.plot.act(step)
        if act is None:
            yield case.wrong(f"performed {step}")
            continue
        if act.once and len(performed) > 1:
            yield case.wrong(f"performed its once step {step} {len(performed)} times", Invariant.DOUBLED)
        keys = {effect.key for effect in performed}
        if keys != {f"{case.execution['uuid']}:{act.path}"}:
            yield case.wrong(f"performed {step} with the keys {sorted(keys)}", Invariant.KEY)
    for earlier, later in case.plot.order:
        # What was frozen between its checkpoint and its request may come late; the first shows the order.
        before = case.effects.get(earlier, [])[0 if case.seen.froze else -1 :][:1]
        after = case.effects.get(later, [])[:1]
        if after and not before and earlier not in case.plot.undoing:
            yield case.wrong(f"performed {later} without {earlier}", Invariant.ORDER)
        elif after and before and before[0].at > after[0].at:
            yield case.wrong(f"performed {earlier} after {later}", Invariant.ORDER)


def _end(case: Case) -> Iterator[Violation]:
    """As the plot ends; or failed because nobody can know what became of a once step."""
    execution = case.execution
    ended = (execution["status"], execution["error_code"])
    if ended == case.plot.ends:
        return
    once = [act.step for act in case.plot.acts if act.once and act.step not in case.plot.undoing]
    unknown = case.plot not in scenario.LOOPS and any(case.may_be_unknown(step) for step in once)
    if ended != ("failed", "outcome_unknown") or not unknown:
        sentence = f"is {ended[0]} ({ended[1]}): {execution['error_message']}"
        yield case.wrong(sentence, Invariant.WRONG_END)


def _times(case: Case) -> Iterator[Violation]:
    """Every step began after the one above it had ended, as its times tell."""
    if not case.plot.is_linear or case.seen.jumped:
        return
    for above, below in pairwise(case.steps):
        times = (above["completed_at"], below["started_at"])
        if None in times or times[0] > times[1]:
            sentence = f"{below['step_name']} began {times[1]}, {above['step_name']} ended {times[0]}"
            yield case.wrong(sentence, Invariant.ORDER)


def _saga(case: Case) -> Iterator[Violation]:
    """Everything was undone once and in reverse; what is open is what nobody can know."""
    if not case.plot.undoing:
        return
    entries = (case.saga or {}).get("steps", [])
    if [entry["path"] for entry in entries] != list(reversed(scenario.BOOKED)):
        yield case.wrong(f"undid {[entry['path'] for entry in entries]}", Invariant.WRONG_SAGA)
        return
    failed = [entry["path"] for entry in entries if entry["status"] == "failed"]
    for entry in entries:
        step = f"undo-{entry['path']}"
        if entry["status"] == "compensated" and len(case.effects.get(step, [])) != 1:
            yield case.wrong(f"{entry['path']} counts as undone", Invariant.WRONG_SAGA)
        elif entry["status"] != "compensated" and not (entry["status"] == "failed" and case.may_be_unknown(step)):
            yield case.wrong(f"{entry['path']} is {entry['status']}: {entry['error']}", Invariant.WRONG_SAGA)
    assert case.saga is not None
    expected = ("failed" if failed else "compensated", failed)
    if (case.saga["status"], case.saga["open"]) != expected:
        sentence = f"is {case.saga['status']} with {case.saga['open']} open, not {expected}"
        yield case.wrong(sentence, Invariant.WRONG_SAGA)


def _result(case: Case, promises: Promises, executions: dict[int, dict[str, Any]]) -> Iterator[Violation]:
    """All effects have taken place, all steps are over, and outputs are what they should be."""
    for act in case.plot.acts:
        if act.step not in case.effects and not (act.once and case.plot is not scenario.MAIN and case.seen.died):
            yield case.wrong(f"{act.step} never took place")
    done = [step["step_name"] for step in case.steps if step["status"] in ("completed", "compensated")]
    expected = [step for step in case.plot.steps if step != "refuse"]
    if (done != expected) if case.plot.is_linear else (sorted(done) != sorted(expected)):
        yield case.wrong(f"only the steps {done} are completed")
    result = case.execution["result_data"] or {}
    if case.plot is scenario.MAIN:
        yield from _text(case, result, promises)
    elif case.plot in scenario.LOOPS:
        yield from _items(case, result.get("loop") or {})
    elif case.plot is scenario.EVENT:
        yield from _event(case, result.get("paid") or {})
    elif case.plot is scenario.APPROVAL and (result.get("agree") or {}).get("decision") != "approved":
        yield case.wrong(f"was approved, and says {result.get('agree')}")
    elif case.plot is scenario.FAN:
        yield from _call(case, result.get("call") or {}, executions)


def _text(case: Case, result: dict[str, Any], promises: Promises) -> Iterator[Violation]:
    marker = promises.uploaded.get(result.get("shape", {}).get("file"))
    if marker is not None and marker not in result.get("read", {}).get("content", ""):
        yield case.wrong(f"the text of its file lacks {marker!r}")


def _items(case: Case, output: dict[str, Any]) -> Iterator[Violation]:
    """Results in the order of the items; an item without one is a once item of which nobody can know."""
    results = [item and item["json"]["step"] for item in output.get("results", [])]
    expected = [f"item-{number}" for number in range(scenario.ITEMS)]
    failed = {f"item-{error['index']}" for error in output.get("errors", [])}
    if results != [None if step in failed else step for step in expected]:
        yield case.wrong(f"its results are {results}, and {sorted(failed)} failed")
    for step in sorted(failed):
        act = case.plot.act(step)
        if act is None or not act.once or not case.may_be_unknown(step):
            yield case.wrong(f"{step} failed: {output['errors']}", Invariant.WRONG_END)


def _call(case: Case, output: dict[str, Any], executions: dict[int, dict[str, Any]]) -> Iterator[Violation]:
    child = executions.get(output.get("execution_id", 0))
    number = case.execution["trigger_data"]["number"]
    if child is None or child["status"] != "completed" or child["trigger_data"]["number"] != number:
        yield case.wrong(f"its call came to {output}")
    elif (output["result"] or {}).get("say", {}).get("message") != number:
        yield case.wrong(f"its call returned {output['result']}")


def _event(case: Case, output: dict[str, Any]) -> Iterator[Violation]:
    """It went on with the event that was meant for it."""
    if output.get("event", {}).get("data", {}).get("key") != case.execution["trigger_data"]["key"]:
        yield case.wrong(f"it took the event {output.get('event')}")
