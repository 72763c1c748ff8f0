"""Writes of people: users and teams."""

from collections.abc import Collection
from typing import Any

from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.choices import OwnerKind
from accounts.models import Owner, User
from accounts.services import owner_of_user, record_audit
from core.errors import InvalidInput, Problem

AUDITED_USER = ("email", "full_name", "is_active", "is_staff", "is_superuser")


def create_user(*, email: str, password: str, actor: str, **fields: Any) -> User:
    """Make a user with the owner that stands for them. `fields` are the audited columns beside the email address.

    Raises: InvalidInput for a weak password or an address that is taken.
    """
    address = email.strip().lower()
    user = User(email=address, **_known(fields))
    _check_password(password, user)
    if User.objects.filter(email=address).exists():
        raise _invalid("email", "A user with this email address exists already.")
    with transaction.atomic():
        user.set_password(password)
        user.save()
        record_audit(actor=actor, owner=owner_of_user(user), action="user.created", target=user, after=_audited(user))
    return user


def update_user(user: User, *, changes: dict[str, Any], actor: str) -> User:
    """Change audited columns of a user. Raises: InvalidInput, also if no active superuser would be left."""
    with transaction.atomic():
        # One lock for all superusers, so that two administrators cannot demote each other at once.
        superusers = list(User.objects.select_for_update().filter(is_superuser=True, is_active=True).order_by("pk"))
        locked = User.objects.select_for_update().get(pk=user.pk)
        before = _audited(locked)
        for name, value in _known(changes).items():
            setattr(locked, name, value.strip().lower() if name == "email" else value)
        if [one.pk for one in superusers] == [locked.pk] and not (locked.is_superuser and locked.is_active):
            raise InvalidInput("This is the last active superuser; name another one first.")
        if User.objects.filter(email=locked.email).exclude(pk=locked.pk).exists():
            raise _invalid("email", "A user with this email address exists already.")
        locked.save(update_fields=[*_known(changes), "updated_at"])
        owner = owner_of_user(locked)
        record_audit(
            actor=actor, owner=owner, action="user.updated", target=locked, before=before, after=_audited(locked)
        )
    return locked


def set_password(user: User, *, password: str, actor: str) -> None:
    """Give a user a new password; their other sessions end with it. Raises: InvalidInput for a weak one."""
    _check_password(password, user)
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password", "updated_at"])
        record_audit(actor=actor, owner=owner_of_user(user), action="user.password_set", target=user)


def save_team(team: Owner, *, name: str, members: Collection[User], actor: str) -> Owner:
    """Create a team, or change its name and members. Raises: InvalidInput for a blank name or no team."""
    if team.pk is not None and team.kind != OwnerKind.TEAM:
        raise InvalidInput("Only teams can be changed; the owner of a user follows the user.")
    if not name.strip():
        raise _invalid("name", "This field may not be blank.")
    with transaction.atomic():
        before = _team(Owner.objects.select_for_update().get(pk=team.pk)) if team.pk else None
        saved, created = Owner.objects.update_or_create(
            pk=team.pk, defaults={"name": name.strip()}, create_defaults={"name": name.strip(), "kind": OwnerKind.TEAM}
        )
        saved.members.set(members)
        action = "owner.created" if created else "owner.updated"
        record_audit(actor=actor, owner=saved, action=action, target=saved, before=before, after=_team(saved))
    return saved


def set_file_quota(owner: Owner, *, quota_bytes: int | None, actor: str) -> Owner:
    """Set what the files of any owner may take; None leaves it to FILE_QUOTA. Raises: InvalidInput below 0."""
    if quota_bytes is not None and quota_bytes < 0:
        raise _invalid("file_quota_bytes", "Ensure this value is greater than or equal to 0.")
    with transaction.atomic():
        current = Owner.objects.select_for_update(no_key=True).get(pk=owner.pk)
        before = {"file_quota_bytes": current.file_quota_bytes}
        current.file_quota_bytes = quota_bytes
        current.save(update_fields=["file_quota_bytes"])
        after = {"file_quota_bytes": quota_bytes}
        if after != before:
            record_audit(
                actor=actor, owner=current, action="owner.quota_set", target=current, before=before, after=after
            )
    return current


def _check_password(password: str, user: User) -> None:
    try:
        password_validation.validate_password(password, user)
    except ValidationError as error:
        raise _invalid("password", *error.messages) from error


def _invalid(name: str, *messages: str) -> InvalidInput:
    problems = [Problem(("body", name), message, "invalid") for message in messages]
    return InvalidInput(messages[0], problems=problems)


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in AUDITED_USER}


def _audited(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in AUDITED_USER}


def _team(team: Owner) -> dict[str, Any]:
    return {"name": team.name, "members": sorted(team.members.values_list("email", flat=True))}
