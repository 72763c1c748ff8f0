"""The admin in a real browser: sign in, mend a definition where it is wrong, run now, watch it live, retry."""

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import ApiKey
from tests import factories
from tests.admin.rows import GREET, make_failed, make_file, make_text
from tests.e2e.browser import NARROW, sign_in
from workflows.models import Execution, Workflow

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.django_db(transaction=True)]


def test_an_author_meets_a_problem_at_its_line_mends_it_and_runs_the_workflow(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    workflow = factories.make_workflow(GREET)
    sign_in(page, live_server)

    page.goto(f"{live_server.url}/admin/workflows/workflow/{workflow.pk}/change/")
    page.get_by_text("No problems found").wait_for()
    broken = json.dumps({"steps": [{"name": "greet", "type": "logg", "config": {}}]}, indent=2)
    page.fill("[name=workflow_config]", broken)
    page.get_by_text("1 error", exact=True).wait_for()
    note = page.locator(".noted.error").inner_text()
    sign_top = page.locator(".sign.error").evaluate("sign => sign.style.top")
    page.get_by_role("button", name="Line 5").click()
    marked = page.evaluate("getSelection().toString()")
    page.click("[name=_save]")
    page.get_by_text("1 error", exact=True).wait_for()
    kept = page.input_value("[name=workflow_config]")
    mended = {"steps": [{"name": "greet", "type": "log", "config": {"message": "Good morning {{trigger.who}}"}}]}
    page.fill("[name=workflow_config]", json.dumps(mended))
    page.get_by_text("No problems found").wait_for()
    page.click("[name=_continue]")
    page.get_by_role("link", name="Run now").click()
    page.fill("[name=trigger_data]", '{"who": "Grace"}')
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url("**/admin/workflows/execution/*/change/")

    assert "unknown step type 'logg'; did you mean 'log'?" in note
    assert sign_top == f"{4 * 18}px"
    assert marked.strip() == '"type": "logg",'
    assert kept.splitlines() == broken.splitlines()
    assert Workflow.objects.get(pk=workflow.pk).workflow_config == mended
    assert Execution.objects.get().trigger_data == {"who": "Grace"}
    assert complaints == []


def test_a_syntax_mistake_is_shown_where_it_is_and_f8_leads_there(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    workflow = factories.make_workflow(GREET)
    sign_in(page, live_server)

    page.goto(f"{live_server.url}/admin/workflows/workflow/{workflow.pk}/change/")
    page.fill("[name=workflow_config]", '{\n  "steps": [,]\n}')
    page.get_by_text("Line 2, column 13").wait_for()
    page.locator("[name=workflow_config]").press("F8")
    caret = page.evaluate("document.querySelector('[name=workflow_config]').selectionStart")
    page.locator("[name=workflow_config]").press("Tab")
    left = page.evaluate("document.activeElement.name")

    assert caret == len('{\n  "steps": [')
    assert left != "workflow_config"
    assert complaints == []


def test_a_snippet_goes_to_the_end_of_the_steps_and_undo_takes_it_back(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    workflow = factories.make_workflow(GREET)
    sign_in(page, live_server)

    page.goto(f"{live_server.url}/admin/workflows/workflow/{workflow.pk}/change/")
    page.get_by_text("No problems found").wait_for()  # until then the page may move under a click
    before = page.input_value("[name=workflow_config]")
    for kind in ("delay", "log"):
        page.locator(".step-type > summary", has_text=kind).first.press("Enter")
        page.get_by_role("button", name=f"Insert a step of type {kind}").click()
    page.get_by_role("button", name="Insert a step of type delay").click()
    inserted = json.loads(page.input_value("[name=workflow_config]"))
    page.get_by_role("button", name="Format").click()
    formatted = page.input_value("[name=workflow_config]")
    page.get_by_text("No problems found").wait_for()
    for _ in range(4):
        page.locator("[name=workflow_config]").press("Control+z")

    assert [step["name"] for step in inserted["steps"]] == ["greet", "delay", "log", "delay_2"]
    assert formatted == json.dumps(inserted, indent=2)
    assert page.input_value("[name=workflow_config]") == before
    assert complaints == []


def test_the_page_of_an_execution_stays_while_the_database_is_away_and_says_so(
    page: Page, live_server: LiveServer
) -> None:
    execution = factories.start(factories.make_workflow(GREET), {"who": "Grace"})
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/execution/{execution.pk}/change/")
    page.evaluate("window.isTheSamePage = true")

    page.route("**/live/**", lambda route: route.fulfill(status=503, body="The database is away"))
    note = page.get_by_text("The server does not answer; this may be out of date.")
    note.wait_for()
    page.unroute("**/live/**")
    factories.drain_all()
    page.get_by_text("Every step that was to run has completed.").wait_for()

    assert page.evaluate("window.isTheSamePage")
    assert note.count() == 0


def test_the_page_of_an_execution_goes_from_waiting_to_completed_without_a_reload(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    steps = [{"name": "wait", "type": "delay", "config": {"seconds": 0.05}}, *GREET]
    execution = factories.start(factories.make_workflow(steps), {"who": "Grace"})
    sign_in(page, live_server)

    page.goto(f"{live_server.url}/admin/workflows/execution/{execution.pk}/change/")
    page.evaluate("window.isTheSamePage = true")
    page.get_by_text("waits for a free worker").wait_for()
    factories.drain_all()
    wait = page.locator("details.step", has_text="wait").first
    wait.locator("> summary").press("Enter")
    finish_by = time.monotonic() + 60
    while Execution.objects.get(pk=execution.pk).status != "completed":
        assert time.monotonic() < finish_by
        factories.drain_all()
    page.locator("#execution-live[data-status=completed]").wait_for()

    focused = page.evaluate("document.activeElement.closest('details.step')?.id")
    assert page.evaluate("window.isTheSamePage")
    assert wait.evaluate("step => step.open")
    assert focused == f"attempt-{execution.attempts.get(path='wait').pk}"
    assert page.locator("#execution-live").get_attribute("hx-get") is None
    assert page.get_by_role("button", name="Cancel").count() == 0
    assert page.locator("#execution-said").inner_text() == "The execution is completed."
    page.get_by_label("Attempt 1 of greet, completed").click()
    assert "Hello Grace" in page.locator("details.step[open]", has_text="greet").inner_text()
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
    # The first one stands beside the reason, without scrolling.
    retry = page.get_by_role("button", name="Retry from here").first
    in_sight = retry.evaluate("button => button.getBoundingClientRect().bottom < window.innerHeight")
    retry.click()
    page.get_by_text("Step greet runs again").wait_for()

    assert "Step 'greet' failed: the log is full" in reason
    assert too_wide <= 0
    assert in_sight
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


def test_whoever_was_signed_out_meanwhile_is_asked_to_sign_in_again(page: Page, live_server: LiveServer) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/execution/{execution.pk}/change/")

    page.context.clear_cookies()

    page.wait_for_url("**/admin/login/**")


def test_an_operator_runs_an_execution_again_with_another_input(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/execution/{execution.pk}/change/")

    page.get_by_role("link", name="Re-run").click()
    begin = page.locator("[name=begin] option:checked").inner_text()
    page.fill("[name=trigger_data]", '{"who": "Ada"}')
    page.get_by_role("button", name="Run again").click()
    page.get_by_text("this is the new execution").wait_for()

    assert begin == "From the step that failed: greet"
    again = Execution.objects.latest("pk")
    assert (again.rerun_of_id, again.trigger_data) == (execution.pk, {"who": "Ada"})
    assert complaints == []


def test_many_executions_are_listed_first_and_run_again_once(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    workflow = factories.make_workflow(GREET)
    failed = [make_failed(workflow)[0].pk for _ in range(2)]
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/execution/")

    for box in page.locator("input.action-select").all():
        box.check()
    page.select_option("select[name=action]", "run_again")
    page.locator("button[name=index]").first.click()
    page.get_by_text("2 of 2 chosen executions will run again").wait_for()
    untouched = Execution.objects.count()
    page.get_by_role("button", name="Run 2 again").click()
    page.get_by_text("2 executions run again.").wait_for()

    assert untouched == 2
    assert sorted(Execution.objects.exclude(rerun_of=None).values_list("rerun_of", flat=True)) == failed
    assert complaints == []


def test_a_reload_of_the_page_of_a_new_key_makes_no_second_one(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/accounts/apikey/add/")

    page.fill("[name=name]", "importer")
    page.click("[name=_save]")
    shown = page.locator("#new-key").inner_text()
    page.get_by_role("button", name="Copy the key").click()
    button = page.locator("[data-copy=new-key]")
    expect(button).to_have_text(re.compile("Copied|Marked: now copy it"))
    page.reload()
    page.get_by_text("was shown once, when it was made").wait_for()

    assert shown.startswith("pak_")
    assert page.locator("#new-key").count() == 0
    assert ApiKey.objects.count() == 1
    assert complaints == []


def test_a_mistyped_key_is_shown_at_its_line_and_does_not_stop_a_save(
    page: Page, complaints: list[str], live_server: LiveServer
) -> None:
    workflow = factories.make_workflow(GREET)
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/workflow/{workflow.pk}/change/")

    mistyped = {"steps": [{"name": "greet", "type": "log", "config": {"mesage": "Hello"}}]}
    page.fill("[name=workflow_config]", json.dumps(mistyped, indent=2))
    page.get_by_text("1 warning", exact=True).wait_for()
    note = page.locator(".noted.warning").inner_text()
    page.click("[name=_continue]")
    page.get_by_text("was changed successfully").wait_for()

    assert "nothing reads the key 'mesage' here; did you mean 'message'?" in note
    assert Workflow.objects.get(pk=workflow.pk).workflow_config == mistyped
    assert complaints == []


def test_names_without_end_push_no_page_wider_than_its_window(page: Page, live_server: LiveServer) -> None:
    endless = "x" * 240
    workflow = factories.make_workflow(GREET, name=endless)
    file = make_file(workflow.owner, original_filename=endless)
    make_text(file, endless, [{"name": endless, "rows": [[endless]]}])
    sign_in(page, live_server)
    page.goto(f"{live_server.url}/admin/workflows/workflow/")
    column = page.locator("#result_list .field-name").bounding_box()
    widths = []
    for path in ("workflows/workflow/", "files/file/", f"files/file/{file.pk}/change/"):
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        page.goto(f"{live_server.url}/admin/{path}")
        widths.append(page.evaluate("document.documentElement.scrollWidth"))

    assert column is not None
    assert column["width"] < 450
    assert widths == [NARROW["width"]] * 3
