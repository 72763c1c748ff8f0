"""Write docs/reference from the code, or with --check tell whether it is current."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.reference.expressions import Incomplete, expressions_page
from config.reference.steps import steps_page


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Write nothing; fail where a page is not current.")

    def handle(self, *args: Any, check: bool = False, **options: Any) -> None:
        folder = settings.BASE_DIR / "docs" / "reference"
        try:
            pages = {"expressions.md": expressions_page(), "steps.md": steps_page()}
        except Incomplete as error:
            raise CommandError(str(error)) from error
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            path = folder / name
            if path.exists() and path.read_text(encoding="utf-8") == text:
                continue
            if check:
                raise CommandError(f"docs/reference/{name} is not current: run `python manage.py write_reference`")
            path.write_text(text, encoding="utf-8")
            self.stdout.write(f"Written: docs/reference/{name}")
