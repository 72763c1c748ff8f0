"""On what the figures were taken."""

import os
import platform
import re
from pathlib import Path

import psycopg
import redis

from bench.servers import Servers


def describe(servers: Servers) -> str:
    """Return the machine, the versions and the servers' durability as lines of text."""
    with psycopg.connect(servers.database_url()) as connection:
        version, fsync, commit = (
            _shown(connection, name) for name in ("server_version", "fsync", "synchronous_commit")
        )
    with redis.Redis.from_url(servers.redis_url) as client:
        info = client.info("server")
    broker = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
    lines = [
        f"CPU        {_cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} before the start",
        f"Memory     {_memory_gib():.1f} GiB",
        f"Software   Python {platform.python_version()}, PostgreSQL {version}, {broker}",
        f"Durability fsync {fsync}, synchronous_commit {commit}; rate limits off",
    ]
    return "\n".join(lines)


def _shown(connection: psycopg.Connection[tuple[str]], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    return str(row[0]) if row else "unknown"


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
