"""The seed's SMTP settings as Django's, and what is refused at start."""

import json
import os
import subprocess
import sys

import pytest
from pytest_django import Settings

from config import checks

NAMES = (
    "EMAIL_BACKEND",
    "EMAIL_HOST",
    "EMAIL_PORT",
    "EMAIL_HOST_USER",
    "EMAIL_HOST_PASSWORD",
    "EMAIL_USE_TLS",
    "EMAIL_USE_SSL",
    "EMAIL_TIMEOUT",
    "DEFAULT_FROM_EMAIL",
)
DEFAULTS = {
    "EMAIL_BACKEND": "notifications.smtp.EmailBackend",
    "EMAIL_HOST": "localhost",
    "EMAIL_PORT": 587,
    "EMAIL_HOST_USER": "",
    "EMAIL_HOST_PASSWORD": "",
    "EMAIL_USE_TLS": True,
    "EMAIL_USE_SSL": False,
    "EMAIL_TIMEOUT": 30,
    "DEFAULT_FROM_EMAIL": "PyAirtable <noreply@pyairtable.com>",
}


def read(**environ: str) -> dict[str, object]:
    """Return the mail settings of a fresh process."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("SMTP_", "NOTIFICATION_"))}
    code = f"import json\nfrom config import settings\nprint(json.dumps([getattr(settings, n) for n in {NAMES!r}]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=others | environ, check=True, capture_output=True, text=True
    )
    return dict(zip(NAMES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(
    ("environ", "differs"),
    [
        ({}, {}),
        (
            {"SMTP_HOST": "mail.example.com", "SMTP_PORT": "25", "SMTP_USER": "me", "SMTP_PASSWORD": "pw"},
            {
                "EMAIL_HOST": "mail.example.com",
                "EMAIL_PORT": 25,
                "EMAIL_HOST_USER": "me",
                "EMAIL_HOST_PASSWORD": "pw",
            },
        ),
        ({"SMTP_USE_SSL": "true"}, {"EMAIL_USE_SSL": True, "EMAIL_USE_TLS": False}),
        (
            {"NOTIFICATION_FROM_NAME": "Archive, Inc.", "NOTIFICATION_FROM_EMAIL": "a@example.com"},
            {"DEFAULT_FROM_EMAIL": '"Archive, Inc." <a@example.com>'},
        ),
    ],
)
def test_the_seeds_names_become_djangos(environ: dict[str, str], differs: dict[str, object]) -> None:
    assert read(**environ) == DEFAULTS | differs


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        ({"EMAIL_USE_TLS": True, "EMAIL_USE_SSL": True}, ["config.E005"]),
        ({"NOTIFICATION_FROM_EMAIL": "nobody"}, ["config.E006"]),
        ({"EMAIL_HOST_USER": "me", "EMAIL_USE_TLS": False, "EMAIL_USE_SSL": False}, ["config.W001"]),
    ],
)
def test_settings_that_cannot_work_are_told_at_start(
    settings: Settings, given: dict[str, object], found: list[str]
) -> None:
    for name, value in given.items():
        setattr(settings, name, value)

    assert [message.id for message in checks.mail_settings(None)] == found
