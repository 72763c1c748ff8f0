"""The product as real processes: web, workers of all lanes, beat, and a broker that can be stopped.

The database lives in the PostgreSQL server that DATABASE_URL names, or in one of the suite's own, which can be
stopped. Whatever dies is started again, as the product's own supervisor does; the workers of all lanes are one
process group, the worker tree.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from unittest import mock
from urllib.parse import urlsplit

import httpx
import psycopg
import redis
from psycopg import sql

from config.launcher import binaries, plan, processes
from config.launcher.state import DataFolder
from tests.chaos import hooks, scenario
from tests.chaos.api import Api
from tests.chaos.database import Database
from tests.chaos.nursery import Forked, Nursery
from tests.ports import Port

LEASE_SECONDS = 2.0
RESTART_AFTER_SECONDS = 0.2
LIVE_SECONDS = 240.0
# Where no worker is killed: a machine that stands still for a moment takes no step from its worker.
CALM = {"LEASE_SECONDS": "30"}
# Every point that the product names, and the suite's own; a token file beside it arms it (core.faults).
POINTS = (
    "before_claim",
    "after_claim",
    "in_checkpoint",
    "in_finish",
    "after_finish",
    "before_effect",
    "after_effect",
    "in_evaluation",
    "extract_started",
    "extract_before_commit",
    "extract_after_commit",
    "before_trigger_commit",
    "after_trigger_commit",
    "before_bell",
)


@dataclass
class Process:
    """One long-running process of the stack."""

    name: str
    command: list[str]
    log: Path
    in_tree: bool = False
    popen: subprocess.Popen[bytes] | Forked | None = None
    died_at: float | None = None
    # A process that is meant to be down stays down.
    wanted: bool = True
    # PostgreSQL does not run as root.
    user: int | None = None

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None


@dataclass
class Stack:
    """A running product. Call `tend` often: it starts again what has died. All calls from the main thread."""

    folder: Path
    environ: dict[str, str]
    api: Api
    broker_port: int
    processes: list[Process] = field(default_factory=list)
    restarts: int = 0
    nursery: Nursery | None = None
    database: Database | None = None
    clock_seconds: float = 0.0
    # Held until the end: a port that was free when it was asked for may be another's when its server starts.
    ports: list[Port] = field(default_factory=list)

    def tend(self) -> None:
        """Start again what died a moment ago."""
        for process in self.processes:
            if process.alive or not process.wanted:
                continue
            if process.died_at is None:
                process.died_at = time.monotonic()
            elif time.monotonic() - process.died_at > RESTART_AFTER_SECONDS:
                self.restarts += 1
                self.start(process)

    def start(self, process: Process) -> None:
        """Start one process: workers in the group of the tree, everything else in a group of its own."""
        group = self.tree_group or 0 if process.in_tree else 0
        if self.nursery is not None and "-m" in process.command:
            process.popen = self.nursery.spawn(process.command, log=process.log, group=group)
        else:
            with process.log.open("ab") as log:
                process.popen = self._spawn(process, log, group)
        process.died_at = None
        process.wanted = True

    def _spawn(self, process: Process, log: IO[bytes], group: int) -> subprocess.Popen[bytes]:
        wrapped = [sys.executable, "-m", "tests.chaos.child", str(os.getpid()), *process.command]
        options = {"cwd": plan.ROOT, "env": self.environ, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        options["user"] = process.user
        try:
            return subprocess.Popen(wrapped, process_group=group, **options)  # type: ignore[call-overload, no-any-return]
        except PermissionError:  # the last member of the group has died just now
            return subprocess.Popen(wrapped, process_group=0, **options)  # type: ignore[call-overload, no-any-return]

    @property
    def tree_group(self) -> int | None:
        """The process group of the workers that live."""
        for process in self.processes:
            if process.in_tree and process.popen is not None and process.alive:
                with contextlib.suppress(ProcessLookupError):
                    return os.getpgid(process.popen.pid)
        return None

    def kill_tree(self) -> bool:
        """SIGKILL every worker with all its children at one blow. May be called from any thread."""
        group = self.tree_group
        # Whatever happens, not our own.
        if group is None or group == os.getpgrp():
            return False
        processes.kill_group(group)
        return True

    @property
    def is_whole(self) -> bool:
        """Whether no server is meant to be down; without its database the product answers nothing."""
        return all(process.wanted for process in self.processes if process.name == "database")

    def process(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)

    def kill(self, name: str) -> None:
        """SIGKILL one process, not its children. May be called from any thread."""
        popen = self.process(name).popen
        if popen is not None:
            popen.kill()

    def signal(self, name: str, number: int) -> None:
        """Signal one process."""
        popen = self.process(name).popen
        if popen is not None:
            processes.send(popen.pid, number)

    def add_worker(self, lane: str, name: str) -> None:
        """Start one more worker of a lane, beside the tree."""
        command = plan.worker_command(lane, suffix=f"-{name}")
        process = Process(name, command, self.folder / "logs" / f"{name}.log")
        self.processes.append(process)
        self.start(process)

    def add_beat(self, name: str) -> None:
        """Start one more beat."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        process = Process(name, plan.beat_command(DataFolder(folder)), self.folder / "logs" / f"{name}.log")
        self.processes.append(process)
        self.start(process)

    def remove(self, name: str) -> None:
        """End a process for good."""
        process = self.process(name)
        self.processes.remove(process)
        _end(process)

    def stop_broker(self) -> None:
        """Kill the broker and keep it down."""
        broker = self.process("broker")
        broker.wanted = False
        if broker.popen is not None:
            broker.popen.kill()
            broker.popen.wait()

    def start_broker(self) -> None:
        self.start(self.process("broker"))
        processes.wait_until(self._broker_answers, seconds=LIVE_SECONDS)

    def flush_broker(self) -> None:
        """Forget every bell."""
        with redis.Redis(port=self.broker_port) as client:
            client.flushall()

    def stop_database(self, *, kill: bool) -> None:
        """End the suite's own PostgreSQL, by SIGKILL or properly, and keep it down."""
        assert self.database is not None
        process = self.process("database")
        process.wanted = False
        self.database.kill() if kill else self.database.stop()
        assert process.popen is not None
        process.popen.wait()

    def start_database(self) -> None:
        assert self.database is not None
        self.start(self.process("database"))
        processes.wait_until(self.database.answers, seconds=LIVE_SECONDS)

    def move_clock(self, seconds: float) -> None:
        """Move the clock of all processes by so much."""
        self.clock_seconds += seconds
        hooks.set_clock(self.folder / "clock", self.clock_seconds)

    @property
    def listening(self) -> int:
        """How many workers wait for a bell."""
        with redis.Redis(port=self.broker_port) as client:
            return sum(connection["cmd"] == "brpop" for connection in client.client_list())

    def _broker_answers(self) -> bool:
        try:
            with redis.Redis(port=self.broker_port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def bring_up(self) -> None:
        """Start everything that is not up, and wait until the web process answers and the broker listens."""
        for process in self.processes:
            if not process.alive:
                self.start(process)
        processes.wait_until(self._broker_answers, seconds=LIVE_SECONDS)
        if not processes.wait_until(lambda: self.tend() or self.api.is_live(), seconds=LIVE_SECONDS, pause=0.1):  # type: ignore[func-returns-value]
            raise RuntimeError(f"the web process does not answer:\n{self.last_words('web')}")

    def client(self) -> httpx.Client:
        """Return a client with the service key that asks once and never again."""
        headers = {"Authorization": f"Bearer {self.environ['API_KEY']}"}
        return httpx.Client(base_url=self.api.base_url, headers=headers, timeout=120, trust_env=False)

    def last_words(self, name: str, lines: int = 30) -> str:
        """Return the end of a process's log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.process(name).log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def keep_logs(self, folder: Path) -> None:
        """Copy the processes' logs to a folder that outlives the stack."""
        shutil.copytree(self.folder / "logs", folder, dirs_exist_ok=True)

    def take_down(self) -> None:
        """End every process at once."""
        for process in self.processes:
            process.wanted = False
        for process in self.processes:
            if process.name != "database":
                _end(process)
        if self.nursery is not None:
            self.nursery.close()
        if self.database is not None:
            self.database.kill()
        for port in self.ports:
            port.let_go()

    # --- Fault points ---------------------------------------------------------------------------

    def arm(self, point: str, text: str) -> None:
        """Let the next process that passes `point` die ("child"), take the tree ("tree"), or hang ("hang:3")."""
        token = self.folder / "faults" / point
        fresh = token.with_name(f"{point}.new")
        fresh.write_text(text)
        fresh.rename(token)

    def disarm(self, point: str) -> None:
        (self.folder / "faults" / point).unlink(missing_ok=True)

    def take_hits(self, point: str) -> int:
        """Return how often `point` has struck since this was asked last."""
        hits = list((self.folder / "faults").glob(f"{point}.*.hit"))
        for hit in hits:
            hit.unlink()
        return len(hits)


def _end(process: Process) -> None:
    """Kill a process with its group."""
    if process.popen is None:
        return
    with contextlib.suppress(ProcessLookupError):
        group = os.getpgid(process.popen.pid)
        processes.kill_group(group) if group != os.getpgrp() else process.popen.kill()
    process.popen.wait()


@contextlib.contextmanager
def running(
    effects_address: str, *, is_quick: bool = False, own_database: bool = False, **environ: str
) -> Iterator[Stack]:
    """Start the whole product on a database and a broker of its own; everything is gone afterwards.

    `is_quick`: its processes are forked from one that has imported all, with the suite's hooks, and its clock can
    be moved. `own_database`: in a PostgreSQL of its own, which can be stopped.
    """
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        with _database(folder, own=own_database) as (url, database):
            stack = _prepare(folder, url, effects_address, environ)
            if database is not None:
                stack.database = database
                log = folder / "logs" / "database.log"
                stack.processes.insert(0, Process("database", database.command, log, user=database.user))
            try:
                _bring_up(stack, is_quick=is_quick)
                yield stack
            finally:
                stack.take_down()
                stack.api.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bring_up(stack: Stack, *, is_quick: bool) -> None:
    if stack.database is not None:
        stack.start(stack.process("database"))
        stack.database.create()
    if is_quick:
        stack.environ["DJANGO_SETTINGS_MODULE"] = "tests.chaos.settings"
        stack.environ["CHAOS_CLOCK"] = str(stack.folder / "clock")
        stack.move_clock(0.0)
        stack.nursery = Nursery(stack.environ, cwd=plan.ROOT, log=stack.folder / "logs" / "nursery.log")
    _migrate(stack)
    stack.bring_up()


def _prepare(folder: Path, database_url: str, effects_address: str, environ: Mapping[str, str]) -> Stack:
    (folder / "faults").mkdir()
    (folder / "logs").mkdir()
    ports = [Port(), Port()]
    web_port, broker_port = (port.number for port in ports)
    key = secrets.token_urlsafe(16)
    broker_url = f"redis://127.0.0.1:{broker_port}/0"
    settings = {
        "ENV": "development",
        "DATABASE_URL": database_url,
        "REDIS_URL": broker_url,
        "CELERY_BROKER_URL": broker_url,
        "REDIS_PASSWORD": "",
        "API_KEY": key,
        "DATA_DIR": str(folder / "data"),
        "UPLOAD_DIR": str(folder / "uploads"),
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "SWEEP_INTERVAL_SECONDS": "0.3",
        "RETRY_BASE_SECONDS": "0.2",
        "RATE_LIMIT_ENABLED": "false",
        "EGRESS_ALLOWLIST": effects_address,
        "FAULT_POINTS": ",".join(f"{point}={folder / 'faults' / point}" for point in POINTS),
        "LOG_LEVEL": "INFO",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONUNBUFFERED": "1",
    }
    api = Api(f"http://127.0.0.1:{web_port}", key)
    stack = Stack(folder, dict(os.environ) | settings | environ, api, broker_port, ports=ports)
    with mock.patch.dict(os.environ, stack.environ):  # the plan reads settings (log level, concurrency) as well
        stack.processes = list(_processes(folder, web_port, broker_port))
    return stack


def _processes(folder: Path, web_port: int, broker_port: int) -> Iterator[Process]:
    def log(name: str) -> Path:
        return folder / "logs" / f"{name}.log"

    broker = [str(binaries.valkey_server()), "--port", str(broker_port), "--bind", "127.0.0.1"]
    yield Process("broker", [*broker, "--save", "", "--appendonly", "no", "--dir", str(folder)], log("broker"))
    yield Process("web", plan.web_command(plan.Addresses("127.0.0.1", (web_port,))), log("web"))
    for lane in plan.LANES:
        yield Process(lane, plan.worker_command(lane), log(lane), in_tree=True)
    yield Process("beat", plan.beat_command(DataFolder(folder)), log("beat"))


def _migrate(stack: Stack) -> None:
    done = subprocess.run(
        plan.manage("migrate", "--verbosity", "0"), check=False, env=stack.environ, cwd=plan.ROOT, capture_output=True
    )
    if done.returncode:
        raise RuntimeError(f"migrate failed:\n{done.stderr.decode(errors='replace')[-3000:]}")
    with psycopg.connect(stack.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("INSERT INTO auth_group (name) VALUES (%s)", [scenario.GROUP])


@contextlib.contextmanager
def _database(folder: Path, *, own: bool) -> Iterator[tuple[str, Database | None]]:
    """Make a database beside the one of DATABASE_URL, or the files of a server; yields its URL."""
    if own:
        port = Port()
        database = Database(folder, port.number)
        database.make()
        try:
            yield database.url, database
        finally:
            port.let_go()
        return
    given = urlsplit(re.sub(r"^(\w+)\+\w+://", r"\1://", os.environ["DATABASE_URL"]))
    name = f"chaos_{os.getpid()}_{secrets.token_hex(3)}"
    maintenance = given._replace(path="/postgres").geturl()
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield given._replace(path=f"/{name}").geturl(), None
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
