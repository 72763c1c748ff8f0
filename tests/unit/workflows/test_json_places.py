"""Lines of JSON pointers in a text."""

import json

import pytest

from workflows.admin.places import lines_of

TEXT = """{
  "variables": {"a": 1},
  "steps": [
    {"name": "one",
      "url": "https://example.com/?a=[{,\\"",
      "type": "log"},
    {
      "config": {"true_action": {"steps": [
        {},
        {"config":
          {"seconds": -1}}
      ]}}
    }
  ]
}"""


@pytest.mark.parametrize(
    ("pointer", "line"),
    [
        ("/variables/a", 2),
        ("/steps", 3),
        ("/steps/0", 4),
        ("/steps/0/type", 6),
        ("/steps/1/config/true_action/steps/1/config/seconds", 11),
        # A step without `config` holds its keys itself.
        ("/steps/0/config/url", 5),
        # What is not there is shown at what would hold it.
        ("/steps/0/config/missing/deep", 4),
        ("/steps/7", 3),
        ("", 1),
        ("/nothing", 1),
    ],
)
def test_a_pointer_leads_to_its_line_or_to_the_nearest_around_it(pointer: str, line: int) -> None:
    json.loads(TEXT)

    assert lines_of(TEXT, [pointer]) == [line]


def test_the_last_of_two_equal_keys_counts_as_it_does_for_json() -> None:
    assert lines_of('{"steps": [],\n"steps": [\n1]}', ["/steps", "/steps/0"]) == [2, 3]


def test_deep_nesting_and_escaped_keys_are_read_without_recursion() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    text = '{"a\\u0062": 1,\n"steps": [\n' + deep + ',\n{"type": 5}]}'

    assert lines_of(text, ["/ab", "/steps/1/type"]) == [1, 4]
