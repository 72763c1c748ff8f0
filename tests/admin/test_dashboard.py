"""The first page: figures of the last 24 hours, each with the list behind it, for those who may see it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts import services as accounts
from accounts.models import Owner, User
from core import clock
from tests import factories
from tests.admin.rows import GREET, make_failed, make_file, text_of
from workflows import statistics
from workflows.choices import Lane
from workflows.models import Branch, Execution, Workflow, WorkflowSchedule

pytestmark = pytest.mark.django_db

LIVE = "/admin/dashboard/"


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Neither see the hours of another test's rows nor leave any."""
    statistics.forget()
    yield
    statistics.forget()


def make_ended(workflow: Workflow, *, status: str = "completed", took_ms: int = 1000, **fields: Any) -> Execution:
    """An execution that has ended just now, as the engine leaves it."""
    execution = factories.start(workflow)
    execution.branches.all().delete()
    given = {"completed_at": clock.now(), "execution_time_ms": took_ms, "status": status} | fields
    Execution.objects.filter(pk=execution.pk).update(**given)
    execution.refresh_from_db()
    return execution


def make_author(*permissions: str) -> tuple[Client, Owner]:
    """A staff user, no superuser, with these permissions."""
    user = User.objects.create_user("author@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client, accounts.owner_of_user(user)


def link_of(page: Any, element: str) -> str:
    [found] = re.findall(rf'id="{element}" href="([^"]+)"', page.content.decode())
    return unescape(found)


def test_the_tiles_sum_up_the_last_day(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    for took_ms in (1000, 2000, 4000):
        make_ended(workflow, took_ms=took_ms)
    make_ended(workflow, status="failed")
    make_ended(workflow, status="cancelled")
    make_ended(workflow, status="failed", completed_at=clock.now() - timedelta(hours=25))

    page = text_of(admin.get("/admin/"))

    assert "Success rate, 24 h 75 % 3 of 4 completed" in page
    assert "Median duration, 24 h 2.0 s 95 % within 4.0 s" in page
    assert "3 completed, 1 failed, 1 cancelled" in page


def test_one_failure_among_many_is_never_rounded_to_success(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    done = make_ended(workflow)
    Execution.objects.bulk_create(
        Execution(
            workflow=workflow,
            version_id=done.version_id,
            owner_id=done.owner_id,
            trigger_type="manual",
            status="failed" if number == 0 else "completed",
            completed_at=clock.now(),
        )
        for number in range(3000)
    )

    assert "99.9 % 3,000 of 3,001 completed" in text_of(admin.get(LIVE))


def test_what_runs_waits_and_is_due_is_named_with_its_reason(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, name="Invoices")
    waiting, running, due = (factories.start(workflow) for _ in range(3))
    long_ago = clock.now() - timedelta(minutes=5)
    Branch.objects.filter(execution=waiting).update(
        waiting_on="approval", waiting_reason="waits for the approval of finance@example.com"
    )
    Execution.objects.filter(pk=due.pk).update(updated_at=long_ago)
    Branch.objects.filter(execution=running).update(claimed_by="worker", lease_until=clock.now())

    page = text_of(admin.get(LIVE))

    assert "Running now 1 held by a worker" in page
    assert "Waiting 1 for time, people or others" in page
    assert "Due for a worker 1 the oldest for 5 min" in page
    assert re.search(rf"Running now Invoices #{running.pk} for \d+ (ms|s) in lane flow", page)
    assert re.search(rf"Invoices #{waiting.pk} for .* waits for the approval of finance@example.com", page)
    assert "flow 1 5 min" in page


def test_a_timer_that_rings_counts_as_due_and_a_later_one_does_not(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    for minutes in (-2, 2):
        branch = Branch.objects.get(execution=factories.start(workflow))
        wake_at = clock.now() + timedelta(minutes=minutes)
        Branch.objects.filter(pk=branch.pk).update(lane=Lane.IO, waiting_on="timer", wake_at=wake_at)

    assert "Due for a worker 1 the oldest for 2 min" in text_of(admin.get(LIVE))


def test_failing_workflows_come_with_their_last_error_and_lead_to_their_failures(admin: Client) -> None:
    fragile, sound = (factories.make_workflow(GREET, name=name) for name in ("Fragile", "Sound"))
    make_ended(fragile, status="failed", error_message="the first error")
    last = make_ended(fragile, status="timeout", error_message="the last <b>error</b>")
    make_ended(sound)
    make_ended(sound, status="failed", completed_at=clock.now() - timedelta(days=2))

    page = admin.get(LIVE)
    listed = text_of(admin.get(link_of(page, f"failing-{fragile.pk}")))

    assert "Fragile 2 failed the last &lt;b&gt;error" in text_of(page)
    assert link_of(page, f"failure-{fragile.pk}") == f"/admin/workflows/execution/{last.pk}/change/"
    assert f"failing-{sound.pk}" not in page.content.decode()
    assert "the first error" in listed
    assert "the last" not in listed  # it timed out: another status


def test_every_tile_leads_to_its_list(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    old = make_ended(workflow, completed_at=clock.now() - timedelta(days=3))
    new = make_ended(workflow)

    page = admin.get("/admin/")
    addresses = re.findall(r'(?:id="[^"]+" |class="link" )href="(/admin/[^"]+)"', page.content.decode())
    recent = text_of(admin.get(link_of(page, "tile-success")))

    assert len(addresses) >= 9
    for address in {unescape(address) for address in addresses}:
        assert admin.get(address).status_code == 200, address
    assert f" {new.pk} " in recent
    assert f" {old.pk} A workflow" not in recent


def test_a_bar_of_the_chart_leads_to_the_executions_of_its_hour(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)  # the hour must not end in between
    execution = make_ended(factories.make_workflow(GREET))

    chart = admin.get(LIVE).context["chart"]
    completed = chart["datasets"][0]

    assert (completed["label"], completed["data"][-1], len(chart["labels"])) == ("completed", 1, 24)
    assert f"/admin/workflows/execution/{execution.pk}/change/" in admin.get(completed["urls"][-1]).content.decode()
    assert f"/{execution.pk}/change/" not in admin.get(completed["urls"][-2]).content.decode()


def test_hours_that_are_over_are_read_once_a_minute_and_the_present_one_always(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now().replace(minute=30)
    monkeypatch.setattr(clock, "now", lambda: now)
    workflow = factories.make_workflow(GREET)

    def completed() -> list[int]:
        make_ended(workflow, completed_at=now - timedelta(hours=3))
        make_ended(workflow, completed_at=now)
        data = admin.get(LIVE).context["chart"]["datasets"][0]["data"]
        return [data[-4], data[-1]]

    first, second = completed(), completed()
    statistics.forget()
    third = completed()

    assert (first, second, third) == ([1, 1], [1, 2], [3, 3])


def test_another_owner_is_never_shown_what_was_kept_for_one(admin: Client) -> None:
    client, owner = make_author("view_execution")
    for workflow in (factories.make_workflow(GREET), factories.make_workflow(GREET, owner=owner)):
        make_ended(workflow, completed_at=clock.now() - timedelta(hours=3))

    pages = [text_of(viewer.get(LIVE)) for viewer in (admin, client, admin)]

    assert ["2 of 2" in page for page in pages] == [True, False, True]
    assert "1 of 1 completed" in pages[1]


def test_the_next_slots_are_shown_soonest_first(admin: Client) -> None:
    every_day = IntervalSchedule.objects.create(every=1, period="days")
    for name, hours, enabled in (("Late", 5, True), ("Soon", 1, True), ("Off", 2, False)):
        task = PeriodicTask.objects.create(name=name, task="x", interval=every_day, enabled=enabled)
        slot = clock.now() + timedelta(hours=hours, seconds=30)
        workflow = factories.make_workflow(GREET, name=name)
        WorkflowSchedule.objects.create(periodic_task=task, workflow=workflow, next_slot_at=slot)

    page = text_of(admin.get(LIVE))

    assert re.search(r"Next scheduled slots Soon in 1 h 0 min .* Late in 5 h 0 min", page)
    assert "Off" not in page


def test_files_are_counted_by_status_without_the_deleted(admin: Client) -> None:
    owner = factories.make_owner()
    for status in ("processed", "processed", "failed", "deleted"):
        make_file(owner, status=status, file_size=1024)

    page = text_of(admin.get(LIVE))

    assert "Files 3.0 KiB stored uploaded 0 processing 0 processed 2 failed 1" in page
    assert "free of" in page


def test_an_empty_server_says_what_to_do_first(admin: Client) -> None:
    page = text_of(admin.get("/admin/"))

    assert "First steps Create a workflow" in page
    assert "-F file=@invoice.pdf http://testserver/files/upload" in page
    assert "None yet. Give a workflow a cron schedule" in page
    assert "No execution in the last 24 hours." in page
    assert "Success rate, 24 h - nothing has ended yet" in page


def test_the_first_steps_go_once_there_are_files_and_workflows(admin: Client) -> None:
    make_file(factories.make_workflow(GREET).owner)

    assert "First steps" not in text_of(admin.get("/admin/"))


def test_an_author_sees_the_own_rows_only(db: None) -> None:
    client, owner = make_author("view_execution", "view_file", "view_workflow")
    own = factories.make_workflow(GREET, owner=owner, name="Mine")
    foreign = factories.make_workflow(GREET, name="Foreign")
    for workflow in (own, foreign):
        make_ended(workflow, status="failed", error_message=f"{workflow.name} failed")
        Branch.objects.filter(execution=factories.start(workflow)).update(claimed_by="worker", lease_until=clock.now())
        factories.start(workflow)
        make_file(workflow.owner)

    page = text_of(client.get(LIVE))

    assert "0 of 1 completed" in page
    assert "Running now 1 held" in page
    assert "Due for a worker 1 the oldest" in page
    assert "processed 1" in page
    assert "Mine failed" in page
    assert "Foreign" not in page
    assert "free of" not in page  # the disk is the operator's business


def test_whoever_may_see_no_list_sees_no_figure(db: None) -> None:
    client, owner = make_author()
    make_ended(factories.make_workflow(GREET, owner=owner))

    page = text_of(client.get(LIVE))

    assert "Your account may see no list yet" in page
    for word in ("Success rate", "Running now", "Queues", "Files", "Disk", "slots"):
        assert word not in page


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_the_live_part_is_for_staff(client: Client, db: None, is_signed_in: bool) -> None:
    if is_signed_in:
        client.force_login(User.objects.create_user("guest@example.com"))

    answer = client.get(LIVE)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_the_live_part_is_not_cached_and_has_no_page_around_it(admin: Client) -> None:
    answer = admin.get(LIVE)

    assert "no-store" in answer["Cache-Control"]
    assert "<html" not in answer.content.decode()


def test_the_number_of_queries_does_not_grow_with_the_rows(admin: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(LIVE).status_code == 200
        return len(captured)

    make_failed(factories.make_workflow(GREET))
    statements()  # the first one makes the user's owner
    few = statements()
    for _ in range(4):
        workflow = factories.make_workflow(GREET)
        make_ended(workflow, status="failed")
        Branch.objects.filter(execution=factories.start(workflow)).update(claimed_by="worker", lease_until=clock.now())
        Branch.objects.filter(execution=factories.start(workflow)).update(waiting_on="event")
        make_file(workflow.owner)

    assert statements() <= few + 1  # the last errors are read once there are any
    assert few <= 15


def test_an_empty_list_says_what_to_do_next(admin: Client) -> None:
    assert "No files yet Drop files into the box above" in text_of(admin.get("/admin/files/file/"))
    assert "No executions yet Open a workflow and press Run now" in text_of(admin.get("/admin/workflows/execution/"))
    assert "No workflows yet Add the first workflow" in text_of(admin.get("/admin/workflows/workflow/"))


def test_a_search_without_result_leads_back_to_the_whole_list(admin: Client) -> None:
    make_file(factories.make_owner())

    page = admin.get("/admin/files/file/?q=nowhere")

    assert "Nothing matches No file fits the search. Show all files" in text_of(page)
    assert '<a href="?">' in page.content.decode()
