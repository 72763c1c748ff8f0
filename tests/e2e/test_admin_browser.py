"""The admin in a real browser: sign in, meet an error in the definition, run now, read why a step failed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests import factories
from tests.admin.rows import GREET, make_failed
from workflows.models import Execution, Workflow

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    # Playwright's event loop lives in this thread; the ORM is used beside it, never inside a coroutine.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(10_000)
        yield page
        browser.close()
        # While Playwright's loop runs, asgiref keeps connections apart from the thread's own, which Django closes.
        connections.close_all()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser's console has to complain about."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found


def sign_in(page: Page, server: LiveServer) -> None:
    User.objects.create_superuser("operator@example.com", "correct horse battery")
    page.goto(f"{server.url}/admin/login/")
    page.fill("[name=username]", "operator@example.com")
    page.fill("[name=password]", "correct horse battery")
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"{server.url}/admin/")


def test_an_author_meets_a_problem_in_place_mends_it_and_runs_the_workflow(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    workflow = factories.make_workflow(GREET)
    sign_in(page, live_server)

    page.goto(f"{live_server.url}/admin/workflows/workflow/{workflow.pk}/change/")
    broken = json.dumps({"steps": [{"name": "greet", "type": "logg", "config": {}}]})
    page.fill("[name=workflow_config]", broken)
    page.click("[name=_save]")
    page.get_by_text("/steps/0/type:").wait_for()
    kept = page.input_value("[name=workflow_config]")
    mended = json.dumps(
        {"steps": [{"name": "greet", "type": "log", "config": {"message": "Good morning {{trigger.who}}"}}]}
    )
    page.fill("[name=workflow_config]", mended)
    page.click("[name=_continue]")
    page.get_by_role("link", name="Run now").click()
    page.fill("[name=trigger_data]", '{"who": "Grace"}')
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/admin/workflows/execution/*/change/")
    factories.drain_all()
    page.reload()
    page.locator("details.step > summary").click()

    assert kept == broken
    assert page.locator("details.step").inner_text().count("Good morning Grace") >= 1
    assert Workflow.objects.get(pk=workflow.pk).versions.count() == 2
    assert Execution.objects.get().status == "completed"
    assert complaints == []


def test_an_operator_reads_why_a_step_failed_and_retries_it_on_a_phone(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    sign_in(page, live_server)

    page.goto(f"{live_server.url}/admin/workflows/execution/{execution.pk}/change/")
    reason = page.get_by_label("State").inner_text()
    too_wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.get_by_role("button", name="Retry from here").click()
    page.get_by_text("Step greet runs again").wait_for()

    assert "Step 'greet' failed: the log is full" in reason
    assert too_wide <= 0
    assert Execution.objects.get(pk=execution.pk).status == "running"
    assert complaints == []


def test_cancelling_asks_first(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/execution/{execution.pk}/change/")
    asked: list[str] = []

    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="Cancel").click()
    untouched = Execution.objects.get(pk=execution.pk).status
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("The execution was asked to stop.").wait_for()

    assert asked == ["Cancel this execution? What its steps have done so far stays done."]
    assert untouched == "pending"
    assert Execution.objects.get(pk=execution.pk).status == "cancelled"
    assert complaints == []
