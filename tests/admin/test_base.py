"""The base class of all admin pages: every write goes through a service, or raises."""

import pytest
from django.contrib import admin
from django.contrib.admin import site
from django.core.exceptions import ValidationError
from django.test import RequestFactory

from accounts.models import AuditEntry, Owner, User
from core.admin import CappedPaginator, NoService, ServiceModelAdmin, duration_text, size_text
from core.admin import paginator as paging
from core.admin.forms import JsonTextField

pytestmark = pytest.mark.django_db


class Unserved(ServiceModelAdmin):
    """A page whose class names no service."""


def test_every_registered_page_is_built_on_the_base_class() -> None:
    strangers = [model for model, page in site._registry.items() if not isinstance(page, ServiceModelAdmin)]

    assert strangers == []


def test_no_page_has_editable_lists_or_writing_inlines(operator: User) -> None:
    request = RequestFactory().get("/")
    request.user = operator

    for page in site._registry.values():
        assert page.list_editable == ()
        for inline in page.get_inline_instances(request):
            assert not inline.has_add_permission(request)
            assert not inline.has_change_permission(request)
            assert not inline.can_delete


@pytest.mark.parametrize("change", [True, False])
def test_saving_without_a_service_raises_and_writes_nothing(operator: User, change: bool) -> None:
    request = RequestFactory().post("/")
    request.user = operator
    page = Unserved(Owner, admin.site)

    with pytest.raises(NoService, match="names no service"):
        page.save_model(request, Owner(name="made by hand", kind="team"), form=None, change=change)

    assert not Owner.objects.filter(name="made by hand").exists()


def test_deleting_without_a_service_raises_one_by_one_and_in_bulk(operator: User) -> None:
    owner = Owner.objects.create(name="stays", kind="team")
    request = RequestFactory().post("/")
    request.user = operator
    page = Unserved(Owner, admin.site)

    with pytest.raises(NoService):
        page.delete_model(request, owner)
    with pytest.raises(NoService):
        page.delete_queryset(request, Owner.objects.filter(pk=owner.pk))

    assert Owner.objects.filter(pk=owner.pk).exists()


def test_what_has_no_service_is_not_offered_even_to_a_superuser(operator: User) -> None:
    request = RequestFactory().get("/")
    request.user = operator
    page = Unserved(Owner, admin.site)

    assert page.has_view_permission(request)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)


def test_the_paginator_counts_no_further_than_its_cap(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: object
) -> None:
    monkeypatch.setattr(paging, "MOST_COUNTED", 3)
    AuditEntry.objects.bulk_create(
        AuditEntry(actor="a", action="b", object_type="c", object_id=str(number)) for number in range(9)
    )

    with django_assert_num_queries(1) as statements:  # type: ignore[operator]
        pages = CappedPaginator(AuditEntry.objects.order_by("-id"), 2)
        found = (pages.count, pages.is_capped, pages.num_pages)

    assert found == (3, True, 2)
    assert "LIMIT 4" in statements[0]["sql"]


def test_the_paginator_of_few_rows_is_exact() -> None:
    AuditEntry.objects.create(actor="a", action="b", object_type="c", object_id="1")

    pages = CappedPaginator(AuditEntry.objects.order_by("-id"), 2)

    assert (pages.count, pages.is_capped) == (1, False)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "-"), (0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (61_000, "1 min 1 s"), (3_720_000, "1 h 2 min")],
)
def test_durations_read_in_the_unit_people_would_choose(milliseconds: int | None, text: str) -> None:
    assert duration_text(milliseconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2.0 KiB"), (10 * 2**20, "10.0 MiB"), (3 * 2**30, "3.0 GiB")],
)
def test_sizes_read_in_binary_units(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_a_mistake_in_json_is_said_with_its_line_and_column() -> None:
    with pytest.raises(ValidationError, match="Line 2, column 8"):
        JsonTextField().clean('{\n  "a": ,\n}')


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 200 + "1" + "}" * 200, "[1]", '"text"'])
def test_json_that_cannot_be_stored_or_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        JsonTextField().clean(text)
