"""Where the bytes of files are kept: Django's STORAGES entry for the backend that STORAGE_BACKEND names."""

import os
from pathlib import Path
from typing import Any

from config import env

BACKENDS = ("local", "s3", "gcs", "azure")
ADDRESSING_STYLES = ("auto", "path", "virtual")
# What a remote backend may keep of one object in memory; more goes to a temporary file.
_MEMORY_BYTES = 1024**2
# The bucket's own signature allows no longer life.
LONGEST_URL_SECONDS = 7 * 24 * 3600


def backend() -> str:
    """Return the name of the backend. Raises env.BadSetting."""
    return _one_of("STORAGE_BACKEND", env.text("STORAGE_BACKEND", default="local"), BACKENDS)


def entry(name: str, *, upload_dir: Path) -> dict[str, Any]:
    """Return the STORAGES entry of a backend; what is missing in it is told by `config.checks`. Raises BadSetting."""
    if name == "s3":
        return {"BACKEND": "files.s3.S3Bucket", "OPTIONS": _s3()}
    if name == "gcs":
        return {"BACKEND": "storages.backends.gcloud.GoogleCloudStorage", "OPTIONS": _gcs()}
    if name == "azure":
        return {"BACKEND": "storages.backends.azure_storage.AzureStorage", "OPTIONS": _azure()}
    return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(upload_dir)}}


def _s3() -> dict[str, Any]:
    """Without key and secret boto3 looks for them itself: the machine's or the pod's role."""
    style = _one_of("S3_ADDRESSING_STYLE", env.text("S3_ADDRESSING_STYLE", default="auto"), ADDRESSING_STYLES)
    return {
        "bucket_name": env.text("S3_BUCKET"),
        "endpoint_url": env.text("S3_ENDPOINT_URL") or None,
        "region_name": env.text("S3_REGION", default="us-east-1"),
        "access_key": env.text("S3_ACCESS_KEY") or None,
        "secret_key": env.text("S3_SECRET_KEY") or None,
        "location": env.text("S3_PREFIX").strip("/"),
        "addressing_style": style,
        "max_memory_size": _MEMORY_BYTES,
    }


def _gcs() -> dict[str, Any]:
    """Without a file of credentials Google's library looks for them itself."""
    if credentials := env.text("GCS_CREDENTIALS_FILE"):
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = credentials
    return {
        "bucket_name": env.text("GCS_BUCKET"),
        "project_id": env.text("GCS_PROJECT") or None,
        "location": env.text("GCS_PREFIX").strip("/"),
        "file_overwrite": True,
        "max_memory_size": _MEMORY_BYTES,
    }


def _azure() -> dict[str, Any]:
    return {
        "azure_container": env.text("AZURE_CONTAINER"),
        "account_name": env.text("AZURE_ACCOUNT_NAME"),
        "account_key": env.text("AZURE_ACCOUNT_KEY"),
        "endpoint_suffix": env.text("AZURE_ENDPOINT_SUFFIX", default="core.windows.net"),
        "location": env.text("AZURE_PREFIX").strip("/"),
        "overwrite_files": True,
        # Left alone it tries for minutes, and whoever asks waits with it.
        "client_options": {"retry_total": 1, "connection_timeout": 3, "read_timeout": 20},
        "max_memory_size": _MEMORY_BYTES,
    }


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value.lower() not in allowed:
        raise env.BadSetting(f"{name}={value!r} is not one of {', '.join(allowed)}")
    return value.lower()
