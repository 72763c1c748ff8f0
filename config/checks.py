"""System checks that refuse settings which would be unsafe in production."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config import storages
from core.egress.addresses import parse_rules

DEFAULT_ROOT_SECRET = "development-only-secret-change-me"  # noqa: S105  (refused in production below)
SHORTEST_SECRET = 32


@register(Tags.security)
def production_secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse to start in production without a root secret, an API key or a database (contract 16)."""
    if not settings.PRODUCTION:
        return []
    problems: list[CheckMessage] = []
    if settings.JWT_SECRET_KEY == DEFAULT_ROOT_SECRET or len(settings.JWT_SECRET_KEY) < SHORTEST_SECRET:
        problems.append(
            Error(
                f"JWT_SECRET_KEY must be set to at least {SHORTEST_SECRET} characters in production", id="config.E001"
            )
        )
    if not settings.SERVICE_API_KEYS:
        problems.append(Error("API_KEY or INTERNAL_API_KEY must be set in production", id="config.E002"))
    if "DATABASE_URL" not in settings.SETTINGS_GIVEN:
        problems.append(Error("DATABASE_URL must be set in production", id="config.E003"))
    return problems


@register(Tags.security)
def egress_allowlist(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an allow-list item that the egress guard cannot read, at start and not at the first request."""
    try:
        parse_rules(tuple(settings.EGRESS_ALLOWLIST))
    except ValueError as error:
        return [Error(f"EGRESS_ALLOWLIST: {error}", id="config.E004")]
    return []


@register(Tags.security)
def mail_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse mail settings that contradict each other, and a sender that no mail server would take."""
    problems: list[CheckMessage] = []
    if settings.EMAIL_USE_TLS and settings.EMAIL_USE_SSL:
        problems.append(Error("SMTP_USE_TLS and SMTP_USE_SSL exclude each other: set one of them", id="config.E005"))
    try:
        validate_email(settings.NOTIFICATION_FROM_EMAIL)
    except ValidationError:
        problems.append(Error("NOTIFICATION_FROM_EMAIL is not a mail address", id="config.E006"))
    if settings.EMAIL_HOST_USER and not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL):
        problems.append(Warning("SMTP_PASSWORD travels in clear: neither SMTP_USE_TLS nor SSL is on", id="config.W001"))
    return problems


# What each remote storage cannot do without: (setting, its option), and the package it comes with.
_NEEDED = {
    "s3": (("S3_BUCKET", "bucket_name"),),
    "gcs": (("GCS_BUCKET", "bucket_name"),),
    "azure": (
        ("AZURE_CONTAINER", "azure_container"),
        ("AZURE_ACCOUNT_NAME", "account_name"),
        ("AZURE_ACCOUNT_KEY", "account_key"),
    ),
}
_PACKAGES = {"gcs": "google.cloud.storage", "azure": "azure.storage.blob"}


@register(Tags.files)
def storage_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a remote storage that is not told where and who, or whose package is not installed."""
    backend, options = settings.STORAGE_BACKEND, settings.STORAGES["default"].get("OPTIONS", {})
    missing = [name for name, option in _NEEDED.get(backend, ()) if not options.get(option)]
    problems: list[CheckMessage] = []
    if missing:
        problems.append(Error(f"STORAGE_BACKEND={backend} needs {' and '.join(missing)}", id="config.E007"))
    if backend == "s3" and bool(options.get("access_key")) != bool(options.get("secret_key")):
        problems.append(Error("S3_ACCESS_KEY and S3_SECRET_KEY belong together: set both or none", id="config.E008"))
    if backend in _PACKAGES and not _installed(_PACKAGES[backend]):
        install = f"pip install --require-hashes -r requirements/{backend}.txt"
        problems.append(Error(f"STORAGE_BACKEND={backend} needs its package: {install}", id="config.E009"))
    if settings.DOWNLOAD_URL_SECONDS > storages.LONGEST_URL_SECONDS:
        longest = storages.LONGEST_URL_SECONDS
        problems.append(Error(f"DOWNLOAD_URL_SECONDS must be at most {longest}: a week", id="config.E010"))
    return problems


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
