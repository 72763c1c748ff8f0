"""Loaded by `make test` before Django: each parallel test process gets a broker database and folders of its own.

A pytest plugin rather than a conftest, because settings are read before any conftest is.
pytest-django gives each process a database of its own by itself.
"""

import os
from urllib.parse import urlsplit

# What every Redis server has; 0 is left to the process that runs alone.
REDIS_DATABASES = 16


def broker_url(url: str, worker: int) -> str:
    """Return `url` with the database number of the `worker`-th test process."""
    return urlsplit(url)._replace(path=f"/{worker % (REDIS_DATABASES - 1) + 1}").geturl()


def isolate(worker_name: str) -> None:
    """Point this process' environment (and with it all its children) at its own broker database and folders."""
    worker = int(worker_name.removeprefix("gw"))
    for name in ("REDIS_URL", "CELERY_BROKER_URL"):
        if url := os.environ.get(name):
            os.environ[name] = broker_url(url, worker)
    for name in ("UPLOAD_DIR", "DATA_DIR"):
        if folder := os.environ.get(name):
            os.environ[name] = f"{folder}/{worker_name}"


if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    isolate(worker)
