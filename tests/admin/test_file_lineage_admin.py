"""The admin's file page tells what a file was made from, by what, and what was made from it."""

import pytest
from django.test import Client
from django.urls import NoReverseMatch

from files import admin_lineage
from files.models import File
from tests import factories
from tests.admin.rows import GREET, make_file, text_of

pytestmark = pytest.mark.django_db
FILES = "/admin/files/file/"


def page_of(admin: Client, file: File) -> tuple[str, str]:
    page = admin.get(f"{FILES}{file.pk}/change/")
    return text_of(page), page.content.decode()


def test_a_made_file_links_to_its_source_and_its_execution(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    source = make_file(execution.owner, original_filename="report.xlsx")
    made = make_file(
        execution.owner,
        original_filename="report.csv",
        source_file=source,
        made_by_action="convert",
        made_by_execution_id=execution.pk,
        made_by_step="each[2].convert",
        made_by_version_id=execution.version_id,
    )

    text, body = page_of(admin, made)

    assert f"Lineage Made from report.xlsx (#{source.pk}) Made by convert In execution {execution.pk}" in text
    assert f"At step each[2].convert Workflow version {execution.version_id}" in text
    assert f'href="{FILES}{source.pk}/change/"' in body
    assert f'href="/admin/workflows/execution/{execution.pk}/change/"' in body


def test_a_source_links_to_all_that_was_made_from_it(admin: Client) -> None:
    owner = factories.make_owner()
    source = make_file(owner, original_filename="report.xlsx")
    made = make_file(owner, original_filename="a<i>.csv", source_file=source, made_by_action="convert", file_size=2048)
    gone = make_file(owner, original_filename="b.csv", source_file=source, made_by_action="convert", status="deleted")

    text, body = page_of(admin, source)

    assert "Made from this file File Made by In execution Size Status a" in text
    assert f".csv (#{made.pk}) convert" in text
    assert f"b.csv (#{gone.pk}) (deleted)" in text
    assert f'href="{FILES}{made.pk}/change/">a&lt;i&gt;.csv' in body
    assert "Made from report" not in text


def test_a_file_without_relations_has_no_such_panel(admin: Client) -> None:
    assert "Lineage" not in page_of(admin, make_file(factories.make_owner()))[0]


def test_many_files_of_one_source_are_cut_and_cost_no_more_queries(
    admin: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries
) -> None:
    owner = factories.make_owner()
    few, many = make_file(owner), make_file(owner)
    for source, count in ((few, 1), (many, 4)):
        for _ in range(count):
            make_file(owner, source_file=source, made_by_action="resize", made_by_execution_id=5)
    monkeypatch.setattr(admin_lineage, "MOST_OUTPUTS", 3)
    page_of(admin, few)

    with django_assert_max_num_queries(50) as one:
        page_of(admin, few)
    with django_assert_max_num_queries(50) as three:
        text, _ = page_of(admin, many)

    assert len(one.captured_queries) == len(three.captured_queries)
    assert "The first 3 are shown." in text


def test_a_source_that_is_gone_is_told(admin: Client) -> None:
    made = make_file(factories.make_owner(), made_by_action="convert", made_by_execution_id=10**9)

    assert "Made from a file that is no longer there" in page_of(admin, made)[0]


def test_without_pages_of_executions_the_number_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object, **kwargs: object) -> str:
        raise NoReverseMatch

    monkeypatch.setattr(admin_lineage, "reverse", nothing)

    assert admin_lineage._execution_link(7) == "7"
