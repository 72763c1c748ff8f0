"""The first page and the upload in a real browser: figures that renew themselves, files that are dropped."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from core import clock
from files.models import File
from tests import factories
from tests.admin.rows import GREET, make_failed, make_file, make_text
from tests.e2e.browser import NARROW, WIDE, sign_in
from workflows import statistics
from workflows.models import Execution

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.django_db(transaction=True)]

COMPLETED_THIS_HOUR = "Chart.getChart('executions-chart').data.datasets[0].data.slice(-2).reduce((a, b) => a + b)"
DROP = """files => {
    const carried = new DataTransfer();
    for (const [name, text] of files) carried.items.add(new File([text], name));
    const box = document.getElementById('upload');
    for (const type of ['dragenter', 'dragover', 'drop'])
        box.dispatchEvent(new DragEvent(type, {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""
# What a screen reader and a keyboard need; each finding names its element.
UNNAMED = """() => {
    const found = [];
    const name = element => (element.getAttribute('aria-label') || element.textContent || element.title || '').trim();
    const inside = document.getElementById('content');
    for (const element of inside.querySelectorAll('a[href], button, summary, canvas, progress'))
        if (!name(element)) found.push(element.outerHTML.slice(0, 200));
    for (const element of inside.querySelectorAll('input:not([type=hidden]), select, textarea'))
        if (!element.labels?.length && !element.getAttribute('aria-label')) found.push(element.outerHTML.slice(0, 200));
    for (const element of inside.querySelectorAll('[tabindex]'))
        if (element.tabIndex > 0) found.push(element.outerHTML.slice(0, 200));
    const ids = [...document.querySelectorAll('#content [id]')].map(element => element.id);
    return found.concat(ids.filter((id, at) => ids.indexOf(id) !== at));
}"""


@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> None:
    location = {"OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = settings.STORAGES | {"default": settings.STORAGES["default"] | location}


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    """Other tests' rows are gone; their counts must be too."""
    statistics.forget()


def complete(execution: Execution) -> None:
    execution.branches.all().delete()
    Execution.objects.filter(pk=execution.pk).update(
        status="completed", completed_at=clock.now(), execution_time_ms=1500
    )


def test_the_first_page_renews_itself(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    execution = factories.start(factories.make_workflow(GREET, name="Invoices"))
    make_failed(factories.make_workflow(GREET))
    sign_in(page, live_server)
    expect(page.locator("#tile-success")).to_contain_text("nothing has ended yet")
    page.locator("#executions-table > summary").press("Enter")
    page.focus("#tile-due")
    page.evaluate("window.sameWindow = true")

    complete(execution)
    expect(page.locator("#tile-success")).to_contain_text("1 of 1 completed")

    expect(page.locator("#tile-duration")).to_contain_text("1.5 s")
    assert page.evaluate(COMPLETED_THIS_HOUR) == 1
    # Nothing that a reader did is undone by it.
    assert page.evaluate("window.sameWindow")
    assert page.evaluate("document.getElementById('executions-table').open")
    assert page.evaluate("document.activeElement.id") == "tile-due"
    assert complaints == []


def test_a_bar_of_the_chart_opens_its_executions(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    complete(factories.start(factories.make_workflow(GREET)))
    sign_in(page, live_server)
    place = page.evaluate(
        """() => {
            const chart = Chart.getChart('executions-chart');
            const bars = chart.getDatasetMeta(0).data;
            const at = chart.data.datasets[0].data.findIndex(number => number > 0);
            const {x, y} = bars[at].getCenterPoint();
            return {x, y};
        }"""
    )

    page.locator("#executions-chart").click(position=place)
    page.wait_for_url("**/admin/workflows/execution/?status__exact=completed&**")

    expect(page.locator("#result_list")).to_contain_text("A workflow")
    assert complaints == []


def test_whoever_is_signed_out_meanwhile_is_led_to_the_login(page: Page, live_server: LiveServer) -> None:
    sign_in(page, live_server)

    page.context.clear_cookies()

    page.wait_for_url("**/admin/login/**")
    expect(page.locator("[name=password]")).to_be_visible()


def test_a_server_that_is_gone_is_said(page: Page, live_server: LiveServer) -> None:
    sign_in(page, live_server)
    expect(page.locator("#dashboard-lost")).to_be_hidden()

    page.route("**/admin/dashboard/", lambda route: route.abort())
    expect(page.locator("#dashboard-lost")).to_be_visible()
    page.unroute("**/admin/dashboard/")

    expect(page.locator("#dashboard-lost")).to_be_hidden()


def test_dropped_files_are_uploaded_with_their_outcome(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/files/file/")

    page.evaluate(DROP, [[f"note {number}.txt", f"Note {number}"] for number in range(5)])
    expect(page.locator("#upload-sum")).to_contain_text("5 uploaded: show in the list")
    page.get_by_role("link", name="note 3.txt").click()
    page.wait_for_url("**/admin/files/file/*/change/")

    assert sorted(File.objects.values_list("original_filename", flat=True)) == [f"note {n}.txt" for n in range(5)]
    assert {file.owner.user.email for file in File.objects.select_related("owner__user")} == {"operator@example.com"}
    assert complaints == []


def test_a_refused_file_is_named_beside_the_others(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/files/file/")

    page.evaluate(DROP, [["run.exe", "MZ"], ["empty.txt", ""], ["note.txt", "Note"]])
    expect(page.locator("#upload-sum")).to_contain_text("1 uploaded, 2 refused")

    rows = page.locator("#upload-rows li")
    expect(rows.nth(0)).to_contain_text("Not uploaded: File type not allowed.")
    expect(rows.nth(1)).to_contain_text("Not uploaded: File is empty (EMPTY_FILE)")
    assert [file.original_filename for file in File.objects.all()] == ["note.txt"]
    # Chromium's own note of an answer 400; nothing else.
    assert len(complaints) == 2
    assert all("status of 400" in complaint for complaint in complaints)


def test_files_are_chosen_by_keyboard_too(page: Page, complaints: list[str], live_server: LiveServer) -> None:
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/files/file/")

    page.get_by_label("Choose files").set_input_files([{"name": "a.txt", "mimeType": "text/plain", "buffer": b"A"}])
    expect(page.locator("#upload-sum")).to_contain_text("1 uploaded")
    page.get_by_role("link", name="show in the list").click()

    expect(page.locator("#result_list")).to_contain_text("a.txt")
    assert complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_is_wider_than_its_window_or_leaves_a_control_unnamed(
    page: Page, complaints: list[str], live_server: LiveServer, theme: str
) -> None:
    workflow = factories.make_workflow(GREET, name="A workflow of which the name is rather long " * 3)
    make_failed(workflow)
    factories.start(workflow)
    file = make_file(workflow.owner, original_filename=f"{'long' * 40}.txt")
    make_text(file, "word " * 500, [{"rows": [["a cell with several words"] * 12] * 3}])
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    sign_in(page, live_server)

    for size in (WIDE, NARROW):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for path in ("", "files/file/", f"files/file/{file.pk}/change/"):
            page.goto(f"{live_server.url}/admin/{path}")
            assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, (path, size)
            if path == "":
                assert page.evaluate(UNNAMED) == []
                assert page.locator("h1").count() == 1
    assert complaints == []
