"""A planted secret reaches whom it is meant for, and is found nowhere else: database, logs, Redis, metrics, storage."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import psycopg
import pytest
import redis
from psycopg import sql

from tests.chaos import stack
from tests.chaos.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NASTY = 'Pl4nt"ed/S3cr3t+with&all=%~chars'
# Fit for a host's name, which is written in lower case everywhere.
PLAIN = "Pl4ntedPl4inSecretW1thoutAnyMarks"
ROTATED = "R0t4ted-in'side/the<run>"
SECRETS = (NASTY, PLAIN, ROTATED)
FINAL = {"completed", "failed", "cancelled", "timeout"}


class Echo(ThreadingHTTPServer):
    """Answers with everything it was asked, now and before, in every form it can think of."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Echo

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        asked = json.dumps(
            {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body}
        )
        self.server.heard.append(asked)
        answer = json.dumps(
            {
                "asked": json.loads(asked),
                "twice": asked,
                "base64": [base64.b64encode(b"x" * pad + asked.encode()).decode() for pad in range(3)],
                "url": quote(asked, safe=""),
                "earlier": self.server.heard[-3:],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Echo", self.headers.get("X-Token", ""))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def product(echo: Echo) -> Iterator[Stack]:
    with stack.running(
        echo.url.removeprefix("http://"), LOG_LEVEL="DEBUG", SPILL_OUTPUT="2KB", ENABLE_METRICS="true"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def client(product: Stack) -> Iterator[httpx.Client]:
    with product.client() as made:
        yield made


class Monitor(threading.Thread):
    """Hears every command that Redis is sent."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._client = redis.Redis(port=port)
        self.heard: list[str] = []
        self.is_listening = threading.Event()

    def run(self) -> None:
        try:
            with self._client.monitor() as monitor:
                self.is_listening.set()
                for command in monitor.listen():
                    self.heard.append(str(command["command"]))
        except (redis.RedisError, OSError, ValueError):
            return  # Redis was stopped


def forms_of(secret: str) -> list[str]:
    """Return what to search for: plain, URL-encoded, JSON-escaped, and the core of its base64 at each alignment."""
    cores = []
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for pad in range(3):
            encoded = encode(b"\0" * pad + secret.encode()).decode().rstrip("=")
            cores.append(encoded[4 if pad else 0 : -2])
    escaped = json.dumps(secret)[1:-1]
    plain = [secret, secret.lower(), quote(secret), quote(secret, safe=""), quote_plus(secret), escaped]
    return [*dict.fromkeys([*plain, quote(secret, safe="").lower(), json.dumps(escaped)[1:-1], *cores])]


def found_in(text: str) -> list[str]:
    return [form for secret in SECRETS for form in forms_of(secret) if form in text]


def call(name: str, url: str, **config: object) -> dict[str, Any]:
    envelope = {"on_error": "continue", "retry": {"max_attempts": 2}}
    return {"name": name, "type": "http_request", "config": {"url": url, **config}, **envelope}


def leaking_steps(url: str, called_id: int) -> list[dict[str, Any]]:
    """Return steps that bring the secrets everywhere a step can bring them."""
    say = {"name": "say", "type": "log", "config": {"message": "{{item}} {{secrets.nasty}}"}}
    return [
        call("header", f"{url}/header", headers={"X-Token": "{{secrets.nasty}}", "Authorization": "{{secrets.plain}}"}),
        call("query", f"{url}/query?key={{{{secrets.plain}}}}", params={"key": "{{secrets.nasty}}"}),
        call(
            "body", f"{url}/body", method="POST", json={"deep": ["<{{secrets.nasty}}>"], "plain": "{{secrets.plain}}"}
        ),
        *(
            call(f"basic_{len(user)}", f"{url}/basic", auth={"username": user, "password": "{{secrets.nasty}}"})
            for user in ("a", "bc", "def")
        ),
        {"name": "note", "type": "log", "config": {"message": "the token is {{secrets.nasty}}", "level": "warning"}},
        {
            "name": "shape",
            "type": "data_transform",
            "config": {
                "source_data": {"key": "{{secrets.nasty}}"},
                "transformations": [
                    {"type": "extract", "path": "key", "key": "taken"},
                    {"type": "template", "template": "again {{secrets.plain}}", "key": "made"},
                    {"type": "set", "value": {"{{secrets.plain}}": "{{secrets.nasty}}"}, "key": "set"},
                ],
            },
        },
        call("failing", f"{url}/failing?key={{{{secrets.plain}}}}", expected_status=418),
        call("bad_url", f"{url}/a {{{{secrets.nasty}}}}"),
        call("no_host", "https://{{secrets.plain}}.invalid/path"),
        call("bad_header", f"{url}/x", headers={"X-Token": "{{secrets.nasty}}\nX-More: {{secrets.plain}}"}),
        {
            "name": "tell",
            "type": "notification",
            "config": {"type": "webhook", "webhook_url": f"{url}/told", "message": "{{secrets.nasty}}"},
        },
        {
            "name": "loop",
            "type": "foreach",
            "config": {"items": ["{{secrets.nasty}}", "{{secrets.plain}}"], "steps": [say]},
        },
        {
            "name": "side",
            "type": "parallel",
            "config": {"steps": [call("left", f"{url}/left?a={{{{secrets.plain}}}}"), {**say, "name": "right"}]},
        },
        {
            "name": "choose",
            "type": "conditional",
            "config": {
                "condition": "{{secrets.nasty}} contains 'Pl4nt'",
                "true_action": {"type": "log", "config": {"message": "chosen {{secrets.nasty}}"}},
            },
        },
        {
            "name": "called",
            "type": "workflow",
            "config": {"workflow_id": called_id, "input": {"key": "{{secrets.nasty}}"}},
        },
        {"name": "pause", "type": "delay", "config": {"seconds": 1}},
        call("late", f"{url}/late", method="POST", json={"from": "{{steps.header}}", "key": "{{secrets.nasty}}"}),
        {
            "name": "end",
            "type": "stop",
            "config": {"status": "failed", "message": "gave up with {{secrets.nasty}} and {{secrets.plain}}"},
        },
    ]


def ended(client: httpx.Client, product: Stack, execution_id: int) -> dict[str, Any]:
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        product.tend()
        found: dict[str, Any] = client.get(f"/api/v1/workflows/executions/{execution_id}").json()
        if found["status"] in FINAL:
            return found
        time.sleep(0.1)  # polling a server, as clients do
    raise AssertionError(f"it did not end: {found['why']}")


def rows_of(url: str) -> dict[str, str]:
    """Return the text of every row by table."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        found = {}
        for (name,) in names:
            query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))
            found[name] = "\n".join(row[0] for row in connection.execute(query))
        return found


def keys_of(port: int) -> str:
    """Return every key of Redis with its value."""
    with redis.Redis(port=port, decode_responses=True) as broker:
        found: list[Any] = []
        for key in broker.scan_iter():
            read = {
                "string": broker.get,
                "hash": broker.hgetall,
                "set": broker.smembers,
                "list": lambda name: broker.lrange(name, 0, -1),
                "zset": lambda name: broker.zrange(name, 0, -1),
                "none": lambda name: None,  # its last bell was heard just now
            }[broker.type(key)]
            found += [key, read(key)]
        return repr(found)


def files_of(product: Stack) -> dict[str, str]:
    """Return every file of the product by name: logs, storage, counters."""
    found = {}
    for file in product.folder.rglob("*"):
        # What its process has removed since holds nothing any more.
        with suppress(FileNotFoundError):
            if file.is_file():
                found[str(file.relative_to(product.folder))] = file.read_bytes().decode(errors="replace")
    return found


def logs_of(product: Stack) -> str:
    return "".join(text for name, text in files_of(product).items() if name.startswith("logs/"))


def test_the_search_itself_finds_what_it_looks_for() -> None:
    for secret in SECRETS:
        for text in (
            secret,
            json.dumps({"a": json.dumps(secret)}),
            f"/x?key={quote(secret)}",
            *(base64.b64encode(f"{'u' * pad}:{secret}!".encode()).decode() for pad in range(3)),
        ):
            assert found_in(f"before {text} after"), text
    assert found_in("nothing of the kind") == []


def run_twice(client: httpx.Client, product: Stack, url: str) -> list[dict[str, Any]]:
    """Run what leaks wherever it can, once under a crash, and again after a rotation; return both executions."""
    for name, value in (("nasty", NASTY), ("plain", PLAIN)):
        made = client.post("/api/v1/secrets", json={"name": name, "value": value})
        assert (made.status_code, made.json()["name"]) == (201, name)
    inner = {"steps": [{"name": "say", "type": "log", "config": {"message": "{{trigger.key}}{{secrets.nasty}}"}}]}
    called = client.post("/workflows", json={"name": "called", "workflow_config": inner}).json()
    outer = {"steps": leaking_steps(url, called["id"])}
    workflow = client.post("/workflows", json={"name": "leaking", "workflow_config": outer})
    assert workflow.status_code == 200, workflow.text
    path = f"/workflows/{workflow.json()['id']}/trigger"
    # A worker dies with all others after an effect: what it held in memory is rendered again by another.
    product.arm("after_effect", "tree")
    first = ended(client, product, client.post(path, json={}).json()["execution_id"])
    assert product.take_hits("after_effect") == 1
    assert client.put("/api/v1/secrets/nasty", json={"value": ROTATED}).json()["version"] == 2
    second = ended(client, product, client.post(path, json={}).json()["execution_id"])
    return [first, second]


def check_what_was_sent(heard: list[dict[str, Any]]) -> None:
    """The secrets came where they were meant to."""
    at = {item["path"].partition("?")[0]: item for item in reversed(heard)}
    assert at["/header"]["headers"]["x-token"] == NASTY
    assert at["/header"]["headers"]["authorization"] == PLAIN
    assert json.loads(at["/body"]["body"]) == {"deep": [f"<{NASTY}>"], "plain": PLAIN}
    assert any(json.loads(item["body"] or "{}").get("message") == ROTATED for item in heard)
    encoded = at["/basic"]["headers"]["authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode().endswith(f":{NASTY}")


def check_what_is_shown(client: httpx.Client, execution: dict[str, Any]) -> None:
    """The execution went the whole way, and shows masks."""
    assert execution["status"] == "failed"
    assert execution["error_message"] == "Step 'end' failed: gave up with *** and ***"
    steps = client.get(f"/api/v1/workflows/executions/{execution['id']}/steps", params={"nested": "true"}).json()
    by_name = {step["step_name"]: step for step in steps}
    assert by_name["header"]["input_data"]["headers"] == {"X-Token": "***", "Authorization": "***"}
    assert by_name["header"]["output_data"]["json"]["asked"]["headers"]["x-token"] == "***"
    assert by_name["shape"]["output_data"]["taken"] == "***"
    assert by_name["shape"]["output_data"]["made"] == "again ***"
    assert {by_name[name]["status"] for name in ("failing", "bad_url", "no_host", "bad_header")} == {"failed"}
    assert by_name["late"]["status"] == "completed"
    assert found_in(json.dumps([execution, steps])) == []


def test_planted_secrets_are_found_nowhere_but_where_they_were_sent(
    client: httpx.Client, product: Stack, echo: Echo
) -> None:
    monitor = Monitor(product.broker_port)
    monitor.start()
    assert monitor.is_listening.wait(60)

    executions = run_twice(client, product, echo.url)

    check_what_was_sent([json.loads(item) for item in echo.heard])
    for execution in executions:
        check_what_is_shown(client, execution)
    tables = rows_of(product.environ["DATABASE_URL"])
    assert {name: found_in(text) for name, text in tables.items() if found_in(text)} == {}
    assert tables["secrets"].count("gAAAA") == 2
    assert tables["retired_secrets"].count("gAAAA") == 1
    assert '"event": "execution.finished"' in logs_of(product), "the workers' logs are not there to be searched"
    assert "***" in logs_of(product), "no line of the logs says that something was hidden"
    files = files_of(product)
    assert {name: found_in(text) for name, text in files.items() if found_in(text)} == {}
    assert sum(name.startswith("uploads/spill/") for name in files) > 2
    assert found_in(keys_of(product.broker_port)) == []
    commands = "\n".join(monitor.heard)
    assert "breaker:" in commands
    assert found_in(commands) == []
    metrics = client.get("/metrics").text
    assert "workflow_executions_total" in metrics
    assert found_in(metrics) == []
    for path in ("/executions", "/workflows", "/api/v1/secrets", "/health/detailed"):
        assert found_in(client.get(path).text) == [], path
