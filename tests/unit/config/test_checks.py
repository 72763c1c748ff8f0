"""Production refuses to start with a missing or default secret (contract section 16)."""

import os
import subprocess
import sys

import pytest
from pytest_django import Settings

from config import checks


@pytest.fixture
def production(settings: Settings) -> Settings:
    settings.PRODUCTION = True
    settings.JWT_SECRET_KEY = "x" * checks.SHORTEST_SECRET
    settings.SERVICE_API_KEYS = ["a-key"]
    settings.SETTINGS_GIVEN = {"DATABASE_URL"}
    return settings


def problems() -> list[str]:
    return [str(message.id) for message in checks.production_secrets(None)]


@pytest.mark.usefixtures("production")
def test_complete_settings_pass() -> None:
    assert problems() == []


@pytest.mark.parametrize("secret", ["", "short", checks.DEFAULT_ROOT_SECRET])
def test_a_missing_short_or_default_root_secret_is_refused(production: Settings, secret: str) -> None:
    production.JWT_SECRET_KEY = secret

    assert problems() == ["config.E001"]


def test_production_without_any_api_key_is_refused(production: Settings) -> None:
    production.SERVICE_API_KEYS = []

    assert problems() == ["config.E002"]


def test_production_on_the_default_database_is_refused(production: Settings) -> None:
    production.SETTINGS_GIVEN = set()

    assert problems() == ["config.E003"]


def test_development_is_not_held_to_it(production: Settings) -> None:
    production.JWT_SECRET_KEY, production.SERVICE_API_KEYS, production.SETTINGS_GIVEN = "", [], set()
    production.PRODUCTION = False

    assert problems() == []


def test_the_process_itself_refuses_to_start() -> None:
    secrets = ("JWT_SECRET_KEY", "SECRET_KEY", "API_KEY", "INTERNAL_API_KEY", "DATABASE_URL")
    environ = {name: value for name, value in os.environ.items() if name not in secrets} | {"ENV": "production"}

    done = subprocess.run(
        [sys.executable, "manage.py", "check"], env=environ, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 1
    for code in ("config.E001", "config.E002", "config.E003"):
        assert code in done.stderr
