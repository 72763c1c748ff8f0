"""Writes of accounts: owners, API keys, the audit trail."""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import structlog
from django.db import transaction

from accounts.choices import OwnerKind, Scope
from accounts.errors import ApiKeyNotFound
from accounts.models import SERVICE_OWNER_NAME, ApiKey, AuditEntry, Owner, User
from core import clock
from core.errors import InvalidInput, Problem

KEY_BEGINNING = "pak_"
PREFIX_LENGTH = 12


@cache
def service_owner() -> Owner:
    """Return the built-in owner of everything made with the environment's keys.

    The row is made by a migration; here it is made again if it is gone. Safe under races: a partial
    unique constraint lets only one such row exist. Remembered for the life of the process.
    """
    owner, _ = Owner.objects.get_or_create(kind=OwnerKind.SERVICE, defaults={"name": SERVICE_OWNER_NAME})
    return owner


def owner_of_user(user: User) -> Owner:
    """Return the owner that stands for one user, made on first use."""
    owner, _ = Owner.objects.get_or_create(user=user, defaults={"kind": OwnerKind.USER, "name": user.email})
    return owner


def hash_key(plaintext: str) -> str:
    """Return the SHA-256 of a key, hexadecimal. A 256-bit random key needs no slow hash."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).hexdigest()


def create_api_key(
    *, owner: Owner, name: str, scopes: Collection[str], expires_at: datetime | None = None, actor: str
) -> tuple[ApiKey, str]:
    """Make a key and return its row with the plaintext, which exists nowhere else.

    Raises: InvalidInput for a blank name, an unknown or missing scope, or an expiry in the past.
    """
    _check_key(name=name, scopes=scopes, expires_at=expires_at)
    plaintext = KEY_BEGINNING + secrets.token_urlsafe(32)
    with transaction.atomic():
        key = ApiKey.objects.create(
            owner=owner,
            name=name.strip(),
            prefix=plaintext[:PREFIX_LENGTH],
            key_hash=hash_key(plaintext),
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
        record_audit(actor=actor, owner=owner, action="api_key.created", target=key, after=_public(key))
    return key, plaintext


def revoke_api_key(key_id: int, *, actor: str) -> bool:
    """Revoke a key at once. True if it was valid until now, False if it had been revoked before.

    Raises: ApiKeyNotFound.
    """
    with transaction.atomic():
        revoked = ApiKey.objects.filter(pk=key_id, revoked_at=None).update(revoked_at=clock.now())
        key = ApiKey.objects.select_related("owner").filter(pk=key_id).first()
        if key is None:
            raise ApiKeyNotFound("API key not found")
        if revoked:
            record_audit(actor=actor, owner=key.owner, action="api_key.revoked", target=key, after=_public(key))
    return bool(revoked)


def record_audit(
    *,
    actor: str,
    owner: Owner | None,
    action: str,
    target: Any = None,
    object_type: str = "",
    object_id: object = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write one audit row, in the caller's transaction; request and correlation ids come from the log context.

    Either `target` (a model instance) or `object_type` and `object_id` says what was changed.
    `before` and `after` are plain JSON values without secrets.
    """
    context = structlog.contextvars.get_contextvars()
    return AuditEntry.objects.create(
        actor=actor[:255],
        owner=owner,
        action=action,
        object_type=object_type or target._meta.label_lower,
        object_id=str(object_id or target.pk),
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
        request_id=str(context.get("request_id", ""))[:128],
        correlation_id=str(context.get("correlation_id", ""))[:128],
    )


def _check_key(*, name: str, scopes: Collection[str], expires_at: datetime | None) -> None:
    problems = []
    if not name.strip():
        problems.append(Problem(loc=("body", "name"), msg="This field may not be blank.", type="blank"))
    if not scopes or not set(scopes) <= set(Scope.values):
        allowed = ", ".join(Scope.values)
        problems.append(Problem(loc=("body", "scopes"), msg=f"One or more of: {allowed}.", type="invalid_choice"))
    if expires_at is not None and expires_at <= clock.now():
        problems.append(Problem(loc=("body", "expires_at"), msg="Must lie in the future.", type="invalid"))
    if problems:
        raise InvalidInput("The API key cannot be made", problems=problems)


def _public(key: ApiKey) -> dict[str, Any]:
    """Return what an audit row may hold of a key: never its hash."""
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
    }
