"""Signed addresses of Google's and Azure's storages: made offline, so that they can be looked at without them."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config import storages
from files.models import File
from files.services import links

DISPOSITION = "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe.txt"


@pytest.fixture
def file() -> File:
    return File(file_path="abc.txt", original_filename="Größe.txt", mime_type="text/plain")


def use(settings, name: str) -> None:
    settings.STORAGE_BACKEND = name
    settings.STORAGES = settings.STORAGES | {"default": storages.entry(name, upload_dir=Path("unused"))}


def test_a_local_storage_has_no_address_of_its_own(file):
    assert links.remote_url(file) is None


def test_google_signs_for_the_time_and_the_name(file, settings, monkeypatch, tmp_path):
    pytest.importorskip("google.cloud.storage", reason="requirements/gcs.txt is not installed")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "a@example.com",
        "private_key": key.decode(),
        "token_uri": "https://example.com",
    }
    (tmp_path / "key.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    credentials = str(tmp_path / "key.json")
    for name, value in {"BUCKET": "b", "PROJECT": "p", "PREFIX": "kept", "CREDENTIALS_FILE": credentials}.items():
        monkeypatch.setenv(f"GCS_{name}", value)
    use(settings, "gcs")

    address = urlsplit(links.remote_url(file))

    query = parse_qs(address.query)
    assert (address.netloc, address.path) == ("storage.googleapis.com", "/b/kept/abc.txt")
    assert (query["X-Goog-Expires"], query["response-content-disposition"]) == (["300"], [DISPOSITION])


def test_azure_signs_for_the_name(file, settings, monkeypatch):
    pytest.importorskip("azure.storage.blob", reason="requirements/azure.txt is not installed")
    for name, value in {"CONTAINER": "c", "ACCOUNT_NAME": "us", "ACCOUNT_KEY": "a2V5", "PREFIX": "kept"}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    use(settings, "azure")

    address = urlsplit(links.remote_url(file))

    query = parse_qs(address.query)
    assert (address.netloc, address.path) == ("us.blob.core.windows.net", "/c/kept/abc.txt")
    assert (query["sp"], query["rscd"], query["rsct"]) == (["r"], [DISPOSITION], ["text/plain"])
