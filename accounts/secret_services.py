"""Writes of secrets, and the one way to their values, for the engine."""

import re
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Value

from accounts.errors import DuplicateSecret, SecretNotFound
from accounts.models import Owner, RetiredSecret, Secret
from accounts.services import record_audit
from core import clock, secrets
from core.errors import InvalidInput, Problem

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
# A shorter one could not be masked inside texts without masking half of them.
SHORTEST_VALUE = 6
LONGEST_VALUE = 65_536
LONGEST_DESCRIPTION = 255
MOST_SECRETS = 500
MOST_RETIRED = 100


class Values(NamedTuple):
    """An owner's secrets, decrypted: those in force by name, and former ones, which are masked only.

    None stands for a value that no key of FIELD_ENCRYPTION_KEYS opens.
    """

    current: dict[str, str | None]
    retired: tuple[str, ...]


def create_secret(*, owner: Owner, name: str, value: str, description: str = "", actor: str) -> Secret:
    """Keep a new secret. Raises InvalidInput; DuplicateSecret if the owner has one of that name."""
    _check(name=name, value=value, description=description)
    if Secret.objects.filter(owner=owner).count() >= MOST_SECRETS:
        raise InvalidInput(f"An owner has at most {MOST_SECRETS} secrets")
    try:
        with transaction.atomic():
            made = Secret.objects.create(
                owner=owner, name=name, description=description, value_encrypted=_closed(value), created_by=actor[:255]
            )
            record_audit(actor=actor, owner=owner, action="secret.created", target=made, after=_public(made))
    except IntegrityError as error:
        raise DuplicateSecret(f"A secret named '{name}' exists already") from error
    return made


def update_secret(secret_id: int, *, value: str | None = None, description: str | None = None, actor: str) -> Secret:
    """Rotate a secret to a new value, or describe it anew; None leaves either as it is.

    The next step that asks for it gets the new value; the old one stays masked. Raises InvalidInput, SecretNotFound.
    """
    _check(value=value, description=description)
    with transaction.atomic():
        secret = _locked(secret_id)
        before = _public(secret)
        if description is not None:
            secret.description = description
        if value is not None:
            _retire(secret)
            secret.value_encrypted, secret.rotated_at = _closed(value), clock.now()
            secret.version += 1
        secret.save(update_fields=["description", "value_encrypted", "rotated_at", "version"])
        action = "secret.updated" if value is None else "secret.rotated"
        record_audit(
            actor=actor, owner=secret.owner, action=action, target=secret, before=before, after=_public(secret)
        )
    return secret


def delete_secret(secret_id: int, *, actor: str) -> None:
    """Delete a secret; its value stays masked in executions under way. Raises SecretNotFound."""
    with transaction.atomic():
        secret = _locked(secret_id)
        _retire(secret)
        record_audit(actor=actor, owner=secret.owner, action="secret.deleted", target=secret, before=_public(secret))
        secret.delete()


def values_of(owner_id: int) -> Values:
    """Return an owner's secrets in plain, in one statement."""
    former = RetiredSecret.objects.filter(owner=owner_id).order_by().values_list(Value(""), "value_encrypted")
    current = Secret.objects.filter(owner=owner_id).order_by().values_list("name", "value_encrypted")
    rows = list(current.union(former, all=True))
    keys = tuple(settings.FIELD_ENCRYPTION_KEYS)
    opened = [(name, _opened(ciphertext, keys)) for name, ciphertext in rows]
    return Values(
        {name: value for name, value in opened if name},
        tuple(value for name, value in opened if not name and value is not None),
    )


def renew_encryption() -> int:
    """Encrypt every stored value anew with the first of FIELD_ENCRYPTION_KEYS; then older keys can go.

    Returns how many values were changed. What no key opens is left as it is.
    """
    changed = 0
    for model in (Secret, RetiredSecret):
        for key in model._default_manager.order_by("pk").values_list("pk", flat=True):
            changed += _renew(model, key)
    return changed


def _renew(model: type[Secret] | type[RetiredSecret], key: int) -> bool:
    with transaction.atomic():
        row = model._default_manager.select_for_update().filter(pk=key).first()
        if row is None:
            return False
        try:
            row.value_encrypted = secrets.renew(row.value_encrypted, keys=settings.FIELD_ENCRYPTION_KEYS)
        except InvalidToken:
            return False
        row.save(update_fields=["value_encrypted"])
    return True


def _locked(secret_id: int) -> Secret:
    found = Secret.objects.select_for_update(of=("self",)).select_related("owner").filter(pk=secret_id).first()
    if found is None:
        raise SecretNotFound
    return found


def _retire(secret: Secret) -> None:
    """Keep the present value among the former ones, of which the newest stay."""
    RetiredSecret.objects.create(owner=secret.owner, value_encrypted=secret.value_encrypted)
    mine = RetiredSecret.objects.filter(owner=secret.owner)
    kept = mine.order_by("-pk").values("pk")[:MOST_RETIRED]
    mine.exclude(pk__in=kept).delete()


def _closed(value: str) -> str:
    return secrets.encrypt(value, keys=settings.FIELD_ENCRYPTION_KEYS)


@lru_cache(maxsize=2048)
def _opened(ciphertext: str, keys: tuple[str, ...]) -> str | None:
    try:
        return secrets.decrypt(ciphertext, keys=keys)
    except InvalidToken:
        return None


def _check(*, name: str | None = None, value: str | None = None, description: str | None = None) -> None:
    problems = [*_name_problems(name), *_value_problems(value)]
    if description is not None and len(description) > LONGEST_DESCRIPTION:
        problems.append(_problem("description", f"At most {LONGEST_DESCRIPTION} characters.", "max_length"))
    if problems:
        names = ", ".join(str(problem.loc[-1]) for problem in problems)
        raise InvalidInput(f"The secret cannot be kept: {names}: {problems[0].msg}", problems=problems)


def _name_problems(name: str | None) -> list[Problem]:
    if name is None or NAME.fullmatch(name):
        return []
    return [_problem("name", "1 to 100 letters, digits, _ and -, the first a letter or _.", "invalid")]


def _value_problems(value: str | None) -> list[Problem]:
    if value is None:
        return []
    if len(value) < SHORTEST_VALUE:
        return [
            _problem("value", f"At least {SHORTEST_VALUE} characters: a shorter one cannot be masked.", "min_length")
        ]
    if len(value) > LONGEST_VALUE:
        return [_problem("value", f"At most {LONGEST_VALUE} characters.", "max_length")]
    try:
        value.encode()
    except UnicodeEncodeError:
        return [_problem("value", "It is no Unicode text.", "invalid")]
    return []


def _problem(name: str, message: str, kind: str) -> Problem:
    return Problem(loc=("body", name), msg=message, type=kind)


def _public(secret: Secret) -> dict[str, Any]:
    """Return what an audit row may hold of a secret: never its value."""
    return {"name": secret.name, "description": secret.description, "version": secret.version}
