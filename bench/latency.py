"""From trigger to done by a client's clock, and what one execution costs the servers."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import redis

from bench.servers import OURS, Servers
from bench.stack import Client
from bench.workloads import TRIGGER_DATA

POLL_SECONDS = 0.002
LONGEST_SECONDS = 30.0
PAUSE_SECONDS = 0.02
# An idle backend reports its row counts after ten seconds at the latest.
STATISTICS_SECONDS = 11.0


def trigger_to_done_ms(port: int, workflow_id: int, executions: int) -> tuple[float, float]:
    """Trigger one execution after the other and ask for each until it is completed; return p50 and p99."""
    with Client(port) as client:
        for _ in range(10):
            _once(client, workflow_id)
        times = [_once(client, workflow_id) for _ in range(executions)]
    percentiles = statistics.quantiles(times, n=100, method="inclusive")
    return percentiles[49], percentiles[98]


def _once(client: Client, workflow_id: int) -> float:
    began_at = time.perf_counter()
    execution_id = _trigger(client, workflow_id)
    path = f"/api/v1/workflows/executions/{execution_id}"
    while (status := client.get(path)["status"]) != "completed":
        if status not in {"pending", "running"} or time.perf_counter() - began_at > LONGEST_SECONDS:
            raise RuntimeError(f"execution {execution_id} is {status}")
        time.sleep(POLL_SECONDS)
    return (time.perf_counter() - began_at) * 1000


def _trigger(client: Client, workflow_id: int) -> int:
    return int(client.post(f"/api/v1/workflows/{workflow_id}/trigger", {"trigger_data": TRIGGER_DATA})["execution_id"])


@dataclass(frozen=True)
class Cost:
    """Counts of one execution; statements are None where the server does not count them."""

    messages: float
    statements: float | None
    transactions: float
    rows: float


def cost_per_execution(servers: Servers, port: int, workflow_id: int, executions: int) -> Cost:
    """Count what executions need that nobody asks about while they run; what an idle product does is taken off."""
    with _counters(servers) as read, Client(port) as client:
        _trigger(client, workflow_id)
        time.sleep(STATISTICS_SECONDS)
        before, before_at = read(), time.monotonic()
        time.sleep(STATISTICS_SECONDS)
        middle, middle_at = read(), time.monotonic()
        for _ in range(executions):
            _trigger(client, workflow_id)
            time.sleep(PAUSE_SECONDS)
        time.sleep(STATISTICS_SECONDS)
        after, after_at = read(), time.monotonic()
    idle_share = (after_at - middle_at) / (middle_at - before_at)
    spent = {
        name: ((after[name] - middle[name]) - (middle[name] - before[name]) * idle_share) / executions for name in after
    }
    return Cost(spent["messages"], spent.get("statements"), spent["transactions"], spent["rows"])


@contextmanager
def _counters(servers: Servers) -> Iterator["Counters"]:
    with (
        psycopg.connect(servers.database_url("postgres"), autocommit=True) as outside,
        psycopg.connect(servers.database_url(), autocommit=True) as inside,
        redis.Redis.from_url(servers.redis_url) as broker,
    ):
        yield Counters(outside, inside, broker)


class Counters:
    """The servers' own counters; our questions go to another database where they would count."""

    def __init__(
        self,
        outside: psycopg.Connection[tuple[float]],
        inside: psycopg.Connection[tuple[float]],
        broker: "redis.Redis",
    ) -> None:
        self._outside, self._inside, self._broker = outside, inside, broker
        loaded = outside.execute("SELECT current_setting('shared_preload_libraries')").fetchone()
        self._counts_statements = "pg_stat_statements" in str(loaded)
        if self._counts_statements:
            outside.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def __call__(self) -> dict[str, float]:
        found = {
            "messages": float(self._broker.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0)),
            "transactions": self._number("SELECT xact_commit FROM pg_stat_database WHERE datname = %s"),
            "rows": self._rows(),
        }
        if self._counts_statements:
            found["statements"] = self._number(
                "SELECT sum(s.calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
                " WHERE d.datname = %s AND s.query !~ '^(BEGIN|COMMIT|ROLLBACK|SET)'"
            )
        return found

    def statements(self) -> list[tuple[str, int, float]]:
        """Return (text, calls, total ms) of every statement, the most expensive first."""
        rows = self._outside.execute(
            "SELECT s.query, s.calls, s.total_exec_time FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE d.datname = %s ORDER BY 3 DESC",
            [OURS],
        )
        return [(str(query), int(calls), float(ms)) for query, calls, ms in rows]  # type: ignore[misc]

    def _number(self, query: str) -> float:
        row = self._outside.execute(query, [OURS]).fetchone()
        return float(row[0] or 0) if row else 0.0

    def _rows(self) -> float:
        row = self._inside.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables").fetchone()
        return float(row[0] or 0) if row else 0.0
