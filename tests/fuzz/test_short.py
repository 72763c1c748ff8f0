"""A short part of `make fuzz`, for every `make test`."""

import os
import tempfile
from pathlib import Path

import pytest

from files import sandbox
from files.extractors.base import Extraction, ExtractionFailed
from tests.fuzz import __main__ as fuzz
from tests.fuzz import judge, mutants, resources, seeds
from tests.fuzz.mutants import Mutant
from tests.fuzz.seeds import Seeds

MUTANTS = 60


@pytest.fixture(scope="module")
def whole() -> Seeds:
    return seeds.by_extension()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.django_db
@pytest.mark.timeout(300)
def test_damaged_documents_of_every_format_end_with_text_or_a_code(whole: Seeds, scratch: Path) -> None:
    summary = fuzz.extracted(mutants.drawn(whole, seed="short", numbers=range(MUTANTS)), scratch)

    assert [sentence for _, sentence in summary.violations] == []
    assert sum(outcomes.total() for outcomes in summary.outcomes.values()) == MUTANTS
    assert set(summary.outcomes) == set(whole)
    assert summary.stored > 0


def test_the_same_number_of_the_same_seed_is_damaged_in_the_same_way(whole: Seeds) -> None:
    first = list(mutants.drawn(whole, seed="again", numbers=range(40)))
    again = list(mutants.drawn(whole, seed="again", numbers=range(30, 40)))

    assert [(mutant.recipe, mutant.content) for mutant in again] == [(m.recipe, m.content) for m in first[30:]]


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [
        (OSError("disk"), "run_extraction raised OSError('disk')"),
        (ExtractionFailed("odd", "words"), "ended with the code 'odd', which is none"),
        (ExtractionFailed("corrupt", "a\0b"), "its message cannot be stored"),
        (ExtractionFailed("extract_crashed", "crashed (exit code 1)"), "our own program failed"),
        (Extraction(text="a\ud800"), "its text cannot be stored"),
        (Extraction(metadata={"a": [float("nan")]}), "its metadata cannot be stored"),
        (Extraction(text="x" * 5_000_001), "5000001 characters of text"),
        (Extraction(tables=[{"name": "a", "rows": [["b"]] * 1_001}]), "a table has more than 1000 rows"),
        (Extraction(tables=[{"name": "a", "rows": [[], ["b" * 1_000_001]]}]), "its tables have 1000001 characters"),
        (Extraction(warnings=["w" * 1_001]), "its warnings are too many or too long"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_the_judge_sees_what_must_not_be(monkeypatch: pytest.MonkeyPatch, outcome: object, fault: str) -> None:
    def ended(*_: object) -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(sandbox, "run_extraction", ended)

    verdict, _ = judge.judged(Mutant(1, "txt", "made up", b"words"))

    assert len(verdict.violations) == 1
    assert verdict.violations[0].startswith(fault)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc: what is held cannot be counted")
def test_what_is_left_behind_is_seen(scratch: Path) -> None:
    warm = (resources.held(scratch), resources.resident_mib())
    # Far more than what servers and connections of other tests in this process may close in the meantime.
    left_open = [os.open(scratch / "left", os.O_CREAT | os.O_RDWR) for _ in range(100)]
    try:
        descriptors, *others = fuzz._leaks(warm, scratch)
    finally:
        for descriptor in left_open:
            os.close(descriptor)

    assert 50 < int(descriptors.removesuffix(" descriptors are left open")) < 150
    assert others == ["1 temporary files are left behind"]
