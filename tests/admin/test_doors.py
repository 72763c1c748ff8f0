"""What a person or a script sends to the admin by hand: it is refused in words, and nothing is changed behind it."""

import json
import re

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client, RequestFactory

from accounts.models import User
from accounts.services import owner_of_user
from core.admin.forms import JsonTextField
from core.api import errors
from files.models import File
from tests import factories
from tests.admin.rows import GREET, editor_of, make_failed, make_file
from tests.admin.test_workflows_admin import WORKFLOWS, form_of
from workflows.models import Execution, Workflow

pytestmark = pytest.mark.django_db

HUGE = "9" * 5000


@pytest.mark.parametrize("keys", [["abc"], ["9" * 5000], ["9" * 30], ["-1"], ["1; DROP"], ["²"]])
def test_a_list_action_leaves_out_what_no_row_can_be(admin: Client, keys: list[str]) -> None:
    workflow = factories.make_workflow(GREET)

    alone = admin.post(WORKFLOWS, {"action": "disable_selected", "_selected_action": keys})
    untouched = Workflow.objects.get(pk=workflow.pk).is_enabled
    beside = admin.post(WORKFLOWS, {"action": "disable_selected", "_selected_action": [*keys, workflow.pk]})

    assert (alone.status_code, beside.status_code, untouched) == (302, 302, True)
    assert not Workflow.objects.get(pk=workflow.pk).is_enabled


def test_a_search_for_thousands_of_digits_finds_nothing(admin: Client) -> None:
    assert admin.get(WORKFLOWS, {"q": "9" * 5000}).status_code == 200


@pytest.mark.parametrize("wanted", [HUGE, "²", "-1", "9" * 30])
def test_a_retry_of_a_number_that_no_attempt_has_is_not_found(admin: Client, wanted: str) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))

    answer = admin.post(f"/admin/workflows/execution/{execution.pk}/press/retry_step/", {"attempt": wanted})

    assert answer.status_code == 404


@pytest.mark.parametrize("owner", [HUGE, "²", "9" * 30])
def test_an_upload_for_an_owner_that_cannot_be_is_refused(admin: Client, owner: str) -> None:
    assert admin.post("/admin/files/file/upload/", {"owner": owner, "file": _document()}).status_code == 403
    assert not File.objects.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": [1, 1e999]}', "/a/1: 1e999 is too large a number; write it as text, in quotes"),
        ('{"a": -1e400}', "/a: -1e400 is too large a number; write it as text, in quotes"),
        (
            '{"a": 18446744073709551616}',
            "/a: 18446744073709551616 is a whole number beyond 64 bits; write it as text, in quotes",
        ),
        (
            '{"a": ' + "7" * 400 + "}",
            f"/a: {'7' * 40}… is a whole number beyond 64 bits; write it as text, in quotes",
        ),
        ('{"a": "\\ud800"}', "/a: the text holds half of a surrogate pair, which is no character"),
        ('{"a": "x\\u0000"}', "/a: the text holds U+0000, which cannot be stored"),
        ('{"\\udfff": 1}', "/'\\udfff': this key holds half of a surrogate pair, which is no character"),
        ('{"a": NaN}', "/a: NaN is no JSON"),
    ],
)
def test_what_would_not_be_stored_as_typed_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        JsonTextField().clean(text)

    assert refused.value.messages == [said]


def test_the_largest_numbers_and_whole_characters_are_kept() -> None:
    text = '{"most": 18446744073709551615, "least": -9223372036854775808, "pair": "\\ud83d\\ude00", "small": 1e-999}'

    assert JsonTextField().clean(text) == {
        "most": 18446744073709551615,
        "least": -9223372036854775808,
        "pair": "😀",
        "small": 0.0,
    }


def test_a_definition_and_an_input_that_would_be_changed_are_refused(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    broken = json.dumps(workflow.workflow_config).replace("Hello", "Hello \\ud800")

    saved = admin.post(f"{WORKFLOWS}{workflow.pk}/change/", form_of(workflow, workflow_config=broken))
    run = admin.post(f"{WORKFLOWS}{workflow.pk}/run/", {"trigger_data": '{"total": 1e999}'})

    said = "/steps/0/config/message: the text holds half of a surrogate pair, which is no character"
    assert saved.context["adminform"].form.errors == {"workflow_config": [said]}
    assert run.context["form"].errors == {
        "trigger_data": ["/total: 1e999 is too large a number; write it as text, in quotes"]
    }
    assert Workflow.objects.get(pk=workflow.pk).workflow_config == {"steps": GREET}
    assert not Execution.objects.exists()


def test_a_workflows_pages_tell_of_files_and_executions_only_to_who_may_see_them() -> None:
    user, editor = editor_of("vera")
    workflow = factories.make_workflow(GREET, owner=owner_of_user(user))
    factories.start(workflow, {"who": "the last input"})
    make_file(workflow.owner, original_filename="payroll.txt")
    pages = [f"{WORKFLOWS}{workflow.pk}/{page}/" for page in ("change", "match", "run")]
    told = ("payroll.txt", "Latest executions", "the last input")

    def seen() -> list[list[str]]:
        return [[word for word in told if word in editor.get(page).content.decode()] for page in pages]

    user.user_permissions.set(Permission.objects.filter(codename__in=["view_workflow", "change_workflow"]))
    without = seen()
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_file", "view_execution"]))

    assert without == [[], [], []]
    assert seen() == [["payroll.txt", "Latest executions"], ["payroll.txt"], ["payroll.txt", "the last input"]]


@pytest.mark.parametrize("query", ["name__regex=[", "name__regex=(", "workflow_config__regex=["])
def test_a_filter_that_only_the_database_refuses_leads_back_to_the_list(admin: Client, query: str) -> None:
    factories.make_workflow(GREET)

    with transaction.atomic():  # the refusal breaks it
        answer = admin.get(f"{WORKFLOWS}?{query}")
        transaction.set_rollback(True)

    assert (answer.status_code, answer["Location"]) == (302, f"{WORKFLOWS}?e=1")


def _document() -> SimpleUploadedFile:
    return SimpleUploadedFile("report.txt", b"words")


def test_the_error_pages_wear_the_theme_and_lead_back(admin: Client, operator: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    _, editor = editor_of("vera")

    pages = {
        "There is no such page": admin.get("/admin/nonsense/"),
        "This form has expired": strict.post(f"{WORKFLOWS}check/"),
        "You may not do this": editor.get("/admin/accounts/user/"),
    }

    for heading, page in pages.items():
        content = page.content.decode()
        assert f"<h1>{heading}</h1>" in content
        assert '<a class="main" href="/admin/">To the first page</a>' in content
        assert "/static/core/error.css" in content


def test_the_page_of_a_broken_server_asks_no_database(
    django_assert_num_queries: object,
) -> None:
    request = RequestFactory().get("/admin/")

    with django_assert_num_queries(0):  # type: ignore[operator]
        page = errors.server_error(request)

    assert page.status_code == 500
    assert "<h1>Something went wrong on the server</h1>" in page.content.decode()


def test_the_admins_pages_load_nothing_from_elsewhere_and_no_script_of_their_own(admin: Client) -> None:
    page = admin.get("/admin/")

    policy = page["Content-Security-Policy"]
    assert "default-src 'self'; script-src 'self' 'unsafe-eval'; " in policy
    assert re.findall(r"<script(?![^>]* src=)(?![^>]*application/json)[^>]*>", page.content.decode()) == []
    assert "Content-Security-Policy" not in admin.get("/health").headers
