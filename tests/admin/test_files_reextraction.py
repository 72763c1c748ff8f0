"""Extracting many files again from the admin's list, and finding files by their text."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client

from accounts.models import AuditEntry, User
from files import text_search
from files.models import File, FileContent
from tests import factories
from tests.admin.rows import make_file, make_text, messages_of, queries_for, text_of

pytestmark = pytest.mark.django_db

FILES = "/admin/files/file/"
AGAIN = f"{FILES}extract-again/"


def make_searchable(file: File, text: str) -> File:
    make_text(file, text)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE file_contents SET search = to_tsvector('simple', text) WHERE file_id = %s", [file.pk])
    return file


def statuses() -> dict[int, str]:
    return dict(File.objects.values_list("pk", "status"))


def test_chosen_files_are_listed_before_they_are_extracted_again(admin: Client) -> None:
    owner = factories.make_owner()
    failed = make_file(owner, status="failed", error_code="corrupt", original_filename="broken.txt", retry_count=3)
    processed, other = make_file(owner), make_file(owner)
    working = make_file(owner, status="processing")
    chosen = [failed.pk, processed.pk, working.pk]

    preview = admin.post(FILES, {"action": "extract_many", "_selected_action": chosen})
    untouched = statuses()
    answer = admin.post(AGAIN, preview.context["chosen"] | {"workflows": "quietly", "confirm": "1"})

    page = text_of(preview)
    assert untouched == {
        failed.pk: "failed",
        processed.pk: "processed",
        other.pk: "processed",
        working.pk: "processing",
    }
    assert "2 files will be extracted again" in page
    assert "1 is left out: in work, or waiting for it anyhow." in page
    assert "1 failed, 1 processed; 2 txt." in page
    assert f"{failed.pk} broken.txt failed corrupt" in page
    assert messages_of(answer)[-1] == "2 files will be read again; reload to see the results."
    assert statuses() == {
        failed.pk: "uploaded",
        processed.pk: "uploaded",
        other.pk: "processed",
        working.pk: "processing",
    }
    again = File.objects.get(pk=failed.pk)
    assert (again.retry_count, again.error_code, again.run_triggers) == (0, "", False)
    [entry] = AuditEntry.objects.filter(action="file.reextraction_requested")
    assert (entry.actor, entry.before["count"]) == ("operator@example.com", 2)


def test_all_that_match_the_list_are_meant_where_all_are_chosen(admin: Client) -> None:
    owner = factories.make_owner()
    wanted = [make_searchable(make_file(owner, status="failed"), f"the invoice {number}") for number in range(3)]
    make_searchable(make_file(owner, status="failed"), "a letter")
    make_searchable(make_file(owner), "an invoice too")

    preview = admin.post(
        f"{FILES}?status__exact=failed&q=invoice",
        {"action": "extract_many", "_selected_action": [wanted[0].pk], "select_across": "1"},
    )
    admin.post(AGAIN, preview.context["chosen"] | {"workflows": "run", "confirm": "1"})

    assert preview.context["chosen"] == {"every": "1", "status": "failed", "search": "invoice"}
    assert "3 files will be extracted again" in text_of(preview)
    queued = File.objects.filter(status="uploaded", run_triggers=True)
    assert set(queued.values_list("pk", flat=True)) == {file.pk for file in wanted}


def test_the_page_narrows_by_extension_and_error(admin: Client) -> None:
    owner = factories.make_owner()
    files = [
        make_file(owner, filename=f"{number}.{extension}", status="failed", error_code=code)
        for number, (extension, code) in enumerate([("pdf", "corrupt"), ("pdf", "encrypted"), ("txt", "corrupt")])
    ]

    narrowed = admin.post(
        AGAIN, {"every": "1", "extension": ".PDF", "error_code": "corrupt", "workflows": "quietly", "show": "1"}
    )

    assert [item["row"].pk for item in narrowed.context["rows"]] == [files[0].pk]
    assert set(statuses().values()) == {"failed"}


def test_what_was_typed_after_the_list_was_shown_is_shown_before_it_is_queued(admin: Client) -> None:
    owner = factories.make_owner()
    pdf, text = make_file(owner, filename="1.pdf"), make_file(owner, filename="2.txt")
    confirmed = {"every": "1", "shown_extension": "pdf", "shown_error_code": "", "workflows": "quietly", "confirm": "1"}

    cleared = admin.post(AGAIN, confirmed | {"extension": ""})
    untouched = statuses()
    admin.post(AGAIN, confirmed | {"extension": "pdf"})

    assert untouched == {pdf.pk: "processed", text.pk: "processed"}
    assert cleared.context["shown"] == {"extension": "", "error_code": ""}
    assert "2 files will be extracted again Nothing was queued: the fields above were changed" in text_of(cleared)
    assert statuses() == {pdf.pk: "uploaded", text.pk: "processed"}


def test_enter_in_a_field_shows_what_matches(admin: Client) -> None:
    file = make_file(factories.make_owner())

    page = admin.post(FILES, {"action": "extract_many", "_selected_action": [file.pk]}).content.decode()

    # A browser presses the form's first submit button.
    assert page.index('name="show"') < page.index('name="confirm"')


def test_a_filter_that_matches_nothing_says_so(admin: Client) -> None:
    make_file(factories.make_owner())

    page = text_of(admin.post(AGAIN, {"every": "1", "extension": "zip", "workflows": "quietly", "show": "1"}))

    assert "No file will be extracted again No file that was chosen matches." in page
    assert "Nothing was queued" not in page


@pytest.mark.parametrize("keys", ["", "abc", "9" * 5000, "0,,x"])
def test_odd_keys_queue_nothing(admin: Client, keys: str) -> None:
    make_file(factories.make_owner())

    answer = admin.post(AGAIN, {"keys": keys, "workflows": "quietly", "confirm": "1"})

    assert messages_of(answer)[-1].startswith("0 files will be read again")
    assert admin.get(AGAIN).status_code == 405
    assert set(statuses().values()) == {"processed"}


def test_who_may_only_look_or_owns_others_queues_nothing() -> None:
    file = make_file(factories.make_owner())
    user = User.objects.create_user("eve@example.com")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="files"))
    eve = Client()
    eve.force_login(user)
    confirmed = {"every": "1", "workflows": "quietly", "confirm": "1"}

    of_others = eve.post(AGAIN, confirmed)
    user.user_permissions.set(Permission.objects.filter(codename="view_file"))
    refused = eve.post(AGAIN, confirmed)

    assert (of_others.status_code, refused.status_code) == (302, 403)
    assert statuses() == {file.pk: "processed"}


def test_the_search_box_finds_the_text_beside_names_and_ids(admin: Client) -> None:
    owner = factories.make_owner()
    by_text = make_searchable(make_file(owner), "the quarterly report of the archive")
    by_name = make_file(owner, original_filename="Quarterly-report.pdf", status="failed")
    other = make_searchable(make_file(owner), "the report comes quarterly")

    def found(search: str) -> list[int]:
        page = admin.get(FILES, {"q": search})
        return [file.pk for file in page.context["cl"].result_list]

    assert found("quarterly report") == [other.pk, by_name.pk, by_text.pk]
    assert found('"quarterly report"') == [by_text.pk]
    assert found("report -archive") == [other.pk]
    assert found(str(by_name.uuid)) == [by_name.pk]
    assert by_name.pk in found(str(by_name.pk))
    assert found("x" * (text_search.LONGEST_SEARCH + 100)) == []


def test_a_search_takes_no_more_statements_for_more_files(admin: Client, django_assert_max_num_queries: Any) -> None:
    counter = lambda _: django_assert_max_num_queries(100)  # noqa: E731
    owner = factories.make_owner()
    make_searchable(make_file(owner), "words")
    few = queries_for(admin, f"{FILES}?q=words", counter)
    for _ in range(5):
        make_searchable(make_file(owner), "more words")

    assert queries_for(admin, f"{FILES}?q=words", counter) == few
    assert FileContent.objects.count() == 6
