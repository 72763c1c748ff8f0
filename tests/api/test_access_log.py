"""The line of each request in the log: enough to find it by, and nothing that opens a door."""

import json
import logging
from collections.abc import Iterator

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.msg if isinstance(record.msg, dict) else json.loads(str(record.msg))
        self.paths.append(line["path"])


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, log = Lines(), logging.getLogger("access")
    log.addHandler(handler)
    before, log.level = log.level, logging.INFO
    yield handler
    log.level = before
    log.removeHandler(handler)


@pytest.mark.parametrize("prefix", ["/files", "/api/v1/files"])
def test_a_path_that_is_a_credential_is_logged_by_its_pattern(anyone: Client, lines: Lines, prefix: str) -> None:
    anyone.get(f"{prefix}/download/the-signed-token")
    anyone.get(f"{prefix}/7")

    assert lines.paths == [f"{prefix.lstrip('/')}/download/<str:token>", f"{prefix}/7"]
