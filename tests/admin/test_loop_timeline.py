"""The timeline and the steps of loops: under their loop, in order, and no more than people read."""

import pytest
from django.test import Client

from core import clock
from tests import factories
from tests.admin.rows import text_of
from workflows.admin import execution_panels
from workflows.admin.timeline import MOST_INNER, in_reading_order, timeline_of
from workflows.models import Execution

pytestmark = pytest.mark.django_db


def loop_of(count: int) -> Execution:
    """A loop whose item 25 fails, between two plain steps."""
    failing = {"condition": "{{index}} == 25", "true_action": {"type": "stop", "config": {"status": "failed"}}}
    inner = [
        {"name": "say", "type": "log", "config": {"message": "{{item}}"}},
        {"name": "check", "type": "conditional", "config": failing},
    ]
    loop = {"items": list(range(count)), "steps": inner, "on_item_error": "continue"}
    return factories.run(
        factories.make_workflow(
            [
                {"name": "before", "type": "log", "config": {"message": "x"}},
                {"name": "loop", "type": "foreach", "config": loop},
                {"name": "after", "type": "log", "config": {"message": "y"}},
            ]
        )
    )


def test_items_stand_under_their_loop_in_the_order_of_their_numbers() -> None:
    execution = loop_of(5)

    attempts = in_reading_order(list(execution.attempts.all()))
    rows = timeline_of(execution, attempts, [], now=clock.now()).rows

    shown = [(row.name, row.is_inner) for row in rows if not row.name.startswith("Waits")]
    inner = [(f"{index}/{name}", True) for index in range(5) for name in ("say", "check")]
    assert shown == [("before", False), ("loop", False), *inner, ("after", False)]


def test_a_long_loop_shows_first_what_went_wrong_and_counts_the_rest() -> None:
    execution = loop_of(40)

    attempts = in_reading_order(list(execution.attempts.all()))
    rows = timeline_of(execution, attempts, [], now=clock.now()).rows

    inner = [row for row in rows if row.is_inner]
    assert len(inner) == MOST_INNER + 1
    assert any(row.status == "failed" and row.name.startswith("25/") for row in inner)
    assert inner[-1].is_rest
    assert inner[-1].name.startswith("… and ")
    assert [row.name for row in rows if not row.is_inner][-1] == "after"


def test_failed_items_are_on_the_page_however_long_the_loop_is(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_panels, "MOST_ATTEMPTS", 12)
    execution = loop_of(40)

    page = admin.get(f"/admin/workflows/execution/{execution.pk}/change/")

    paths = [item["row"].path for item in page.context["attempts"]] if page.context.get("attempts") else []
    text = text_of(page)
    assert "loop/25/" in text
    assert "after" in text
    assert len(paths) in (0, 12)
    assert "500 attempts are shown, those that went wrong among them" in text
