"""Owners, keys and the audit trail."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import selectors, services
from accounts.errors import ApiKeyNotFound
from accounts.models import ApiKey, AuditEntry, Owner, User
from core import clock, logs
from core.errors import InvalidInput

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Owner:
    return services.owner_of_user(User.objects.create_user("ada@example.com"))


def test_the_service_owner_is_made_by_a_migration_and_stays_one() -> None:
    services.service_owner.cache_clear()

    first, second = services.service_owner(), services.service_owner()

    assert first is second
    assert (first.name, first.kind) == ("service", "service")
    assert Owner.objects.filter(kind="service").count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_first_users_of_the_service_owner_make_one() -> None:
    Owner.objects.all().delete()
    barrier, found = threading.Barrier(6), []

    def ask() -> None:
        barrier.wait()
        found.append(services.service_owner.__wrapped__().pk)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 6
    assert set(found) == {Owner.objects.get(kind="service").pk}


def test_a_user_has_one_owner(owner: Owner) -> None:
    assert services.owner_of_user(User.objects.get()) == owner
    assert (owner.name, owner.kind) == ("ada@example.com", "user")


def test_a_key_has_256_bits_and_only_its_hash_is_stored(owner: Owner) -> None:
    key, plaintext = services.create_api_key(
        owner=owner, name=" CI ", scopes=["write", "read"], actor="ada@example.com"
    )

    assert plaintext.startswith("pak_")
    assert len(plaintext) == len("pak_") + 43
    assert (key.name, key.prefix, key.scopes) == ("CI", plaintext[:12], ["read", "write"])
    assert plaintext not in str(ApiKey.objects.values().get())
    assert key.key_hash == services.hash_key(plaintext)


def test_making_and_revoking_a_key_is_audited_without_its_secret(owner: Owner) -> None:
    with logs.bound(request_id="req-1", correlation_id="corr-1"):
        key, plaintext = services.create_api_key(owner=owner, name="CI", scopes=["read"], actor="ada@example.com")
        services.revoke_api_key(key.pk, actor="bob@example.com")

    created, revoked = AuditEntry.objects.order_by("id")
    assert (created.action, created.object_type, created.object_id) == (
        "api_key.created",
        "accounts.apikey",
        str(key.pk),
    )
    assert (created.actor, created.request_id, created.correlation_id) == ("ada@example.com", "req-1", "corr-1")
    assert (revoked.action, revoked.actor) == ("api_key.revoked", "bob@example.com")
    assert key.key_hash not in str(created.after)
    assert plaintext not in str(created.after)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"expires_at": -1}, "expires_at"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_and_nothing_is_written(
    owner: Owner, changes: dict[str, object], field: str
) -> None:
    if "expires_at" in changes:
        changes = {"expires_at": clock.now() - timedelta(seconds=1)}
    arguments = {"owner": owner, "name": "CI", "scopes": ["read"], "actor": "x"} | changes

    with pytest.raises(InvalidInput) as refusal:
        services.create_api_key(**arguments)

    assert [problem.loc for problem in refusal.value.problems] == [("body", field)]
    assert (ApiKey.objects.count(), AuditEntry.objects.count()) == (0, 0)


def test_a_key_is_revoked_once(owner: Owner) -> None:
    key, _ = services.create_api_key(owner=owner, name="CI", scopes=["read"], actor="x")

    assert services.revoke_api_key(key.pk, actor="x") is True
    assert services.revoke_api_key(key.pk, actor="x") is False
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 1


def test_an_unknown_key_cannot_be_revoked() -> None:
    with pytest.raises(ApiKeyNotFound):
        services.revoke_api_key(999_999, actor="x")


def test_an_environment_key_sees_all_owners(settings: Settings) -> None:
    settings.SERVICE_API_KEYS = ["one", "two"]

    for key in ("one", "two"):
        principal = selectors.find_principal_by_key(key)
        assert principal is not None
        assert (principal.sees_all, principal.actor, principal.user) == (True, "service", None)
        assert principal.owner == services.service_owner()
        assert principal.scopes == {"read", "write", "execute"}
    assert selectors.find_principal_by_key("three") is None
    assert selectors.find_principal_by_key("") is None


def test_a_stored_key_acts_for_its_owner_only(owner: Owner) -> None:
    _, plaintext = services.create_api_key(owner=owner, name="CI", scopes=["read"], actor="x")

    principal = selectors.find_principal_by_key(plaintext)

    assert principal is not None
    assert (principal.owner, principal.scopes, principal.sees_all) == (owner, {"read"}, False)
    assert principal.actor == plaintext[:12]
    assert principal.may("read")
    assert not principal.may("write")


def test_an_expired_key_is_unknown(owner: Owner) -> None:
    expires_at = clock.now() + timedelta(hours=1)
    _, plaintext = services.create_api_key(owner=owner, name="CI", scopes=["read"], expires_at=expires_at, actor="x")

    assert selectors.find_principal_by_key(plaintext) is not None
    with clock.moved_by(hours=1, seconds=1):
        assert selectors.find_principal_by_key(plaintext) is None


def test_a_key_of_a_locked_out_user_is_unknown(owner: Owner) -> None:
    _, plaintext = services.create_api_key(owner=owner, name="CI", scopes=["read"], actor="x")

    User.objects.update(is_active=False)

    assert selectors.find_principal_by_key(plaintext) is None


def test_the_last_use_is_written_at_most_once_a_minute(
    owner: Owner, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, plaintext = services.create_api_key(owner=owner, name="CI", scopes=["read"], actor="x")
    selectors.find_principal_by_key(plaintext)
    first = ApiKey.objects.get().last_used_at

    with django_assert_num_queries(1):
        selectors.find_principal_by_key(plaintext)

    assert first is not None
    assert ApiKey.objects.get().last_used_at == first
    with clock.moved_by(seconds=61):
        selectors.find_principal_by_key(plaintext)
        assert ApiKey.objects.get().last_used_at == pytest.approx(clock.now(), abs=timedelta(seconds=5))
