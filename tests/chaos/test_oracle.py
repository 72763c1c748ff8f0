"""The oracle itself: each invariant is noticed when it is broken, and a good run is not blamed."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.chaos import oracle, scenario
from tests.chaos.effects import Effect, Mode
from tests.chaos.oracle import Invariant, Promises, Seen
from tests.chaos.scenario import Plot

UUID = "018f-7"


@dataclass
class Told:
    """A good execution of a plot, as the API and the effect server tell of it."""

    plot: Plot
    execution: dict[str, Any]
    steps: list[dict[str, Any]]
    effects: list[Effect]
    saga: dict[str, Any] | None = None


def told(plot: Plot, execution_id: int = 7, **changes: Any) -> Told:
    status, code = plot.ends
    execution = {
        "id": execution_id,
        "uuid": UUID,
        "workflow_id": list(scenario.PLOTS).index(plot.name),
        "trigger_type": "manual",
        "trigger_data": {"number": execution_id, "file_id": 3, "key": "mine"},
        "input_file_ids": [],
        "status": status,
        "error_code": code,
        "error_message": None,
        "result_data": RESULTS.get(plot.name, {}),
    }
    steps = [
        {
            "step_name": name,
            "status": "failed" if name == "refuse" else "completed",
            "started_at": f"{number:02}",
            "completed_at": f"{number:02}",
        }
        for number, name in enumerate(plot.steps)
    ]
    effects = [
        Effect(execution_id, act.step, f"{UUID}:{act.path}", 1, Mode.NORMAL, float(at), ended_at=at + 0.5)
        for at, act in enumerate(plot.acts)
    ]
    saga = None
    if plot.undoing:
        entries = [{"path": path, "status": "compensated", "error": None} for path in reversed(scenario.BOOKED)]
        saga = {"status": "compensated", "open": [], "steps": entries}
    return Told(plot, execution | changes, steps, effects, saga)


ITEMS = [{"json": {"step": f"item-{number}"}} for number in range(scenario.ITEMS)]
RESULTS: dict[str, dict[str, Any]] = {
    "main": {"shape": {"file": 3}, "read": {"content": "about marker"}},
    "loop": {"loop": {"results": ITEMS, "errors": []}},
    "stamps": {"loop": {"results": ITEMS, "errors": []}},
    "event": {"paid": {"event": {"data": {"key": "mine"}}, "timed_out": False}},
    "approval": {"agree": {"decision": "approved"}},
    "fan": {"call": {"execution_id": 9, "status": "completed", "result": {"say": {"message": 7}}}},
}


def broken(*cases: Told, **more: Any) -> set[Invariant]:
    seen = Seen(
        plots=dict(enumerate(scenario.PLOTS.values())),
        executions=[case.execution for case in cases],
        steps={case.execution["id"]: case.steps for case in cases},
        effects=[effect for case in cases for effect in case.effects],
        sagas={case.execution["id"]: case.saga for case in cases if case.saga is not None},
        **more,
    )
    promises = Promises(started={("any", 0): 7}, uploaded={})
    return {violation.invariant for violation in oracle.judge(promises, seen)}


def called(**changes: Any) -> Told:
    return told(scenario.CALLED, 9, trigger_type="workflow", trigger_data={"number": 7}, **changes)


def repeated(case: Told, step: str, at: float, **changes: Any) -> Told:
    first = next(effect for effect in case.effects if effect.step == step)
    case.effects.append(replace(first, at=at, ended_at=at + 0.1, nth=2, **changes))
    case.effects.sort(key=lambda effect: effect.at)
    return case


@pytest.mark.parametrize("plot", scenario.PLOTS.values(), ids=lambda plot: plot.name)
def test_a_good_run_is_not_blamed(plot: Plot) -> None:
    assert broken(told(plot), *([called()] if plot is scenario.FAN else [])) == set()


def test_a_promised_execution_that_is_not_there_is_lost() -> None:
    assert broken() == {Invariant.LOST}


def test_an_upload_whose_execution_is_not_there_is_lost() -> None:
    executions = [told(scenario.MAIN).execution]

    assert oracle.missing(Promises(uploaded={3: "marker"}), executions) == ["the execution of file 3"]


def test_an_execution_that_has_not_ended_is_stuck() -> None:
    assert broken(told(scenario.MAIN, status="running", why="waits")) == {Invariant.STUCK}


def test_a_once_effect_performed_twice_is_doubled() -> None:
    assert broken(repeated(told(scenario.MAIN), scenario.CHARGE, 1.5)) == {Invariant.DOUBLED}
    assert Invariant.DOUBLED in broken(repeated(told(scenario.STAMPS), "item-3", 3.6))
    assert Invariant.DOUBLED in broken(repeated(told(scenario.SAGA), "undo-pay", 4.6))


def test_a_repeat_with_another_key_is_noticed() -> None:
    assert broken(repeated(told(scenario.LOOP), "item-3", 3.6, key="another")) == {Invariant.KEY}


def test_an_effect_after_a_later_one_breaks_the_order() -> None:
    assert broken(repeated(told(scenario.MAIN), scenario.RESERVE, 9.0)) == {Invariant.ORDER}
    assert broken(repeated(told(scenario.MAIN), scenario.RESERVE, 9.0), froze=True) == set()


def test_an_undo_out_of_order_is_noticed() -> None:
    case = told(scenario.SAGA)
    first, second = (next(item for item in case.effects if item.step == f"undo-{step}") for step in ("ship", "pay"))
    first.at, second.at = second.at, first.at

    assert broken(case) == {Invariant.ORDER}


def test_a_step_that_began_before_the_one_above_ended_breaks_the_order() -> None:
    case = told(scenario.MAIN)
    case.steps[4]["completed_at"] = "99"

    assert broken(case) == {Invariant.ORDER}
    assert broken(case, jumped=True) == set()


@pytest.mark.parametrize(
    ("mode", "died", "expected"),
    [
        (Mode.RESET, False, set()),
        (Mode.NORMAL, True, set()),
        (Mode.NORMAL, False, {Invariant.WRONG_END}),
    ],
)
def test_an_unknown_outcome_needs_a_reason(mode: Mode, died: bool, expected: set[Invariant]) -> None:
    case = told(scenario.MAIN, status="failed", error_code="outcome_unknown")
    case.effects = [case.effects[0], replace(case.effects[1], mode=mode)]

    assert broken(case, died=died) == expected


def test_any_other_failure_is_wrong() -> None:
    assert broken(told(scenario.MAIN, status="failed", error_code="file_busy"), died=True) == {Invariant.WRONG_END}


def test_a_completed_execution_without_its_effect_or_its_text_is_wrong() -> None:
    textless = {"shape": {"file": 3}, "read": {"content": "something else"}}
    effectless, stepless = told(scenario.MAIN), told(scenario.MAIN)
    del effectless.effects[2], stepless.steps[8]
    uploaded = Promises(uploaded={3: "marker"})
    case = told(scenario.MAIN, result_data=textless, trigger_type="file_upload", input_file_ids=[3])
    seen = Seen({0: scenario.MAIN}, [case.execution], {7: case.steps}, case.effects)

    assert [violation.invariant for violation in oracle.judge(uploaded, seen)] == [Invariant.WRONG_RESULT]
    assert broken(effectless) == {Invariant.WRONG_RESULT}
    assert broken(stepless) == {Invariant.WRONG_RESULT}


def test_a_graph_whose_last_step_was_left_out_is_wrong() -> None:
    case = told(scenario.GRAPH)
    del case.effects[3], case.steps[3]

    assert broken(case) == {Invariant.WRONG_RESULT}


def test_a_decision_that_nobody_made_is_noticed() -> None:
    result = {"agree": {"decision": "timed_out"}}

    assert broken(told(scenario.APPROVAL, result_data=result)) == {Invariant.WRONG_RESULT}


def test_another_ones_event_is_noticed() -> None:
    result = {"paid": {"event": {"data": {"key": "another"}}, "timed_out": False}}

    assert broken(told(scenario.EVENT, result_data=result)) == {Invariant.WRONG_RESULT}


def test_two_executions_of_one_start_or_one_call_are_noticed() -> None:
    twice = replace(told(scenario.MAIN), effects=[])
    other = called()
    other.execution["id"] = 10

    assert broken(told(scenario.MAIN), twice) >= {Invariant.STARTED_TWICE}
    assert broken(told(scenario.FAN), called(), replace(other, effects=[])) >= {Invariant.STARTED_TWICE}


def test_a_call_whose_execution_did_not_complete_is_wrong() -> None:
    assert broken(told(scenario.FAN), called(status="cancelled")) == {Invariant.WRONG_RESULT, Invariant.WRONG_END}


@pytest.mark.parametrize(("count", "expected"), [(3, set()), (4, {Invariant.LIMIT})])
def test_more_executions_than_slots_are_noticed(count: int, expected: set[Invariant]) -> None:
    assert broken(*(told(scenario.LIMITED, number) for number in range(7, 7 + count))) == expected


@pytest.mark.parametrize(("count", "expected"), [(3, set()), (4, {Invariant.LIMIT})])
def test_more_items_in_flight_than_may_be_are_noticed(count: int, expected: set[Invariant]) -> None:
    case = told(scenario.LOOP)
    for effect in case.effects[:count]:
        effect.at, effect.ended_at = 0.1, 0.4

    assert broken(case) == expected


def test_an_item_counts_until_somebody_else_repeats_it_and_no_longer_than_a_lease_holds() -> None:
    first = Effect(7, "item-0", "", 1, Mode.SILENT, 10.0)

    assert oracle.item_spans({"item-0": [first]}) == [(10.0, 10.5)]
    assert oracle.item_spans({"item-0": [first, replace(first, at=10.2)]}) == [(10.0, 10.2)]
    assert oracle.most_at_once([(0, 1), (1, 2), (0.5, 1.5)]) == 2


def test_results_out_of_order_are_wrong() -> None:
    swapped = {"loop": {"results": [ITEMS[1], ITEMS[0], *ITEMS[2:]], "errors": []}}

    assert broken(told(scenario.LOOP, result_data=swapped)) == {Invariant.WRONG_RESULT}


@pytest.mark.parametrize(("mode", "expected"), [(Mode.RESET, set()), (Mode.NORMAL, {Invariant.WRONG_END})])
def test_an_item_of_unknown_outcome_needs_a_reason(mode: Mode, expected: set[Invariant]) -> None:
    error = {"index": 2, "error": "", "error_code": "outcome_unknown"}
    case = told(scenario.STAMPS, result_data={"loop": {"results": [*ITEMS[:2], None, *ITEMS[3:]], "errors": [error]}})
    case.effects[2].mode = mode

    assert broken(case) == expected


@pytest.mark.parametrize(
    ("mode", "opened", "expected"),
    [
        (Mode.RESET, ["pay"], set()),
        (Mode.RESET, [], {Invariant.WRONG_SAGA}),
        (Mode.NORMAL, ["pay"], {Invariant.WRONG_SAGA}),
    ],
)
def test_what_is_open_after_undoing_is_what_nobody_can_know(
    mode: Mode, opened: list[str], expected: set[Invariant]
) -> None:
    case = told(scenario.SAGA)
    assert case.saga is not None
    case.saga["steps"][1]["status"] = "failed"
    case.saga |= {"status": "failed", "open": opened}
    next(effect for effect in case.effects if effect.step == "undo-pay").mode = mode

    assert broken(case) == expected


def test_a_step_that_counts_as_undone_without_its_effect_is_wrong() -> None:
    case = told(scenario.SAGA)
    case.effects = [effect for effect in case.effects if effect.step != "undo-book"]

    assert broken(case) >= {Invariant.WRONG_SAGA}
