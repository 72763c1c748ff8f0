"""Storages by settings: what each is given, and one clear line for what is missing."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from config import checks, storages
from config.env import BadSetting

FOLDER = Path("uploads")
SECRET = "the-very-secret"


def entry(monkeypatch: pytest.MonkeyPatch, name: str, **environ: str) -> dict[str, Any]:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return storages.entry(name, upload_dir=FOLDER)


def test_by_default_bytes_are_kept_in_the_upload_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_BACKEND", raising=False)

    assert storages.backend() == "local"
    assert entry(monkeypatch, "local") == {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": "uploads"},
    }


def test_s3_takes_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    options = entry(
        monkeypatch,
        "s3",
        S3_BUCKET="b",
        S3_ENDPOINT_URL="http://s3:9000",
        S3_REGION="eu-1",
        S3_ACCESS_KEY="a",
        S3_SECRET_KEY=SECRET,
        S3_PREFIX="/in/here/",
        S3_ADDRESSING_STYLE="PATH",
    )["OPTIONS"]

    assert options == {
        "bucket_name": "b",
        "endpoint_url": "http://s3:9000",
        "region_name": "eu-1",
        "access_key": "a",
        "secret_key": SECRET,
        "location": "in/here",
        "addressing_style": "path",
        "max_memory_size": 1024**2,
    }


@pytest.mark.parametrize(("name", "value"), [("STORAGE_BACKEND", "ftp"), ("S3_ADDRESSING_STYLE", "dns")])
def test_a_name_that_is_none_of_the_known_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSetting, match=f"{name}='{value}' is not one of"):
        storages.entry(storages.backend() if name == "STORAGE_BACKEND" else "s3", upload_dir=FOLDER)


@pytest.mark.parametrize(
    ("backend", "options", "problem"),
    [
        ("local", {}, []),
        ("s3", {"bucket_name": "b"}, []),
        ("s3", {"bucket_name": "b", "access_key": "a", "secret_key": "s"}, []),
        ("s3", {}, ["STORAGE_BACKEND=s3 needs S3_BUCKET"]),
        (
            "s3",
            {"bucket_name": "b", "access_key": SECRET},
            ["S3_ACCESS_KEY and S3_SECRET_KEY belong together: set both or none"],
        ),
    ],
)
def test_what_a_storage_lacks_is_one_line(
    settings: Settings, backend: str, options: dict[str, str], problem: list[str]
) -> None:
    settings.STORAGE_BACKEND = backend
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "x", "OPTIONS": options}}

    found = [str(message.msg) for message in checks.storage_settings(None)]

    assert found == problem
    assert SECRET not in str(found)


@pytest.mark.parametrize(("backend", "extra"), [("gcs", "gcs"), ("azure", "azure")])
def test_a_storage_without_its_package_names_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, backend: str, extra: str
) -> None:
    monkeypatch.setattr(checks, "_installed", lambda module: False)
    settings.STORAGE_BACKEND = backend
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "x", "OPTIONS": {}}}

    found = [str(message.msg) for message in checks.storage_settings(None)]

    assert len(found) == 2
    assert found[0].startswith(f"STORAGE_BACKEND={backend} needs {backend.upper()}_")
    assert found[1].endswith(f"pip install --require-hashes -r requirements/{extra}.txt")


def test_a_signed_address_lives_at_most_a_week(settings: Settings) -> None:
    settings.DOWNLOAD_URL_SECONDS = storages.LONGEST_URL_SECONDS + 1

    assert [message.id for message in checks.storage_settings(None)] == ["config.E010"]
