"""`manage.py renew_encryption`: encrypt every secret with the first of FIELD_ENCRYPTION_KEYS, so that others can go."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts import secret_services


class Command(BaseCommand):
    help = "Encrypt every stored secret anew with the first of FIELD_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        changed = secret_services.renew_encryption()
        self.stdout.write(f"{changed} values are encrypted with the first key now.")
