"""Results of mutants written to real PostgreSQL by the product's own service."""

import contextlib
import os
from collections.abc import Iterator

import django
from django.conf import settings
from django.db import connection, transaction

from files.extractors.base import Extraction
from tests.fuzz.mutants import Mutant


@contextlib.contextmanager
def database() -> Iterator[None]:
    """Give Django an empty database with the product's tables beside the one of DATABASE_URL; gone afterwards."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    # In debug mode Django keeps every statement, texts of megabytes included.
    settings.DEBUG = False
    connection.settings_dict["TEST"]["NAME"] = f"fuzz_{os.getpid()}"
    given = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(given, verbosity=0)


def fault(mutant: Mutant, extraction: Extraction) -> str:
    """Write a result as the worker does and read it back; return what went wrong, "" if nothing did."""
    from files.models import File, FileContent
    from files.services import contents

    try:
        with transaction.atomic():
            file = _row(mutant)
            file.extraction_metadata = contents.metadata_of(file, extraction)
            file.save(update_fields=["extraction_metadata"])
            contents.write(file, extraction)
            kept = FileContent.objects.get(file=file)
            whole = (kept.text, kept.tables) == (extraction.text, extraction.tables)
            whole = whole and File.objects.get(pk=file.pk).extraction_metadata == file.extraction_metadata
            transaction.set_rollback(True)
    except Exception as error:  # noqa: BLE001  (whatever the database or its driver says)
        return f"cannot be stored: {error!r}"[:500]
    return "" if whole else "is not what was stored"


def _row(mutant: Mutant):  # type: ignore[no-untyped-def]
    from accounts.choices import OwnerKind
    from accounts.models import Owner
    from files.models import File

    owner, _ = Owner.objects.get_or_create(name="Fuzz", defaults={"kind": OwnerKind.TEAM})
    return File.objects.create(
        owner=owner,
        filename=f"{mutant.number}.{mutant.extension}",
        original_filename=mutant.name,
        file_path=mutant.name,
        file_size=len(mutant.content),
        file_hash=f"{mutant.number:064x}",
        mime_type="application/octet-stream",
    )
