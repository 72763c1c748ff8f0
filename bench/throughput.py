"""Executions per second of a 5-step pure workflow: drained from rows, and started over HTTP."""

import threading
import time

import psycopg

from bench.bare_celery import PROCESSES
from bench.processes import Peer, environment, started
from bench.servers import Servers
from bench.stack import Client
from bench.workloads import TRIGGER_DATA
from config.launcher import plan, processes

CLIENTS = 16
WARM_UP = 200
LONGEST_SECONDS = 120


def drained_per_second(servers: Servers, peer: Peer, workflow_id: int, executions: int) -> float:
    """Return the rate at which two flow processes run executions that wait as rows, the first 200 left out."""
    forget_executions(servers)
    peer.ask(action="insert", workflow_id=workflow_id, count=WARM_UP + executions)
    log = servers.folder / "drained.log"
    env = environment(servers) | {"FLOW_CONCURRENCY": str(PROCESSES)}
    with started(plan.worker_command("flow"), env=env, log=log), _connected(servers) as connection:
        _wait_until_done(connection, WARM_UP + executions)
        rows = connection.execute("SELECT completed_at FROM workflow_executions ORDER BY completed_at").fetchall()
        _check_completed(connection)
    seconds = (rows[-1][0] - rows[WARM_UP - 1][0]).total_seconds()
    return executions / seconds


def over_http_per_second(servers: Servers, port: int, workflow_id: int, executions: int) -> float:
    """Return the rate at which 16 clients get executions started and done, from the first request to the last end."""
    share, rest = divmod(executions, CLIENTS)
    path = f"/api/v1/workflows/{workflow_id}/trigger"
    barrier = threading.Barrier(CLIENTS + 1)
    failures: list[Exception] = []

    def work(count: int) -> None:
        try:
            with Client(port) as client:
                barrier.wait()
                for _ in range(count):
                    client.post(path, {"trigger_data": TRIGGER_DATA})
        except Exception as error:  # noqa: BLE001  (told in the measuring thread)
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(share + (at < rest),)) for at in range(CLIENTS)]
    for thread in threads:
        thread.start()
    with _connected(servers) as connection:
        barrier.wait()
        began_at = time.perf_counter()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        _wait_until_done(connection, executions)
        seconds = time.perf_counter() - began_at
        _check_completed(connection)
    return executions / seconds


def forget_executions(servers: Servers) -> None:
    """Empty the tables that runs fill, so that every round meets the same state. Only while nothing else runs."""
    with _connected(servers) as connection:
        connection.execute("TRUNCATE workflow_executions, event_store, workflow_counter_deltas CASCADE")
        connection.execute("VACUUM ANALYZE")


def _connected(servers: Servers) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(servers.database_url(), autocommit=True)


def _wait_until_done(connection: psycopg.Connection[tuple[object, ...]], executions: int) -> None:
    """Wait until no branch is left. The question is cheap and asked rarely: it shares the cores."""

    def done() -> bool:
        row = connection.execute("SELECT NOT EXISTS (SELECT FROM workflow_branches)").fetchone()
        return bool(row and row[0])

    if not processes.wait_until(done, seconds=LONGEST_SECONDS, pause=0.02):
        raise RuntimeError(f"{executions} executions were not done within {LONGEST_SECONDS} s")


def _check_completed(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    wrong = connection.execute(
        "SELECT status, error_code, error_message, count(*) FROM workflow_executions"
        " WHERE status <> 'completed' GROUP BY 1, 2, 3 ORDER BY 4 DESC"
    ).fetchone()
    if wrong:
        raise RuntimeError(f"{wrong[3]} executions are {wrong[0]}: {wrong[1]} {wrong[2]}")
