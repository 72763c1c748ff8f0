"""Reads of accounts."""

from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db.models import Q, QuerySet

from accounts import services
from accounts.errors import SecretNotFound
from accounts.models import ApiKey, Secret, User
from accounts.principal import ALL_SCOPES, Principal
from core import clock
from core.secrets import equals_any

SERVICE_ACTOR = "service"
LONGEST_KEY = 512
# Digits of an id that surely fits the column.
LONGEST_ID = 18
LAST_USED_EVERY = timedelta(minutes=1)


def find_principal_by_key(plaintext: str) -> Principal | None:
    """Return whom an API key acts for, or None if it is unknown, expired or revoked.

    The environment's keys are compared in constant time and see every owner; the table's keys are
    found by their SHA-256 and see their own owner. The table is read each time: revocation counts at once.
    """
    if not plaintext or len(plaintext) > LONGEST_KEY:
        return None
    if equals_any(plaintext, settings.SERVICE_API_KEYS):
        return replace(service_principal(), limited_as=services.hash_key(plaintext))
    return _find_stored(plaintext)


def service_principal() -> Principal:
    """Return the environment's own principal: every scope, every owner."""
    return Principal(owner=services.service_owner(), scopes=ALL_SCOPES, sees_all=True, actor=SERVICE_ACTOR)


def principal_of_user(user: User) -> Principal:
    """Return a signed-in user's principal; only a superuser sees every owner."""
    return Principal(
        owner=services.owner_of_user(user),
        scopes=ALL_SCOPES,
        sees_all=user.is_superuser,
        actor=user.email,
        user=user,
        is_staff=user.is_staff,
    )


def list_secrets(principal: Principal) -> QuerySet[Secret]:
    """Return the secrets a caller may see the names of, by name."""
    visible = Secret.objects.all() if principal.sees_all else Secret.objects.filter(owner=principal.owner)
    return visible.defer("value_encrypted").order_by("name", "pk")


def get_secret(principal: Principal, key: str) -> Secret:
    """Return a secret by its id, or by the name it has with the caller's owner. Raises SecretNotFound."""
    if key.isascii() and key.isdigit():
        found = list_secrets(principal).filter(pk=int(key)) if len(key) <= LONGEST_ID else Secret.objects.none()
    else:
        found = Secret.objects.filter(owner=principal.owner, name=key)
    secret = found.first()
    if secret is None:
        raise SecretNotFound
    return secret


def _find_stored(plaintext: str) -> Principal | None:
    now = clock.now()
    key = (
        ApiKey.objects.select_related("owner")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), key_hash=services.hash_key(plaintext), revoked_at=None)
        # A key of a user who was locked out is locked out too.
        .exclude(owner__user__is_active=False)
        .first()
    )
    if key is None:
        return None
    _note_use(key)
    return Principal(owner=key.owner, scopes=frozenset(key.scopes), sees_all=False, actor=key.prefix)


def _note_use(key: ApiKey) -> None:
    """Write `last_used_at` at most once a minute, however many requests carry the key at once."""
    now = clock.now()
    stale = now - LAST_USED_EVERY
    if key.last_used_at is not None and key.last_used_at > stale:
        return
    unused = Q(last_used_at=None) | Q(last_used_at__lte=stale)
    ApiKey.objects.filter(unused, pk=key.pk).update(last_used_at=now)
