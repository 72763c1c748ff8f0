"""Lists of executions whose outputs are larger than a web process may grow (ENGINE 8)."""

import tracemalloc
from random import Random
from typing import Any

import pytest

from tests import factories
from tests.api.test_workflows_api import Api
from tests.factories import drain_all
from workflows import selectors

pytestmark = pytest.mark.django_db

# Written twenty times by a step: alike, which the table compresses to little, and at random, which it cannot.
TEXTS = {"alike": "x" * 10_000, "random": Random(7).randbytes(5_000).hex()}


def large(name: str) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": f"{{{{trigger.{name}}}}}" * 20}}


@pytest.fixture
def api() -> Api:
    """An owner with four executions; each has a small output and two of 200 KB."""
    api = Api()
    steps = [{"name": "small", "type": "log", "config": {"message": "hi"}}, *(large(name) for name in TEXTS)]
    made = api("POST", "/workflows", {"name": "W", "workflow_config": {"steps": steps}}).json()
    for _ in range(4):
        api("POST", f"/workflows/{made['id']}/execute", {"trigger_data": TEXTS})
    drain_all()
    return api


def test_outputs_that_no_list_shows_are_not_read(api: Api) -> None:
    api("GET", "/executions")  # what is imported and remembered on first use
    tracemalloc.start()
    try:
        rows = api("GET", "/executions").json()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [list(row["result_data"]) for row in rows] == [["small"]] * 4
    assert [row["result_truncated"] for row in rows] == [True] * 4
    assert [entry["status"] for entry in rows[0]["log_output"]] == ["completed"] * 3
    # Their eight large outputs alone are 1,600,000 bytes.
    assert peak_bytes < 1_000_000, f"{peak_bytes} bytes"


def test_a_whole_list_carries_so_much_and_the_newest_come_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "MOST_LISTED_BYTES_IN_ALL", 60)

    rows = api("GET", "/executions").json()

    assert [list(row["result_data"]) for row in rows] == [["small"], [], [], []]
    assert [row["result_truncated"] for row in rows] == [True] * 4


def test_an_execution_without_outputs_is_not_called_truncated() -> None:
    workflow = factories.make_workflow([{"name": "f", "type": "http_request", "config": {"url": ""}, "max_retries": 0}])
    api = Api(workflow.owner)
    factories.run(workflow)

    [row] = api("GET", "/executions").json()

    assert row["status"] == "failed"
    assert "result_truncated" not in row
