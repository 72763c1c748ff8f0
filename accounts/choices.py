"""Enumerations of accounts."""

from django.db.models import TextChoices


class OwnerKind(TextChoices):
    USER = "user"
    TEAM = "team"
    SERVICE = "service"


class Scope(TextChoices):
    """What a key may do for its owner."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"
