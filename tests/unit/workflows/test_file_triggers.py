"""What `trigger_config.triggers` and dialect C's `triggers` may hold, told when a workflow is saved."""

from typing import Any

import pytest

from core.errors import InvalidInput
from workflows.engine import definition


def upload(**conditions: Any) -> list[dict[str, Any]]:
    return [{"type": "file_upload", **conditions}]


def refusal_of(body: dict[str, Any]) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        definition.read({"name": "x", **body})
    return refusal.value


@pytest.mark.parametrize(
    ("triggers", "message", "kind"),
    [
        ({"a": 1}, "must be a list", "list_type"),
        (5, "must be a list", "list_type"),
        ("x", "must be a list", "list_type"),
        ([{}, *[1] * 100_000], "item 1 must be an object", "dict_type"),
        ([{"type": ["x"]}], "the type of item 0 must be text", "string_type"),
        (upload(file_extensions=5), "file_extensions must be a list of texts", "list_type"),
        (upload(file_extensions={"a": 1}), "file_extensions must be a list of texts", "list_type"),
        (upload(mime_types=5), "mime_types must be a list of texts", "list_type"),
        (upload(mime_types=[None]), "mime_types must be a list of texts", "list_type"),
        (upload(max_file_size="big"), "max_file_size must be a number of bytes", "float_type"),
        (upload(max_file_size=True), "max_file_size must be a number of bytes", "float_type"),
    ],
)
def test_a_trigger_that_cannot_be_read_is_refused_by_its_place(triggers: Any, message: str, kind: str) -> None:
    refusal = refusal_of({"workflow_config": {"a": 1}, "trigger_config": {"triggers": triggers}})

    assert refusal.detail == f"Invalid workflow: trigger_config.triggers: {message}"
    [problem] = refusal.problems
    assert (problem.loc, problem.msg, problem.type) == (("body", "trigger_config", "triggers"), message, kind)


def test_dialect_c_names_its_own_list() -> None:
    refusal = refusal_of({"config": {"a": 1}, "triggers": [{"type": {}}]})

    assert [problem.loc for problem in refusal.problems] == [("body", "triggers")]


def test_the_extensions_of_several_triggers_fit_their_column_together() -> None:
    triggers = [{"type": "file_upload", "file_extensions": [letter * 200]} for letter in "ab"]

    refusal = refusal_of({"config": {"a": 1}, "triggers": triggers})

    assert refusal.detail == "Invalid workflow: file_extensions must have at most 255 characters together"


@pytest.mark.parametrize(
    "triggers",
    [
        None,
        [],
        [{}],
        [{"type": None}],
        [{"type": "schedule", "mime_types": 5}],
        upload(file_extensions=None, mime_types="a/b", max_file_size=1.5, unknown=[1]),
    ],
)
def test_triggers_of_other_types_and_other_keys_are_kept_as_they_came(triggers: Any) -> None:
    body = {"name": "x", "workflow_config": {"a": 1}, "trigger_config": {"triggers": triggers}}

    assert definition.read(body).fields["trigger_config"] == {"triggers": triggers}
