"""Secrets in the admin: typed in, never shown."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts import secret_services
from accounts.models import Secret
from accounts.secret_services import Values
from tests import factories

pytestmark = pytest.mark.django_db

VALUE = "the-planted-value"


def test_a_secret_is_made_rotated_and_deleted_without_being_shown(admin: Client) -> None:
    owner = factories.make_owner()
    form = {"name": "token", "owner": owner.pk, "value": VALUE, "description": "of the archive"}

    made = admin.post("/admin/accounts/secret/add/", form, follow=True)
    secret = Secret.objects.get()
    page = f"/admin/accounts/secret/{secret.pk}/change/"
    shown = admin.get(page)
    kept = admin.post(page, {"value": "", "description": "of the new archive"}, follow=True)
    assert secret_services.values_of(owner.pk) == Values({"token": VALUE}, ())
    rotated = admin.post(page, {"value": "another-value", "description": "of the new archive"}, follow=True)

    secret.refresh_from_db()
    assert secret_services.values_of(owner.pk) == Values({"token": "another-value"}, (VALUE,))
    assert (secret.version, secret.description, secret.created_by) == (2, "of the new archive", "operator@example.com")
    pages = [answer.content.decode() for answer in (made, shown, kept, rotated, admin.get("/admin/accounts/secret/"))]
    for body in pages:
        assert VALUE not in body
        assert "another-value" not in body
        assert secret.value_encrypted not in body
    assert "value" not in " ".join(LogEntry.objects.values_list("object_repr", flat=True))
    admin.post(f"/admin/accounts/secret/{secret.pk}/delete/", {"post": "yes"})
    assert not Secret.objects.exists()


def test_a_refused_value_is_said_beside_its_field_and_not_repeated(admin: Client) -> None:
    form = {"name": "token", "owner": factories.make_owner().pk, "value": "12345", "description": ""}

    answer = admin.post("/admin/accounts/secret/add/", form)

    body = answer.content.decode()
    assert answer.status_code == 200
    assert "At least 6 characters: a shorter one cannot be masked." in body
    assert "12345" not in body
    assert not Secret.objects.exists()
