"""The oracle itself: each invariant is noticed when it is broken, and a good run is not blamed."""

from typing import Any

import pytest

from tests.chaos import oracle, scenario
from tests.chaos.effects import Effect, Mode
from tests.chaos.oracle import Invariant, Promises, Seen

UUID = "018f-7"


def execution(**changes: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "uuid": UUID,
        "trigger_type": "manual",
        "trigger_data": {"number": 0, "file_id": 3},
        "input_file_ids": [],
        "status": "completed",
        "error_code": None,
        "error_message": None,
        "result_data": {"shape": {"file": 3}, "read": {"content": "about marker"}},
    } | changes


def steps() -> list[dict[str, Any]]:
    return [
        {"step_name": name, "status": "completed", "started_at": f"{number:02}", "completed_at": f"{number:02}"}
        for number, name in enumerate(scenario.STEPS)
    ]


def effect(step: str, at: float, *, key: str = "", nth: int = 1, mode: Mode = Mode.NORMAL) -> Effect:
    return Effect(7, step, key or f"{UUID}:{step}", nth, mode, at)


def effects() -> list[Effect]:
    return [effect(step, at) for at, step in enumerate(scenario.EFFECTS)]


def broken(
    executions: list[dict[str, Any]] | None = None,
    *,
    of_steps: list[dict[str, Any]] | None = None,
    performed: list[Effect] | None = None,
    died: bool = False,
) -> set[Invariant]:
    promises = Promises(started={0: 7}, uploaded={3: "marker"})
    upload = execution(id=8, trigger_type="file_upload", input_file_ids=[3])
    upload_effects = [Effect(8, e.step, e.key, e.nth, e.mode, e.at) for e in effects()]
    seen = Seen(
        executions=[upload, *([execution()] if executions is None else executions)],
        steps={7: steps() if of_steps is None else of_steps, 8: steps()},
        effects=[*upload_effects, *(effects() if performed is None else performed)],
        died=died,
    )
    return {violation.invariant for violation in oracle.judge(promises, seen)}


def test_a_good_run_is_not_blamed() -> None:
    assert broken() == set()


def test_a_promised_execution_that_is_not_there_is_lost() -> None:
    assert broken([], performed=[]) == {Invariant.LOST}


def test_an_upload_whose_execution_is_not_there_is_lost() -> None:
    assert oracle.missing(Promises(uploaded={3: "marker"}), [execution()]) == ["the execution of file 3"]


def test_an_execution_that_has_not_ended_is_stuck() -> None:
    assert broken([execution(status="running", why="waits")]) == {Invariant.STUCK}


def test_a_once_effect_performed_twice_is_doubled() -> None:
    twice = [*effects()[:2], effect(scenario.CHARGE, 1.5, nth=2), effects()[2]]

    assert broken(performed=twice) == {Invariant.DOUBLED}


def test_a_repeat_with_another_key_is_noticed() -> None:
    other = [effect(scenario.RESERVE, -1.0, key="another"), *effects()]

    assert broken(performed=other) == {Invariant.KEY}


def test_an_effect_after_a_later_one_breaks_the_order() -> None:
    late = [*effects(), effect(scenario.RESERVE, 9.0, nth=2)]

    assert broken(performed=late) == {Invariant.ORDER}


def test_a_step_that_began_before_the_one_above_ended_breaks_the_order() -> None:
    overlapping = steps()
    overlapping[4]["completed_at"] = "99"

    assert broken(of_steps=overlapping) == {Invariant.ORDER}


@pytest.mark.parametrize(
    ("mode", "died", "expected"),
    [
        (Mode.RESET, False, set()),
        (Mode.NORMAL, True, set()),
        (Mode.NORMAL, False, {Invariant.WRONG_END}),
    ],
)
def test_an_unknown_outcome_needs_a_reason(mode: Mode, died: bool, expected: set[Invariant]) -> None:
    failed = execution(status="failed", error_code="outcome_unknown")
    performed = [effects()[0], effect(scenario.CHARGE, 1.0, mode=mode)]

    assert broken([failed], performed=performed, died=died) == expected


def test_any_other_failure_is_wrong() -> None:
    failed = execution(status="failed", error_code="file_busy")

    assert broken([failed], performed=effects()[:1], died=True) == {Invariant.WRONG_END}


def test_a_completed_execution_without_its_effect_or_its_text_is_wrong() -> None:
    textless = execution(result_data={"shape": {"file": 3}, "read": {"content": "something else"}})

    assert broken([textless]) == {Invariant.WRONG_RESULT}
    assert broken(performed=effects()[:2]) == {Invariant.WRONG_RESULT}
    assert broken(of_steps=steps()[:-1]) == {Invariant.WRONG_RESULT}


def test_two_executions_of_one_start_are_noticed() -> None:
    assert broken([execution(), execution()]) >= {Invariant.STARTED_TWICE}
