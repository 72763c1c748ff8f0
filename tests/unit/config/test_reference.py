"""The pages of docs/reference are what the code says today."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from config.reference import examples
from config.reference.expressions import Incomplete, expressions_page
from config.reference.steps import is_ours, steps_page
from workflows.engine.steps import registry

ROOT = Path(__file__).resolve().parents[3]


def test_the_committed_pages_are_current() -> None:
    call_command("write_reference", check=True)


def test_a_page_that_is_not_current_is_named_and_left_alone(settings: Settings, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    call_command("write_reference", verbosity=0)
    page = tmp_path / "docs" / "reference" / "steps.md"
    page.write_text("old", encoding="utf-8")

    with pytest.raises(CommandError, match=r"docs/reference/steps\.md is not current: run"):
        call_command("write_reference", check=True)

    assert page.read_text(encoding="utf-8") == "old"


def test_every_step_type_has_its_part() -> None:
    page = steps_page()

    for kind in filter(is_ours, registry.all_types()):
        assert f"\n## {kind.type}" in page
        for key in kind.config_model.model_json_schema()["properties"]:
            assert f"`{key}`" in page


def test_a_filter_without_an_example_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(examples.FILTERS, "upper")

    with pytest.raises(
        Incomplete, match=r"filters in the code and in config/reference/examples\.py differ: \['upper'\]"
    ):
        expressions_page()


def test_an_example_that_would_not_be_saved_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(examples.STEPS, "delay", {"seconds": -1})

    with pytest.raises(Incomplete, match="the example of the step 'delay': "):
        steps_page()
