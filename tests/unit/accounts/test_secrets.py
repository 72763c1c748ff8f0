"""Secrets are kept encrypted, written only, rotated, and forgotten slowly."""

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import secret_services
from accounts.errors import DuplicateSecret, SecretNotFound
from accounts.models import AuditEntry, Owner, RetiredSecret, Secret
from accounts.secret_services import Values
from core.errors import InvalidInput
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Owner:
    return factories.make_owner()


def make(owner: Owner, name: str = "token", value: str = "first-value") -> Secret:
    return secret_services.create_secret(owner=owner, name=name, value=value, actor="ada@example.com")


def stored_text() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(t::text, ' ') FROM secrets t")
        secrets = cursor.fetchone()[0] or ""
        cursor.execute("SELECT string_agg(t::text, ' ') FROM retired_secrets t")
        retired = cursor.fetchone()[0] or ""
        cursor.execute("SELECT string_agg(t::text, ' ') FROM audit_entries t")
        return f"{secrets} {retired} {cursor.fetchone()[0]}"


def test_a_secret_is_stored_encrypted_and_audited_without_its_value(owner: Owner) -> None:
    secret = make(owner)

    assert secret_services.values_of(owner.pk) == Values({"token": "first-value"}, ())
    assert "first-value" not in stored_text()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.actor) == ("secret.created", str(secret.pk), "ada@example.com")
    assert entry.after == {"name": "token", "description": "", "version": 1}


def test_a_rotation_gives_the_new_value_and_keeps_the_old_one_for_masking(owner: Owner) -> None:
    secret = make(owner)

    changed = secret_services.update_secret(secret.pk, value="second-value", actor="x")

    assert secret_services.values_of(owner.pk) == Values({"token": "second-value"}, ("first-value",))
    assert changed.version == 2
    assert changed.rotated_at is not None
    assert "second-value" not in stored_text()
    assert AuditEntry.objects.order_by("-pk")[0].action == "secret.rotated"


def test_a_new_description_rotates_nothing(owner: Owner) -> None:
    secret = make(owner)

    changed = secret_services.update_secret(secret.pk, description="of the archive", actor="x")

    assert (changed.description, changed.version, changed.rotated_at) == ("of the archive", 1, None)
    assert not RetiredSecret.objects.exists()


def test_a_deleted_secret_is_masked_on(owner: Owner) -> None:
    secret = make(owner)

    secret_services.delete_secret(secret.pk, actor="x")

    assert secret_services.values_of(owner.pk) == Values({}, ("first-value",))
    with pytest.raises(SecretNotFound):
        secret_services.delete_secret(secret.pk, actor="x")


def test_only_the_newest_former_values_are_kept(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_services, "MOST_RETIRED", 2)
    secret = make(owner)

    for number in range(4):
        secret_services.update_secret(secret.pk, value=f"value-{number}", actor="x")

    assert set(secret_services.values_of(owner.pk).retired) == {"value-1", "value-2"}


def test_names_are_the_owners_own(owner: Owner) -> None:
    make(owner)
    make(factories.make_owner("another"))

    with pytest.raises(DuplicateSecret, match=r"^A secret named 'token' exists already$"):
        make(owner)
    assert AuditEntry.objects.filter(action="secret.created").count() == 2


def test_all_values_of_an_owner_take_one_statement(
    owner: Owner, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        make(owner, name=f"token{number}")

    with django_assert_num_queries(1):
        assert len(secret_services.values_of(owner.pk).current) == 5


@pytest.mark.parametrize(
    ("fields", "place", "message"),
    [
        ({"name": "9lives"}, "name", "1 to 100 letters, digits, _ and -, the first a letter or _."),
        ({"name": "a.b"}, "name", "1 to 100 letters, digits, _ and -, the first a letter or _."),
        ({"name": ""}, "name", "1 to 100 letters, digits, _ and -, the first a letter or _."),
        ({"value": "12345"}, "value", "At least 6 characters: a shorter one cannot be masked."),
        ({"value": "x" * 65_537}, "value", "At most 65536 characters."),
        ({"value": "lone \ud800 surrogate"}, "value", "It is no Unicode text."),
        ({"description": "x" * 256}, "description", "At most 255 characters."),
    ],
)
def test_what_cannot_be_kept_is_refused_without_repeating_it(
    owner: Owner, fields: dict[str, str], place: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        secret_services.create_secret(owner=owner, actor="x", **({"name": "token", "value": "a good value"} | fields))

    [problem] = refusal.value.problems
    assert (problem.loc, problem.msg) == (("body", place), message)
    assert not Secret.objects.exists()


def test_encryption_is_renewed_with_the_newest_key(owner: Owner, settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    secret = make(owner)
    secret_services.update_secret(secret.pk, value="second-value", actor="x")

    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    renewed = secret_services.renew_encryption()

    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert renewed == 2
    assert secret_services.values_of(owner.pk) == Values({"token": "second-value"}, ("first-value",))
    settings.FIELD_ENCRYPTION_KEYS = [old]
    assert secret_services.values_of(owner.pk) == Values({"token": None}, ())


def test_the_command_says_how_many_values_it_renewed(owner: Owner, capsys: pytest.CaptureFixture[str]) -> None:
    make(owner)

    call_command("renew_encryption")

    assert capsys.readouterr().out == "1 values are encrypted with the first key now.\n"
