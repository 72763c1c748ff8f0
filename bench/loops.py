"""A loop of 1,000 requests to a server that takes 50 ms, 20 at once, on two io workers."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from bench.processes import Peer, environment, started
from bench.servers import Servers
from config.launcher import plan, processes

ITEMS = 1000
AT_ONCE = 20
ANSWER_SECONDS = 0.05
LONGEST_SECONDS = 120
# What no engine can beat: all the waiting, so many at a time.
LIMIT_SECONDS = ITEMS * ANSWER_SECONDS / AT_ONCE


@dataclass(frozen=True)
class Loop:
    """What one run of the loop took; `grown_mib` is the workers' resident memory after it, less that before."""

    seconds: float
    most_in_flight: int
    messages: int
    grown_mib: float


def measure(servers: Servers, peer: Peer, rounds: int) -> list[Loop]:
    """Run the loop `rounds` times, after one that warms up."""
    with _slow_server() as address:
        url = f"http://{address}/"
        call = {"name": "call", "type": "http_request", "config": {"method": "POST", "url": url, "json": "{{item}}"}}
        config = {"items": list(range(ITEMS)), "max_concurrency": AT_ONCE, "steps": [call]}
        loop = {"name": "loop", "type": "foreach", "config": config}
        workflow_id = peer.ask(action="create", name="Loop", steps=[loop])
        env = environment(servers) | {"EGRESS_ALLOWLIST": address}
        with contextlib.ExitStack() as stack:
            workers = [
                stack.enter_context(started(command, env=env, log=servers.folder / f"loop-{number}.log")).pid
                for number, command in enumerate(
                    (plan.worker_command("flow"), plan.worker_command("io"), plan.worker_command("io", suffix="-two"))
                )
            ]
            found = [_run(servers, peer, workflow_id, workers, address) for _ in range(rounds + 1)]
    return found[1:]


def _run(servers: Servers, peer: Peer, workflow_id: int, workers: list[int], address: str) -> Loop:
    before, messages = _resident_mib(workers), _pushed(servers)
    peer.ask(action="insert", workflow_id=workflow_id, count=1)
    with psycopg.connect(servers.database_url(), autocommit=True) as connection:

        def done() -> bool:
            row = connection.execute("SELECT NOT EXISTS (SELECT FROM workflow_branches)").fetchone()
            return bool(row and row[0])

        if not processes.wait_until(done, seconds=LONGEST_SECONDS, pause=0.02):
            raise RuntimeError(f"the loop was not done within {LONGEST_SECONDS} s")
        row = connection.execute(
            "SELECT status, extract(epoch FROM completed_at - created_at) FROM workflow_executions"
            " ORDER BY id DESC LIMIT 1"
        ).fetchone()
    if row is None or row[0] != "completed":
        raise RuntimeError(f"the loop ended {row and row[0]}")
    with urllib.request.urlopen(f"http://{address}/") as answer:
        seen = json.load(answer)
    return Loop(float(row[1]), seen["most"], _pushed(servers) - messages, _resident_mib(workers) - before)


@contextlib.contextmanager
def _slow_server() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.slow_server", str(ANSWER_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=plan.ROOT) as server:
        assert server.stdout is not None
        yield f"127.0.0.1:{int(server.stdout.readline())}"
        server.terminate()


def _pushed(servers: Servers) -> int:
    """Return how many messages the broker has taken so far."""
    with redis.Redis.from_url(servers.redis_url) as client:
        found: dict[str, dict[str, int]] = client.info("commandstats")
    return int(found.get("cmdstat_lpush", {}).get("calls", 0))


def _resident_mib(sessions: list[int]) -> float:
    """Return the resident memory of all processes of these sessions, MiB."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything, come state, parent, group, session … and pages at the 22nd.
            rest = stat.read_text().rpartition(")")[2].split()
            if int(rest[3]) in sessions:
                pages += int(rest[21])
    return pages * 4096 / 1024 / 1024
