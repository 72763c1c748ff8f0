"""The warm fork server with files that run commands: what a document would do that had taken its parser over."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from files import fork_server, sandbox
from files.child_process import PROJECT
from files.extractors.base import Limits
from tests import documents
from tests.unit.files.commands import (
    NEVER_HUNG_SECONDS,
    comes,
    descriptors,
    is_running,
    left,
    python_that_runs_commands,
)

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def _own_server(monkeypatch):
    """Start without a server and leave none."""
    monkeypatch.setattr(fork_server, "_cold_until", 0.0)
    end_server()
    yield
    end_server()


def end_server():
    if fork_server._current is not None:
        fork_server._current.discard()
    fork_server._cold_until = 0.0


@pytest.fixture
def folder(tmp_path):
    """A folder in which files that run commands may leave empty files behind."""
    path = tmp_path / "left"
    path.mkdir()
    return path


@pytest.fixture
def commands(tmp_path, folder, monkeypatch):
    """Make .txt files run as commands; return what writes one and gives its path."""
    python = python_that_runs_commands(tmp_path, folder)
    monkeypatch.setattr(sys, "executable", str(python))

    def _commands(lines: str, name: str = "commands.txt") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(lines))
        return path

    return _commands


def extract(path: Path, *, warm: bool = True, **limits) -> str:
    return sandbox.run_extraction(path, "txt", Limits(**limits), warm=warm).text


def test_files_of_all_kinds_come_out_as_of_plain_children_from_one_server(tmp_path):
    contents = {"txt": b"words", "pdf": documents.pdf("one"), "xlsx": documents.xlsx(), "csv": documents.csv(3)}
    for extension, content in contents.items():
        (tmp_path / f"file.{extension}").write_bytes(content)
    extracted = partial(sandbox.run_extraction, limits=Limits())

    warm = [extracted(tmp_path / f"file.{extension}", extension, warm=True) for extension in contents]
    first_server = fork_server.running_pid()
    warm += [extracted(tmp_path / f"file.{extension}", extension, warm=True) for extension in contents]
    plain = [extracted(tmp_path / f"file.{extension}", extension, warm=False) for extension in contents]

    assert warm == plain + plain
    assert fork_server.running_pid() == first_server is not None


def test_the_server_stays_one_thread_whatever_it_has_loaded(tmp_path):
    (tmp_path / "file.txt").write_text("words")
    extract(tmp_path / "file.txt")

    pid = fork_server.running_pid()

    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    loaded = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    assert [name for name in ("pdfium", "lxml", "calamine") if name not in loaded] == []


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "plain"])
def test_a_child_has_nothing_but_its_file_and_its_answer(commands, folder, warm):
    path = commands("""
        import json, resource, signal, socket
        facts = {"is_warm": is_warm, "environment": dict(os.environ), "session": os.getsid(0) == os.getpid()}
        facts["first environment"] = Path("/proc/self/environ").read_text()
        facts["descriptors"] = [fd for fd in range(64) if Path(f"/proc/self/fd/{fd}").exists()]
        facts["file"] = os.readlink("/proc/self/fd/0").rpartition("/")[2]
        facts["kinds"] = os.readlink("/proc/self/fd/1")[:5], os.readlink("/proc/self/fd/2")
        for name in ("AS", "NOFILE", "FSIZE", "CORE", "CPU"):
            facts[name] = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
        facts["network"] = os.readlink("/proc/self/ns/net")
        facts["name"] = Path("/proc/self/comm").read_text()
        facts["memory killer"] = Path("/proc/self/oom_score_adj").read_text()
        facts["signals"] = signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        try:
            (folder / "written").write_bytes(b"x")
        except OSError as error:
            facts["writing"] = error.strerror
        text = json.dumps(facts)
    """)
    facts = json.loads(extract(path, warm=warm))

    network = facts.pop("network")
    # The locale that Python sets by itself where there is none.
    facts["environment"].pop("LC_CTYPE", None)
    assert facts == {
        "is_warm": warm,
        "environment": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        "first environment": "",
        "session": True,
        "descriptors": [0, 1, 2],
        "file": "commands.txt",
        "kinds": ["pipe:", "/dev/null"],
        "AS": [1024**3, 1024**3],
        "NOFILE": [64, 64],
        "FSIZE": [0, 0],
        "CORE": [0, 0],
        "CPU": [30, 31],
        "name": "file-child\n",
        "memory killer": "1000\n",
        "signals": True,
        "writing": "File too large",
    }
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0:
        assert network != str(Path("/proc/self/ns/net").readlink())


@pytest.mark.parametrize(
    ("command", "wall_seconds", "code", "message"),
    [
        ("os.abort()", 60, "extract_crashed", "The extraction of this file crashed (SIGABRT)"),
        ("os.kill(os.getpid(), 9)", 60, "extract_crashed", "The extraction of this file crashed (SIGKILL)"),
        ("os._exit(3)", 60, "extract_crashed", "The extraction of this file crashed (exit code 3)"),
        ("while True: pass", 60, "extract_timeout", "The extraction used more than 1 seconds of CPU"),
        ("import time; time.sleep(60)", 3, "extract_timeout", "The extraction took longer than 3 seconds"),
    ],
)
def test_a_death_is_told_as_of_a_plain_child_and_hurts_nobody(commands, command, wall_seconds, code, message):
    good = commands("text = 'fine'", "good.txt")
    extract(good)
    server = fork_server.running_pid()

    with pytest.raises(sandbox.ChildDied) as died:
        extract(commands(command), cpu_seconds=1, wall_seconds=wall_seconds)

    assert (died.value.code, died.value.message) == (code, message)
    assert extract(good) == "fine"
    assert fork_server.running_pid() == server


def test_memory_beyond_the_limit_is_refused_with_it(commands):
    with pytest.raises(sandbox.ExtractionFailed, match="more than 200 MiB of memory") as refused:
        extract(commands("text = 'x' * 300_000_000"), memory_bytes=200 * 1024**2)

    assert refused.value.code == "too_large"


@pytest.mark.parametrize("is_told", [True, False])
def test_what_a_child_has_started_ends_with_it(commands, folder, is_told):
    path = commands(f"""
        import subprocess, time
        started = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
        (folder / f"started {{started.pid}}").touch()
        started.returncode = 0
        {"text = 'told'" if is_told else "time.sleep(60)"}
    """)

    # The server is up: the whole of the limit is the child's.
    extract(commands("text = 'fine'", "good.txt"))

    if is_told:
        assert extract(path) == "told"
    else:
        with pytest.raises(sandbox.ChildDied, match="longer than 5 seconds"):
            extract(path, wall_seconds=5)

    (started,) = left(folder, "started")
    assert comes(lambda: not is_running(started))


def test_a_file_whose_server_is_killed_succeeds_by_a_new_one_with_nothing_of_the_first_answer(commands, folder):
    extract(commands("text = 'fine'", "good.txt"))
    path = commands("""
        import json, time
        (folder / f"server {os.getppid()}").touch()
        if len(list(folder.glob("server *"))) == 1:
            print(json.dumps({"text": "of the first" * 1000}), flush=True)
            (folder / f"child {os.getpid()}").touch()
            os.kill(os.getppid(), 9)
            time.sleep(60)
        text = f"{is_warm}"
    """)

    answer = BytesIO()
    request = {"job": "extract", "extension": "txt"}

    code = sandbox.run_job(path, request, Limits(), answer=answer, max_answer_bytes=100_000, warm=True)

    done = {"done": {"metadata": {}, "tables": [], "truncated": False, "warnings": []}}
    assert code == 0
    assert [json.loads(line) for line in answer.getvalue().splitlines()] == [{"text": "True"}, done]
    assert len(left(folder, "server")) == 2
    assert fork_server.running_pid() in left(folder, "server")
    assert comes(lambda: not any(map(is_running, left(folder, "child"))))


def test_a_file_that_kills_every_server_is_read_by_a_plain_child(commands, folder):
    path = commands("""
        import time
        if is_warm:
            (folder / f"server {os.getppid()}").touch()
            os.kill(os.getppid(), 9)
            time.sleep(60)
        text = "plain"
    """)
    extract(commands("text = 'fine'", "good.txt"))

    assert extract(path) == "plain"
    assert len(left(folder, "server")) == 2


def test_a_server_killed_while_idle_costs_the_next_file_nothing(commands):
    path = commands("text = f'{is_warm}'")
    extract(path)
    killed = fork_server.running_pid()
    os.kill(killed, signal.SIGKILL)

    assert extract(path) == "True"
    assert fork_server.running_pid() not in {killed, None}


def test_a_server_that_stands_still_is_not_the_fault_of_the_file(commands):
    path = commands("text = f'{is_warm}'")
    extract(path)
    stopped = fork_server.running_pid()
    os.kill(stopped, signal.SIGSTOP)

    # The limit holds for the second try too, which has a server to start first.
    assert extract(path, wall_seconds=10) == "True"
    assert not is_running(stopped)


def test_where_no_process_can_be_forked_a_plain_child_is_started(commands, folder):
    (folder / "no forks").touch()

    assert extract(commands("text = f'{is_warm}'")) == "False"
    assert fork_server.running_pid() is not None


def test_a_server_that_cannot_start_is_left_alone_for_a_while(commands, tmp_path, monkeypatch):
    path = commands("text = f'{is_warm}'")
    python = Path(sys.executable)
    python.write_text(python.read_text().replace("exec", '[ "$4" = files.fork_server_main ] && exit 1\nexec'))

    assert extract(path) == "False"
    monkeypatch.setattr(fork_server, "_Server", None)
    assert extract(path) == "False"


def test_a_lost_lease_ends_the_child(commands, folder):
    path = commands("import time; (folder / f'child {os.getpid()}').touch(); time.sleep(60)")

    with pytest.raises(sandbox.Abandoned):
        sandbox.run_extraction(
            path, "txt", Limits(), heartbeat=lambda: not left(folder, "child"), heartbeat_seconds=0.01, warm=True
        )

    (child,) = left(folder, "child")
    assert not is_running(child)


def test_a_hundred_askers_get_each_its_own_and_no_bad_file_delays_a_good_one(commands, folder):
    hang = commands("import time; (folder / f'hung {os.getpid()}').touch(); time.sleep(60)", "hang.txt")
    crash = commands("os.abort()", "crash.txt")
    goods = [commands(f"text = 'file {number}'", f"good {number}.txt") for number in range(80)]
    before = descriptors()
    release = threading.Event()

    def outcome(path: Path) -> str:
        try:
            heartbeat = (lambda: not release.is_set()) if path == hang else None
            # Those that hang are let go when all others are done, however long these take.
            limits = Limits(wall_seconds=10 * NEVER_HUNG_SECONDS)
            return sandbox.run_extraction(
                path, "txt", limits, heartbeat=heartbeat, heartbeat_seconds=0.2, warm=True
            ).text
        except (sandbox.ChildDied, sandbox.Abandoned) as failure:
            return type(failure).__name__

    with ThreadPoolExecutor(20) as pool:
        hung = [pool.submit(outcome, hang) for _ in range(4)]
        others = [pool.submit(outcome, path) for pair in zip(goods, [crash] * 80, strict=True) for path in pair[:2]]
        results = [future.result() for future in others]
        waiting = [future for future in hung if not future.done()]
        release.set()

    assert len(waiting) == 4
    assert [future.result() for future in hung] == ["Abandoned"] * 4
    assert results[::2] == [f"file {number}" for number in range(80)]
    assert results[1::2] == ["ChildDied"] * 80
    assert not any(map(is_running, left(folder, "hung")))
    assert descriptors() <= before + 1  # the server's socket


def test_server_and_child_die_with_a_killed_worker(commands, folder):
    path = commands("""
        import time
        (folder / f"server {os.getppid()}").touch()
        (folder / f"child {os.getpid()}").touch()
        time.sleep(60)
    """)
    work = (
        "import sys; from files import sandbox; from files.extractors.base import Limits\n"
        f"sys.executable = {sys.executable!r}; sandbox.run_extraction({str(path)!r}, 'txt', Limits(), warm=True)"
    )
    python = PYTHON
    worker = subprocess.Popen([python, "-c", work], cwd=PROJECT, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        assert comes(lambda: left(folder, "child"))
    finally:
        worker.kill()
        worker.wait()

    orphans = left(folder, "child") + left(folder, "server")
    assert len(orphans) == 2
    assert comes(lambda: not any(map(is_running, orphans)))


def test_a_forked_process_neither_uses_nor_keeps_its_parents_server(commands):
    path = commands("text = f'{os.getppid()}'")
    work = f"""
import os, sys
from files import fork_server, sandbox
from files.extractors.base import Limits
sys.executable = {sys.executable!r}
read = lambda: int(sandbox.run_extraction({str(path)!r}, "txt", Limits(), warm=True).text)
first = read()
if os.fork() == 0:
    assert fork_server.running_pid() is None
    own = read()
    print(own not in (first, os.getpid()), own == fork_server.running_pid(), flush=True)
    os._exit(0)
os.wait()
print(read() == first)
"""
    python = PYTHON
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}

    shown = subprocess.run(
        [python, "-c", work], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )

    assert shown.stdout == "True True\nTrue\n"


def test_a_shared_server_serves_every_process_forked_later_and_ends_with_the_last_of_them(commands):
    path = commands("text = f'{os.getppid()}'")
    work = f"""
import os, signal, sys
from files import fork_server, sandbox
from files.extractors.base import Limits
sys.executable = {sys.executable!r}
read = lambda: int(sandbox.run_extraction({str(path)!r}, "txt", Limits(), warm=True).text)
fork_server.share()
shared = fork_server.running_pid()
def elsewhere(do):
    if pid := os.fork():
        os.waitpid(pid, 0)
    else:
        do()
        sys.exit(0)
def meet_its_end():
    os.kill(shared, signal.SIGKILL)
    own = read()
    print(own not in (shared, os.getpid()), own == fork_server.running_pid(), flush=True)
for turn in range(2):
    elsewhere(lambda: print(read() == shared == fork_server.running_pid(), flush=True))
print(read() == shared, flush=True)
elsewhere(meet_its_end)
fork_server.share()
print(read() != shared, flush=True)
print(fork_server.running_pid(), flush=True)
"""
    python = PYTHON
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}

    shown = subprocess.run(
        [python, "-c", work], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )

    *told, last = shown.stdout.split("\n")[:-1]
    assert told == ["True", "True", "True", "True True", "True"]
    assert comes(lambda: not is_running(int(last)))


def test_a_request_too_long_for_the_server_is_left_to_a_plain_child(tmp_path):
    (tmp_path / "file.txt").write_text("words")
    request = {"job": "extract", "extension": "txt", "long": "x" * 110_000}
    answer = BytesIO(b"before")
    answer.seek(0, os.SEEK_END)

    code = sandbox.run_job(tmp_path / "file.txt", request, Limits(), answer=answer, max_answer_bytes=10_000, warm=True)

    assert code == 0
    assert answer.getvalue().startswith(b'before{"text":"words"}\n{"done":')


def test_an_answer_beyond_its_bound_ends_the_work(commands):
    with pytest.raises(sandbox.ChildDied, match="The extraction gave more than 1000 bytes") as died:
        sandbox.run_job(
            commands("text = 'x' * 10_000_000"),
            {"job": "extract", "extension": "txt"},
            Limits(),
            answer=BytesIO(),
            max_answer_bytes=1000,
            warm=True,
        )

    assert died.value.code == "too_large"


def test_a_mark_across_two_chunks_is_found():
    bounds = sandbox._Bounds("The extraction", 0.0, 1000, b'{"done":')

    assert [bounds.ends_the_work(chunk, time.monotonic() - 60) for chunk in (b'..."}\n{"do', b'ne":{')] == [
        False,
        False,
    ]
    assert bounds.ends_the_work(b"", time.monotonic() + 60) is True
