"""JSON bodies within bounds."""

import io

import pytest
from pytest_django import Settings

from core.api import parsers
from core.errors import InvalidInput


@pytest.mark.parametrize(("levels", "is_deep"), [(100, False), (101, True), (300, True)])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[[],"]]",{"\\\\\\"}":1},'])
def test_depth_counts_brackets_that_are_none_of_a_text(opening: str, levels: int, is_deep: bool) -> None:
    inner = opening * (levels - 2) + "[]" + "".join("}" if opening[0] == "{" else "]" for _ in range(levels - 2))
    raw = f'{{"text":"{"[{" * 200}","shallow":[[]],"deep":{inner}}}'.encode()

    if not is_deep:
        assert parsers.loads(raw)["shallow"] == [[]]
        return
    with pytest.raises(InvalidInput) as refused:
        parsers.loads(raw)
    assert refused.value.problems[0].loc == ("body", "deep")


def test_millions_of_shallow_brackets_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsers, "_containers", lambda item: pytest.fail("walked"))

    assert len(parsers.loads(b'{"a":[' + b"[]," * 100_000 + b"[]]}")["a"]) == 100_001


def test_a_lying_length_cannot_pass_the_bound(settings: Settings) -> None:
    settings.MAX_JSON_BODY_BYTES = 1000

    with pytest.raises(InvalidInput, match="too large"):
        parsers.BoundedJSONParser().parse(io.BytesIO(b"[" + b"1," * 1000))
