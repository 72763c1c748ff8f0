"""Chromium's flags, and signing in."""

from pathlib import Path

from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from accounts.models import User

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Twelve renewals of the first page: a machine may be busy.
LONGEST_MS = 60_000
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}


def sign_in(page: Page, server: LiveServer) -> None:
    User.objects.create_superuser("operator@example.com", "correct horse battery")
    page.goto(f"{server.url}/admin/login/")
    page.fill("[name=username]", "operator@example.com")
    page.fill("[name=password]", "correct horse battery")
    page.press("[name=password]", "Enter")
    page.wait_for_url(f"{server.url}/admin/")
