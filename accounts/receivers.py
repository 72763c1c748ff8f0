"""Reactions of accounts to Django's own news."""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from accounts import services
from accounts.models import Owner


@receiver(post_migrate, dispatch_uid="accounts.restore_service_owner")
def restore_service_owner(*, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Make the built-in owner again after `migrate` and after `flush`, which empties the tables."""
    services.service_owner.cache_clear()
    if Owner._meta.db_table in connections[using].introspection.table_names():
        services.service_owner()
