"""Stored JSON that another version, or somebody's hand, wrote in another shape costs what it says, never the page."""

from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import PeriodicTask

from files.models import FileContent
from tests import factories
from tests.admin.rows import make_file, make_text, text_of
from tests.admin.schedule_pages import CRONTABS
from tests.unit.workflows.schedules import crontab
from workflows.models import Evaluation

pytestmark = pytest.mark.django_db

JUNK = [None, 1, "x", {"a": 1}, [None], [1], ["x"], [[1]], [{}], [{"rows": None}]]
WHOLE = {"workflow_id": 7, "workflow": "Post it", "fired": True, "reason": "", "execution_id": 8}


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_damaged_verdicts_cost_neither_the_list_nor_the_pages(admin: Client, junk: Any) -> None:
    file = make_file(factories.make_owner())
    made = {"owner": file.owner, "file_id": file.pk, "evaluated_at": file.created_at}
    damaged = Evaluation.objects.create(processing_number=1, request=junk or [], verdicts=[], **made)
    Evaluation.objects.create(processing_number=2, request={"original_filename": "b.txt"}, verdicts=[WHOLE], **made)
    Evaluation.objects.filter(pk=damaged.pk).update(verdicts=junk if junk is not None else 0)

    shown = text_of(admin.get("/admin/workflows/evaluation/"))

    assert "b.txt" in shown
    assert "0 of 0" in shown
    assert "1 of 1" in shown
    assert "Post it" in text_of(admin.get(f"/admin/files/file/{file.pk}/change/"))
    assert admin.get(f"/admin/workflows/evaluation/{damaged.pk}/change/").status_code == 200


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_damaged_tables_do_not_cost_the_page_of_the_file(admin: Client, junk: Any) -> None:
    file = make_file(factories.make_owner())
    make_text(file, "some words")
    beside = [*junk, {"rows": [3, ["a cell"]]}] if isinstance(junk, list) else junk
    FileContent.objects.filter(file=file).update(tables=beside if junk is not None else 0)

    page = text_of(admin.get(f"/admin/files/file/{file.pk}/change/"))

    assert "some words" in page
    assert ("Tables (1)" in page) == ("a cell" in page) == isinstance(junk, list)


def test_a_crontab_that_hundreds_of_schedules_share_can_be_seen_and_saved(admin: Client) -> None:
    shared = crontab("5 9 * * *")
    tasks = [PeriodicTask(name=f"task {number:03}", task="workflows.drain", crontab=shared) for number in range(600)]
    PeriodicTask.objects.bulk_create(tasks)
    path = f"{CRONTABS}{shared.pk}/change/"

    page = admin.get(path)
    given = {name: value for name, value in page.context["adminform"].form.initial.items() if name != "id"}
    hidden = {"_seen": page.content.decode().split('name="_seen" value="')[1].split('"')[0]}
    answer = admin.post(path, {**given, **hidden, "minute": "6"})

    assert "task 099 yes The first 100 are shown." in text_of(page)
    assert page.content.decode().count("periodictask") < 300
    assert answer.status_code == 302
    shared.refresh_from_db()
    assert shared.minute == "6"
