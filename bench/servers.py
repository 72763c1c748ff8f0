"""PostgreSQL and Valkey of our own, durable, with statement counting; or those that the environment names."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from config import env
from config.launcher import commands, servers
from config.launcher.output import Console
from config.launcher.state import DataFolder

OURS, PEERS = "bench_automation", "bench_dbos"
# For what is measured beside a long history, and beside none.
STORED, EMPTY = "bench_stored", "bench_empty"


@dataclass(frozen=True)
class Servers:
    """Where the servers are, and a folder for whatever the measured processes write."""

    server_url: str
    redis_url: str
    folder: Path

    def database_url(self, name: str = OURS) -> str:
        """Return the URL of one of the databases of the bench."""
        return urlsplit(self.server_url)._replace(path=f"/{name}").geturl()


@contextlib.contextmanager
def running() -> Iterator[Servers]:
    """Give servers with two empty databases; the databases, or the servers if ours, are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="automation-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Passable: PostgreSQL may have to run as another user below it.
        folder.chmod(0o711)
        with _urls(folder) as urls:
            found = Servers(urls["DATABASE_URL"], urls["REDIS_URL"], folder)
            with _databases(found):
                yield found


@contextlib.contextmanager
def _urls(folder: Path) -> Iterator[Mapping[str, str]]:
    given = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL") if env.present(os.environ, name)}
    wanted = {"postgres": "DATABASE_URL" not in given, "valkey": "REDIS_URL" not in given}
    data = DataFolder(folder / "servers")
    with commands.held(data):
        if wanted["postgres"]:
            _prepare_counting(data)
        with commands.supervised(Console(quiet=True)) as supervisor:
            urls = servers.start(supervisor, data, **wanted)
            # Nobody ticks this supervisor, so that a signal must end us by itself.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            yield given | urls


def _prepare_counting(data: DataFolder) -> None:
    """Configure pg_stat_statements, which PostgreSQL loads at its start only."""
    with commands.supervised(Console(quiet=True)) as supervisor:
        urls = servers.start(supervisor, data, postgres=True, valkey=False)
        with psycopg.connect(urls["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")


@contextlib.contextmanager
def _databases(found: Servers) -> Iterator[None]:
    with psycopg.connect(found.database_url("postgres"), autocommit=True) as connection:
        try:
            for name in (OURS, PEERS, STORED, EMPTY):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            yield
        finally:
            for name in (OURS, PEERS, STORED, EMPTY):
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
