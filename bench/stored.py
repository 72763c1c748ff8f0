"""The same drain beside a long history: does a database full of executions make new ones slower?"""

import subprocess
import sys

import psycopg

from bench.bare_celery import PROCESSES
from bench.processes import Peer, environment, started
from bench.servers import EMPTY, STORED, Servers
from bench.workloads import FIVE_PURE_STEPS
from config.launcher import plan, processes

WARM_UP = 200
LONGEST_SECONDS = 120


def measure(servers: Servers, *, stored: int, executions: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return executions per second beside `stored` ended ones and beside none, taken in turn."""
    _prepare(servers, stored)
    rates: dict[str, list[float]] = {STORED: [], EMPTY: []}
    peers = {
        name: Peer("bench.our_peer", env=_env(servers, name), log=servers.folder / f"{name}.log") for name in rates
    }
    try:
        ids = {name: peer.ask(action="create", name="Five", steps=FIVE_PURE_STEPS) for name, peer in peers.items()}
        for _ in range(rounds):
            for name, peer in peers.items():
                rates[name].append(_drained_per_second(servers, name, peer, ids[name], executions))
    finally:
        for peer in peers.values():
            peer.__exit__()
    return rates[STORED], rates[EMPTY]


def _prepare(servers: Servers, stored: int) -> None:
    for name in (STORED, EMPTY):
        subprocess.run(plan.manage("migrate", "--verbosity", "0"), check=True, env=_env(servers, name), cwd=plan.ROOT)
    fill = [sys.executable, "-m", "bench.fill", "--executions", str(stored), "--files", "1000", "--audit", "1000"]
    subprocess.run(fill, check=True, env=_env(servers, STORED), cwd=plan.ROOT)
    with _connected(servers, STORED) as connection:
        # Only the history is wanted: what still lives would be run too.
        connection.execute("UPDATE workflow_executions SET status = 'completed' WHERE status IN ('pending', 'running')")
        connection.execute("DELETE FROM workflow_branches")
        connection.execute("VACUUM ANALYZE")


def _drained_per_second(servers: Servers, database: str, peer: Peer, workflow_id: int, executions: int) -> float:
    with _connected(servers, database) as connection:
        connection.execute("CHECKPOINT")
        [last] = connection.execute("SELECT COALESCE(max(id), 0) FROM workflow_executions").fetchone() or [0]
    peer.ask(action="insert", workflow_id=workflow_id, count=WARM_UP + executions)
    env = _env(servers, database) | {"FLOW_CONCURRENCY": str(PROCESSES)}
    log = servers.folder / f"drained-{database}.log"
    with started(plan.worker_command("flow"), env=env, log=log), _connected(servers, database) as connection:

        def done() -> bool:
            row = connection.execute("SELECT NOT EXISTS (SELECT FROM workflow_branches)").fetchone()
            return bool(row and row[0])

        if not processes.wait_until(done, seconds=LONGEST_SECONDS, pause=0.02):
            raise RuntimeError(f"{executions} executions were not done within {LONGEST_SECONDS} s")
        rows = connection.execute(
            "SELECT completed_at, status FROM workflow_executions WHERE id > %s ORDER BY completed_at", [last]
        ).fetchall()
    if wrong := {status for _, status in rows} - {"completed"}:
        raise RuntimeError(f"executions ended {', '.join(wrong)}")
    return executions / (rows[-1][0] - rows[WARM_UP - 1][0]).total_seconds()


def _env(servers: Servers, database: str) -> dict[str, str]:
    return environment(servers) | {"DATABASE_URL": servers.database_url(database)}


def _connected(servers: Servers, database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(servers.database_url(database), autocommit=True)
