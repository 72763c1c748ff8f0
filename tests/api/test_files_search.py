"""The list of files: full-text search, its headline and order, and the filters beside it."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Owner
from accounts.services import create_api_key
from bench import fill
from files.models import File
from tests import factories
from tests.admin.rows import make_file, make_text

pytestmark = pytest.mark.django_db

MARK = "<mark>{}</mark>".format


@pytest.fixture
def owner() -> Owner:
    return factories.make_owner()


@pytest.fixture
def api(owner: Owner) -> Client:
    """A caller whose key acts for the owner."""
    _, key = create_api_key(owner=owner, name="k", scopes=["read"], actor="test")
    return Client(raise_request_exception=False, headers={"X-API-Key": key})


def make_found(owner: Owner, text: str, **fields: Any) -> File:
    """Make a processed file whose text is indexed, as the extraction does it."""
    file = make_file(owner, **fields)
    make_text(file, text)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE file_contents SET search = to_tsvector('simple', text) WHERE file_id = %s", [file.pk])
    return file


def ids(api: Client, **query: Any) -> list[int]:
    answer = api.get("/api/v1/files", query)
    assert answer.status_code == 200, answer.content
    assert answer["X-Total-Count"] == str(len(answer.json()))
    return [item["id"] for item in answer.json()]


def test_words_phrases_exclusions_and_alternatives_find_texts_newest_first(api: Client, owner: Owner) -> None:
    orders = make_found(owner, "Orders of paper and ink for the archive")
    ink = make_found(owner, "Ink, then paper: a reminder")
    letter = make_found(owner, "A letter about nothing")

    assert ids(api, search="paper ink") == [ink.pk, orders.pk]
    assert ids(api, search='"paper and ink"') == [orders.pk]
    assert ids(api, search="PAPER -archive") == [ink.pk]
    assert ids(api, search="letter OR reminder") == [letter.pk, ink.pk]
    assert ids(api, search="pape") == []
    assert ids(api, search="   ") == [letter.pk, ink.pk, orders.pk]


@pytest.mark.parametrize(
    ("search", "is_found"),
    [
        ("invoice acme", True),
        ("voice", True),
        ('"Acme Ltd"', True),
        ("nothing or ACME", True),
        ("acme other", False),
        ("acme -other", False),
        ("%", False),
        ("or", False),
        ('"" ""', False),
        ("'; --", False),
        ("\\", False),
    ],
)
def test_names_are_found_by_their_parts_even_without_a_text(
    api: Client, owner: Owner, search: str, is_found: bool
) -> None:
    file = make_file(owner, original_filename="Invoice 7, Acme Ltd.pdf", status="failed")

    assert ids(api, search=search) == ([file.pk] if is_found else [])


def test_nobody_finds_another_owners_texts_or_deleted_ones(api: Client, owner: Owner, service: Client) -> None:
    own = make_found(owner, "the secret plan")
    theirs = make_found(factories.make_owner("Eve"), "the secret plan", original_filename="secret.txt")
    make_found(owner, "the secret plan", status="deleted")

    assert ids(api, search="secret") == [own.pk]
    assert ids(service, search="secret") == [theirs.pk, own.pk]


@pytest.mark.parametrize("path", ["/files", "/api/v1/files"])
def test_the_headline_shows_the_hit_and_escapes_the_text(api: Client, owner: Owner, path: str) -> None:
    make_found(owner, 'Wares <script>alert(1)</script> & 5 < 6 of\x02 ink\n and "quills"\x03')

    [item] = api.get(path, {"search": "ink"}).json()

    # PostgreSQL leaves out what it takes for tags; the rest is escaped.
    expected = "Wares alert(1) &amp; 5 &lt; 6 of <mark>ink</mark> and &quot;quills"
    assert item["search_headline"].removesuffix("&quot;") == expected
    assert "search_headline" not in api.get(path).json()[0]


def test_a_hit_by_name_or_past_the_beginning_of_the_text_has_no_headline(api: Client, owner: Owner) -> None:
    make_found(owner, "nothing of it", original_filename="ink.txt")
    make_found(owner, "paper " * 3000 + "ink")

    items = api.get("/files", {"search": "ink"}).json()

    assert [item["search_headline"] for item in items] == [None, None]
    assert [item["extracted_content_truncated"] for item in items] == [True, False]


def test_the_best_matches_come_first_only_if_asked(api: Client, owner: Owner) -> None:
    often = make_found(owner, "ink ink ink ink")
    by_name = make_file(owner, original_filename="ink.txt", status="uploaded")
    once = make_found(owner, "paper and ink and much else")

    assert ids(api, search="ink") == [once.pk, by_name.pk, often.pk]
    assert ids(api, search="ink", order="rank") == [often.pk, once.pk, by_name.pk]
    assert ids(api, order="rank") == [once.pk, by_name.pk, often.pk]
    page = api.get("/files", {"search": "ink", "order": "rank", "limit": 1, "offset": 1})
    assert ([item["id"] for item in page.json()], page["X-Total-Count"]) == ([once.pk], "3")


def test_filters_narrow_the_list_together(api: Client, owner: Owner) -> None:
    days = [f"2026-11-0{day}T12:00:00Z" for day in (1, 2, 3)]
    pdf = make_file(owner, filename="a.pdf", mime_type="application/pdf", created_at=days[0])
    failed = make_file(owner, filename="b.pdf", mime_type="application/pdf", created_at=days[1], status="failed")
    text = make_file(owner, filename="c.txt", created_at=days[2])

    assert ids(api, extension="PDF") == [failed.pk, pdf.pk]
    assert ids(api, extension=".pdf", status="failed") == [failed.pk]
    assert ids(api, mime_type="TEXT/plain") == [text.pk]
    assert ids(api, created_after=days[1]) == [text.pk, failed.pk]
    assert ids(api, created_before=days[1]) == [pdf.pk]
    assert ids(api, created_after=days[0], created_before=days[2], status="nonsense") == [failed.pk, pdf.pk]
    assert ids(api, status="failed", search="report", limit=1) == [failed.pk]
    assert ids(api, extension="", created_after="", order="") == [text.pk, failed.pk, pdf.pk]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"created_after": "soon"}, "created_after: "),
        ({"created_before": "2026-13-01"}, "created_before: "),
        ({"order": "best"}, 'order: "best" is not a valid choice.'),
        ({"search": "x" * 501}, "search: Ensure this field has no more than 500 characters."),
    ],
)
def test_what_no_filter_can_be_is_a_400_that_names_it(api: Client, query: dict[str, str], detail: str) -> None:
    answer = api.get("/files", query)

    [name] = query
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (400, "VALIDATION_ERROR")
    assert body["detail"].startswith(detail)
    assert [problem["loc"] for problem in body["errors"]] == [["query", name]]
    # As everywhere: the name stands in `loc`, and only the summary repeats it.
    assert [f"{name}: {problem['msg']}" for problem in body["errors"]] == [body["detail"]]


def test_a_search_takes_as_many_statements_for_one_file_as_for_many(api: Client, owner: Owner) -> None:
    make_found(owner, "ink")
    ids(api)  # notes when the key was used last
    with CaptureQueriesContext(connection) as few:
        ids(api, search="ink")
    for _ in range(10):
        make_found(owner, "ink")

    with CaptureQueriesContext(connection) as many:
        assert len(ids(api, search="ink")) == 11

    assert len(many) == len(few)


def test_the_index_answers_a_search_among_many_texts_and_no_text_is_read_whole(service: Client) -> None:
    fill.fill_files(20_000)
    wanted = File.objects.filter(status="processed").order_by("pk")[700]

    with CaptureQueriesContext(connection) as captured:
        found = service.get("/files", {"search": f'"Invoice {wanted.pk} of"'}).json()

    assert [item["id"] for item in found] == [wanted.pk]
    [listed] = [query["sql"] for query in captured if "websearch_to_tsquery" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {listed}")
        [[plan]] = cursor.fetchall()
    assert "file_contents_search" in index_names(json.loads(plan) if isinstance(plan, str) else plan)


def index_names(plan: Any) -> set[str]:
    """Every index that a plan reads."""
    if isinstance(plan, list):
        return set().union(*map(index_names, plan)) if plan else set()
    if not isinstance(plan, dict):
        return set()
    own = {plan["Index Name"]} if "Index Name" in plan else set()
    return own.union(*map(index_names, plan.values()))
