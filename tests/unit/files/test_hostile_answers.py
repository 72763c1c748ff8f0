"""Answers that a child gives when its file has taken it over: never more than a death of that child."""

import json
import tracemalloc

import pytest

from files import answers
from files.answers import ChildDied
from files.extractors.base import ExtractionFailed, Limits

DONE = '{"done":{"metadata":%s,"tables":[],"truncated":false,"warnings":[]}}'


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 100_000,
        "7",
        '{"text":7}\n' + DONE % "{}",
        '{"words":""}',
        DONE % "[]",
        DONE % '{"a":NaN}',
        DONE % '{"a":1e999}',
        DONE % ('{"a":' + "[" * 5000 + "]" * 5000 + "}"),
        (DONE % "{}") + '\n{"page":{"offset":"1","text":"","confidence":1,"language":"eng","number":1}}',
        (DONE % "{}") + '\n{"tables":7}',
        '{"error":{"code":7,"message":""}}',
        '{"error":"corrupt"}',
    ],
)
def test_an_answer_that_no_extractor_gives_is_a_dead_child(answer: str) -> None:
    with pytest.raises(ChildDied) as death:
        answers.read(answer.encode(), 0, Limits())

    assert death.value.code == "extract_crashed"


def test_a_childs_error_fits_its_columns() -> None:
    told = {"error": {"code": "c" * 1000, "message": "m\x00" * 100_000}}

    with pytest.raises(ExtractionFailed) as failure:
        answers.read(json.dumps(told).encode(), 0, Limits())

    assert (failure.value.code, failure.value.message) == ("c" * 64, "m" * 2000)


def test_very_many_lines_take_no_more_memory_than_they_are_long() -> None:
    told = (DONE % "{}").encode() + b"\n{}" * 400_000
    tracemalloc.start()
    answers.read(told, 0, Limits())
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes < 2 * 1024**2
