"""Prepare a database for use: migrations, an administrator, the `service` owner, a sample workflow.

Safe to run at every start and from several machines at once: what is there stays as it is.
"""

import json
import secrets
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from accounts.choices import OwnerKind
from accounts.models import SERVICE_OWNER_NAME, Owner, User
from config import env
from workflows.models import Workflow

# Any constant of our own: only this command takes it.
ADVISORY_LOCK = 8006_0001
SAMPLE: dict[str, Any] = {
    "name": "Sample: greet each document",
    "description": "Runs after every upload: takes the file's name and size, writes a line to the log.",
    "workflow_config": {
        "steps": [
            {
                "name": "summary",
                "type": "data_transform",
                "config": {
                    "source_data": "{{trigger}}",
                    "transformations": [
                        {"type": "extract", "path": "original_filename", "key": "document"},
                        {"type": "extract", "path": "file_size", "key": "bytes"},
                    ],
                },
            },
            {
                "name": "greet",
                "type": "log",
                "config": {"message": "Received {{steps.summary.document}}, {{steps.summary.bytes}} bytes"},
            },
        ]
    },
    "trigger_on_file_upload": True,
    "is_enabled": True,
}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="Apply migrations first.")
        parser.add_argument(
            "--json", dest="as_json", action="store_true", help="Report as one line of JSON, without the password."
        )
        parser.add_argument("--admin-email", default="admin@example.com")

    def handle(
        self, *args: Any, migrate: bool = False, as_json: bool = False, admin_email: str = "", **options: Any
    ) -> None:
        try:
            with _alone():
                if migrate:
                    call_command("migrate", interactive=False, verbosity=0)
                # The password is made here only where nobody chose one.
                password = env.text("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
                created = make_admin(admin_email, password)
                workflow_id = make_sample_workflow(service_owner())
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {str(error).splitlines()[0]}") from error
        if as_json:
            valid = created or opens(admin_email, password)
            self.stdout.write(json.dumps({"admin_password_valid": valid}))
            return
        if created:
            shown = "the one in ADMIN_PASSWORD" if env.text("ADMIN_PASSWORD") else password
            self.stdout.write(f"Administrator {admin_email}, password (shown once): {shown}")
        self.stdout.write(f"Sample workflow: {workflow_id if workflow_id is not None else 'none, workflows exist'}")


def make_admin(email: str, password: str) -> bool:
    """Create the first administrator; False if there is one already."""
    if User.objects.filter(is_superuser=True).exists():
        return False
    User.objects.create_superuser(email, password)
    return True


def opens(email: str, password: str) -> bool:
    """Tell whether the password signs in: a start that was killed may have made it without showing it."""
    user = User.objects.filter(email=email.lower()).first()
    return user is not None and user.check_password(password)


def service_owner() -> Owner:
    """Return the built-in owner of all old clients, made on first use."""
    owner, _ = Owner.objects.get_or_create(kind=OwnerKind.SERVICE, defaults={"name": SERVICE_OWNER_NAME})
    return owner


def make_sample_workflow(owner: Owner) -> int | None:
    """Create the sample as the first workflow of all; returns its id, also later, while it is there.

    A deleted sample stays deleted: its row is still there, so it is not the first any more.
    """
    first = Workflow.objects.order_by("pk").first()
    if first is not None:
        is_sample = first.name == SAMPLE["name"] and first.deleted_at is None
        return first.pk if is_sample else None
    from workflows.services import create_workflow

    return create_workflow(owner=owner, body=SAMPLE, actor="system").pk


@contextmanager
def _alone() -> Iterator[None]:
    """Hold a database-wide lock, so that two machines' first starts come one after the other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])
