"""`make run` seen from outside: real servers and children, real signals, killed at will."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from config.launcher import processes
from config.launcher.state import DataFolder
from tests.ports import Port

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Poll until the condition gives something true; fail at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, f"did not happen in {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.02)
    return result


class Launched:
    """A launcher process whose lines are read as they come."""

    def __init__(self, command: list[str], **environ: str) -> None:
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "MAKELEVEL"} | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def expect(self, text: str) -> str:
        """Return the next line that contains `text`."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                line = self._queue.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty:
                pytest.fail(f"no line with {text!r}; so far: {self.lines}")
            if line is None:
                pytest.fail(f"ended without a line with {text!r}: {self.lines}")
            self.lines.append(line)
            if text in line:
                return line

    def ready(self) -> dict[str, Any]:
        """Wait for the driver's line about urls and pids."""
        return dict(json.loads(self.expect('{"urls"')))

    def end(self, number: int | None = None) -> int:
        """Signal if asked, wait for the end, keep the rest of the output; returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        while (line := self._queue.get_nowait()) is not None:
            self.lines.append(line)
        return code

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; whatever still runs for it afterwards is killed."""
    path = tmp_path / "data"
    yield path
    for pid in running_for(path):
        processes.send(pid, signal.SIGKILL)


@pytest.fixture
def launch(folder: Path) -> Iterator[Callable[..., Launched]]:
    """Start drivers of a supervisor on `folder`."""
    launched: list[Launched] = []

    def start(*children: dict[str, Any], servers: bool = False) -> Launched:
        spec = {"folder": str(folder), "servers": servers, "children": children}
        launched.append(Launched([sys.executable, "-m", "tests.e2e.launcher_driver", json.dumps(spec)]))
        return launched[-1]

    yield start
    for one in launched:
        one.close()


@pytest.fixture
def make_run(folder: Path) -> Iterator[Callable[..., Launched]]:
    """Start `python -m config.launcher up` as `make run` does."""
    launched: list[Launched] = []

    def start(**environ: str) -> Launched:
        command = [sys.executable, "-m", "config.launcher", "up"]
        launched.append(Launched(command, **({"DATA_DIR": str(folder)} | environ)))
        return launched[-1]

    yield start
    for one in launched:
        one.close()


def running_for(folder: Path) -> list[int]:
    """Every process that works for a data folder."""
    return [
        *processes.marked(str(folder)),
        *processes.working_in(folder / "postgres" / "data", "postgres"),
        *processes.working_in(folder / "valkey", "valkey-server"),
    ]


def python(code: str, *, name: str = "child", stage: int = 2, **more: Any) -> dict[str, Any]:
    """A stand-in child that runs a piece of Python."""
    return {"name": name, "command": [sys.executable, "-u", "-c", code], "stage": stage, **more}


def write_rows(url: str, count: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, %s)", [count])


def count_rows(url: str) -> int | None:
    """The number of kept rows, or nothing while the server does not let us in."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute("SELECT count(*) FROM kept").fetchone()
    except psycopg.OperationalError:
        return None
    return int(row[0]) if row else None


def answers_ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_a_killed_server_comes_back_on_its_port_with_all_rows(launch: Callable[..., Launched], folder: Path) -> None:
    run = launch(servers=True)
    state = run.ready()
    postgres_url, redis_url = state["urls"]["DATABASE_URL"], state["urls"]["REDIS_URL"]
    write_rows(postgres_url, 500)

    os.kill(state["pids"]["postgres"], signal.SIGKILL)
    os.kill(state["pids"]["valkey"], signal.SIGKILL)

    run.expect("died (SIGKILL), restart 1 in 0.0 s")
    run.expect("died (SIGKILL), restart 1 in 0.0 s")
    assert eventually(lambda: count_rows(postgres_url), "PostgreSQL answers again") == 500
    eventually(lambda: answers_ping(redis_url), "Valkey answers again")
    assert run.end(signal.SIGINT) == 0
    assert running_for(folder) == []


def test_the_next_start_recovers_after_kill_9_of_the_launcher(launch: Callable[..., Launched], folder: Path) -> None:
    first = launch(python("import time; time.sleep(600)"), servers=True)
    state = first.ready()
    write_rows(state["urls"]["DATABASE_URL"], 300)
    first.end(signal.SIGKILL)

    second = launch(python("import time; time.sleep(600)"), servers=True)

    again = second.ready()
    assert count_rows(again["urls"]["DATABASE_URL"]) == 300
    assert not any(processes.running(pid) for pid in state["pids"].values())
    assert second.end(signal.SIGTERM) == 0
    assert running_for(folder) == []


def test_a_server_left_on_the_folder_is_stopped_first(launch: Callable[..., Launched], folder: Path) -> None:
    first = launch(servers=True)
    state = first.ready()
    write_rows(state["urls"]["DATABASE_URL"], 70)
    command = Path(f"/proc/{state['pids']['postgres']}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    first.end(signal.SIGINT)
    left = subprocess.Popen([*prefix, *(part.decode() for part in command)], stderr=subprocess.DEVNULL)
    eventually(lambda: count_rows(state["urls"]["DATABASE_URL"]), "the left server answers")

    second = launch(servers=True)

    again = second.ready()
    assert left.wait(DEADLINE_SECONDS) == 0
    assert count_rows(again["urls"]["DATABASE_URL"]) == 70
    second.end(signal.SIGINT)


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_matter(
    launch: Callable[..., Launched], folder: Path
) -> None:
    first = launch(servers=True)
    write_rows(first.ready()["urls"]["DATABASE_URL"], 7)
    first.end(signal.SIGINT)
    stranger = subprocess.Popen(["sleep", "600"])
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n{pid_file.parent}\n1700000000\n20000\n\n127.0.0.1\n0 0\nready\n")

    second = launch(servers=True)

    assert count_rows(second.ready()["urls"]["DATABASE_URL"]) == 7
    second.end(signal.SIGINT)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_first_start_killed_in_the_middle_is_made_anew(launch: Callable[..., Launched], folder: Path) -> None:
    half_made = folder / "postgres" / "data.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    run = launch(servers=True)

    write_rows(run.ready()["urls"]["DATABASE_URL"], 1)
    assert run.end(signal.SIGINT) == 0


def test_a_dying_child_is_started_again_and_said_so(launch: Callable[..., Launched], tmp_path: Path) -> None:
    once = tmp_path / "once"
    code = f"import pathlib, sys, time; p = pathlib.Path({str(once)!r})\n"
    code += "if not p.exists(): p.touch(); sys.exit(3)\nprint('second life'); time.sleep(600)"

    run = launch(python(code, name="web"))

    run.expect("web died (exit code 3), restart 1 in 0.0 s")
    assert run.expect("second life") == "web          | second life"
    assert run.end(signal.SIGINT) == 0


def test_five_deaths_in_a_minute_end_all_with_one_line(launch: Callable[..., Launched], folder: Path) -> None:
    steady = python("import time; time.sleep(600)", name="steady")

    run = launch(steady, python("raise SystemExit(7)", name="worker-io"))

    assert run.end() == 1
    assert [line for line in run.lines if "restart" in line] == [
        f"launcher     | worker-io died (exit code 7), restart {count} in {0.02 * 2 ** (count - 1):.1f} s"
        for count in (1, 2, 3, 4)
    ]
    assert run.lines[-1] == "make: worker-io died 5 times within a minute (last: exit code 7), giving up"
    assert running_for(folder) == []


def test_what_a_dead_child_started_does_not_outlive_it(launch: Callable[..., Launched], folder: Path) -> None:
    # The grandchild leaves the session, so that only adoption can find it.
    code = "import subprocess, time\np = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    run = launch(python(code + "print('grandchild', p.pid); time.sleep(600)", name="worker"))
    pid = run.ready()["pids"]["worker"]
    grandchild = int(run.expect("grandchild").split()[-1])

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: not processes.running(grandchild), "the grandchild is gone")
    run.expect("grandchild")
    assert run.end(signal.SIGINT) == 0
    assert running_for(folder) == []


def test_ctrl_c_stops_in_order_and_leaves_nothing(launch: Callable[..., Launched], folder: Path) -> None:
    def child(name: str, work_seconds: float) -> str:
        return (
            "import signal, subprocess, sys, time\n"
            "subprocess.Popen(['sleep', '600'])\n"
            f"def stop(*_): time.sleep({work_seconds}); print('{name} finished'); sys.exit()\n"
            f"signal.signal(signal.SIGTERM, stop); print('{name} up'); time.sleep(600)"
        )

    run = launch(
        python(child("web", 0.1), name="web", stage=3),
        python(child("worker", 0.5), name="worker", stage=2),
        python(child("beat", 0.0), name="beat", stage=4),
        servers=True,
    )
    run.ready()
    for _ in range(3):
        run.expect(" up")

    assert run.end(signal.SIGINT) == 0

    assert [line.split("| ")[1] for line in run.lines if "finished" in line] == [
        "beat finished",
        "web finished",
        "worker finished",
    ]
    assert running_for(folder) == []


def test_a_second_ctrl_c_kills_what_does_not_end(launch: Callable[..., Launched], folder: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    run = launch(python(stubborn, name="worker", stop_seconds=600))
    run.expect("deaf")

    run.process.send_signal(signal.SIGINT)
    run.expect("Ctrl-C again kills it")
    assert run.end(signal.SIGINT) == 0

    assert any("killing worker" in line for line in run.lines)
    assert running_for(folder) == []


def test_a_busy_port_is_one_line(make_run: Callable[..., Launched], folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        run = make_run(PORT=str(port))

        assert run.end() == 1
    reason = "Address already in use"
    assert run.lines == [
        f"make: Port {port} on 127.0.0.1 cannot be used ({reason}); choose another: make run PORT=8100"
    ]
    assert running_for(folder) == []
    assert not (folder / "postgres").exists()


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"PORT": "eighty"}, "make: PORT='eighty' is not a whole number"),
        ({"PORT": "70000"}, "make: PORT=70000 is not a port"),
        ({"EXTRA_PORTS": "8008,x"}, "make: EXTRA_PORTS='x' is not a port; give for example 8008,8090,8000"),
    ],
)
def test_a_bad_port_is_one_line(make_run: Callable[..., Launched], environ: dict[str, str], line: str) -> None:
    run = make_run(**environ)

    assert run.end() == 1
    assert run.lines == [line]


def test_an_unwritable_folder_is_one_line(make_run: Callable[..., Launched], tmp_path: Path) -> None:
    # A file in the way stops root too, which permissions do not.
    (tmp_path / "file").touch()
    wanted = tmp_path / "file" / "data"

    run = make_run(DATA_DIR=str(wanted))

    assert run.end() == 1
    assert run.lines == [f"make: DATA_DIR {wanted} cannot be written: Not a directory"]


def test_a_second_launcher_on_the_same_folder_is_one_line(
    launch: Callable[..., Launched], make_run: Callable[..., Launched], folder: Path
) -> None:
    first = launch(python("import time; time.sleep(600)"))
    first.ready()

    second = make_run()

    assert second.end() == 1
    expected = f"make: Already running with DATA_DIR {folder} (process {first.process.pid}); `make stop` ends it"
    assert second.lines == [expected]
    assert first.end(signal.SIGTERM) == 0


def test_stop_ends_the_running_launcher_and_waits(launch: Callable[..., Launched], folder: Path) -> None:
    run = launch(python("import time; time.sleep(600)"))
    run.ready()

    stop = Launched([sys.executable, "-m", "config.launcher", "stop"], DATA_DIR=str(folder))

    assert stop.end() == 0
    assert stop.lines == ["Stopped."]
    stop.close()
    assert run.end() == 0
    assert DataFolder(folder).holder() is None


def test_a_missing_program_is_one_line(make_run: Callable[..., Launched], tmp_path: Path) -> None:
    port = Port()

    run = make_run(PORT=str(port.number), PG_BIN=str(tmp_path), DATABASE_URL="")

    assert run.end() == 1
    port.let_go()
    assert run.lines[-1] == f"make: PG_BIN={tmp_path} does not hold postgres"


def test_ctrl_c_while_the_database_is_being_made_is_no_failure(
    make_run: Callable[..., Launched], tmp_path: Path, folder: Path
) -> None:
    # A terminal sends it to the whole group: initdb removes what it began and reports that it failed.
    programs = {"postgres": "exit 0", "initdb": "kill -INT 0; exit 1"}
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    port = Port()

    run = make_run(PORT=str(port.number), PG_BIN=str(tmp_path), DATABASE_URL="")

    assert run.end() == 0
    port.let_go()
    assert [line.split("|")[-1].split(" in ")[0].strip() for line in run.lines] == ["stopping ...", "stopped"]
    assert running_for(folder) == []


def test_secrets_are_made_once_and_closed_to_others(folder: Path) -> None:
    data = DataFolder(folder)
    data.open()

    first, second = data.secret("api_key"), DataFolder(folder).secret("api_key")

    assert first == second
    assert len(first) >= 43
    assert (folder / "api_key").stat().st_mode & 0o777 == 0o600
    data.close()
