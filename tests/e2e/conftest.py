"""A real browser, and what its console has to complain about."""

from collections.abc import Iterator

import pytest
from django.db import connections
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.browser import CHROMIUM, FLAGS, LONGEST_MS, WIDE

expect.set_options(timeout=LONGEST_MS)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    # Playwright's event loop lives in this thread; the ORM is used beside it, never inside a coroutine.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS, timeout=2 * LONGEST_MS)
        page = browser.new_page(viewport=WIDE)  # type: ignore[arg-type]
        page.set_default_timeout(LONGEST_MS)
        yield page
        browser.close()
        # While Playwright's loop runs, asgiref keeps connections apart from the thread's own, which Django closes.
        connections.close_all()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found
