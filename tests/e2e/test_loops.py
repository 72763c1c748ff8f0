"""A loop over real processes: never more in flight than allowed, results in order, a death costs what was in flight."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest
import redis

from config.launcher import plan, processes
from tests.chaos import stack
from tests.chaos.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ANSWER_AFTER_SECONDS = 0.05
MOST_AT_ONCE = 20
MOST_BELLS = 50


class SlowServer(ThreadingHTTPServer):
    """Answers each request after a while, and remembers how many it had at once and with which keys."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.in_flight = 0
        self.most = 0
        self.keys: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.in_flight += 1
            self.server.most = max(self.server.most, self.server.in_flight)
            self.server.keys[self.headers["Idempotency-Key"]] += 1
        time.sleep(ANSWER_AFTER_SECONDS)
        with self.server.lock:
            self.server.in_flight -= 1
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing: the record is what counts."""


@pytest.fixture
def server() -> Iterator[SlowServer]:
    with SlowServer() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def product(server: SlowServer) -> Iterator[Stack]:
    """Two nodes: the io lane has two worker processes."""
    # A worker that a busy machine holds up for a moment must not lose what it has in flight.
    with stack.running(server.address, SWEEP_INTERVAL_SECONDS="1", LEASE_SECONDS="5") as running:
        running.add_worker("io", "io-two")
        assert processes.wait_until(lambda: running.listening == len(plan.LANES) + 1, seconds=90)
        yield running


def start_loop(product: Stack, server: SlowServer, count: int) -> int:
    call = {"method": "POST", "url": f"http://{server.address}/", "json": {"item": "{{item}}"}}
    body = [{"name": "call", "type": "http_request", "config": call}]
    config = {"items": "{{trigger.items}}", "max_concurrency": MOST_AT_ONCE, "steps": body}
    steps = [{"name": "loop", "type": "foreach", "config": config}]
    workflow_id = product.api.create_workflow({"name": "loop", "workflow_config": {"steps": steps}})
    return int(product.api.trigger(workflow_id, {"items": list(range(count))}, key="loop").body)


def ended(product: Stack, execution_id: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        product.tend()
        found.update(product.api.execution(execution_id))
        return found["status"] not in {"pending", "running"}

    assert processes.wait_until(has_ended, seconds=150, pause=0.1), product.last_words("io")
    return found


def results_of(execution: dict[str, Any]) -> list[int]:
    return [item["json"]["item"] for item in execution["result_data"]["loop"]["results"]]


def test_a_thousand_items_share_two_nodes_and_never_exceed_their_limit(product: Stack, server: SlowServer) -> None:
    with redis.Redis(port=product.broker_port) as broker:
        before = broker.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0)
        execution = ended(product, start_loop(product, server, 1000))
        bells = broker.info("commandstats")["cmdstat_lpush"]["calls"] - before

    assert (execution["status"], execution["error_message"]) == ("completed", None)
    assert results_of(execution) == list(range(1000))
    assert set(server.keys.values()) == {1}
    assert server.most <= MOST_AT_ONCE
    with psycopg.connect(product.environ["DATABASE_URL"]) as connection:
        makers = connection.execute(
            "SELECT DISTINCT split_part(made_by, ':', 2) FROM workflow_execution_steps WHERE scope <> ''"
        ).fetchall()
    assert len(makers) == 2
    # The roll call of beat and the sweep's own bells, which a slow machine hears more of, are not the loop's.
    assert bells <= MOST_BELLS + 5 * execution["execution_time_ms"] / 1000


def test_a_worker_killed_in_the_middle_repeats_only_what_was_in_flight(product: Stack, server: SlowServer) -> None:
    execution_id = start_loop(product, server, 400)
    assert processes.wait_until(lambda: sum(server.keys.values()) > 100, seconds=60, pause=0.01)

    product.kill("io-two")

    execution = ended(product, execution_id)
    assert execution["status"] == "completed"
    assert results_of(execution) == list(range(400))
    repeated = sum(count - 1 for count in server.keys.values())
    assert len(server.keys) == 400
    assert repeated <= MOST_AT_ONCE
    assert server.most <= MOST_AT_ONCE
