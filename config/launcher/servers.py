"""The embedded PostgreSQL and Valkey: our own child processes, on 127.0.0.1, behind passwords."""

import contextlib
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.launcher import processes
from config.launcher.binaries import Identity, postgres_folder, postgres_identity, valkey_server
from config.launcher.errors import LaunchError
from config.launcher.state import DataFolder
from config.launcher.supervisor import Child, Supervisor

HOST = "127.0.0.1"
# Below the range the kernel takes outgoing ports from, so that a remembered port stays free.
PORT_RANGE = range(20000, 32000)
READY_SECONDS = 60.0
DATABASE = "automation"
PONG = b"+OK\r\n+PONG\r\n"
FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass(frozen=True)
class Server:
    """A server as a child process, with the address that clients use."""

    child: Child
    url: str
    port: int

    def ready(self) -> bool:
        """Tell whether it answers a client that knows the password."""
        raise NotImplementedError


@dataclass(frozen=True)
class Postgres(Server):
    """PostgreSQL; ready when it lets us in (it listens earlier, while it still recovers)."""

    is_ready: tuple[str, ...]

    def ready(self) -> bool:
        return subprocess.run(self.is_ready, check=False, capture_output=True).returncode == 0


@dataclass(frozen=True)
class Valkey(Server):
    """Valkey; ready when it answers PING."""

    password: str

    def ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while len(answer) < len(PONG) and (part := connection.recv(64)):
                    answer += part
                return answer == PONG
        except OSError:
            return False


def start(
    supervisor: Supervisor,
    data: DataFolder,
    *,
    postgres: bool,
    valkey: bool,
    fast: bool = False,
    taken: Sequence[int] = (),
) -> dict[str, str]:
    """Start the wanted servers and wait until they answer. Returns DATABASE_URL and REDIS_URL of those started.

    `fast` gives durability up, for tests. `taken` are ports that others will listen on, though they are free now.

    Raises:
        LaunchError: a server cannot be started; the text holds its own last words.
        StopRequested: a signal came meanwhile.
    """
    started: list[Server] = []
    ports = data.recall("ports")
    if postgres:
        try:
            started.append(_postgres(data, port=_port(ports.get("postgres"), taken), fast=fast))
        except LaunchError:
            supervisor.tick(0)  # the terminal's Ctrl-C ends initdb too, and that is no failure
            raise
    if valkey:
        others = [*taken, *(server.port for server in started)]
        started.append(_valkey(data, port=_port(ports.get("valkey"), others)))
    data.remember("ports", {server.child.name: server.port for server in started})
    for server in started:
        supervisor.start(server.child)
    for server in started:
        _wait(supervisor, server)
    return {("DATABASE_URL" if isinstance(server, Postgres) else "REDIS_URL"): server.url for server in started}


def _wait(supervisor: Supervisor, server: Server) -> None:
    try:
        answers = supervisor.wait_until(server.ready, seconds=READY_SECONDS)
    except LaunchError as error:
        raise LaunchError(f"{error}: {last_words(server.child.log)}") from error
    if not answers:
        raise LaunchError(f"{server.child.name} does not answer: {last_words(server.child.log)}")


def last_words(log: Path | None) -> str:
    """Return the most telling of a log's last lines: the last FATAL or error, else the last line."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-40:] if log else []
    except OSError:
        lines = []
    return _telling(lines)


def _telling(lines: list[str]) -> str:
    found = [line for line in lines if re.search(r"FATAL|PANIC|[Ee]rror", line)]
    return (found or lines or ["no reason given"])[-1].strip()


def _postgres(data: DataFolder, *, port: int, fast: bool) -> Postgres:
    folder = postgres_folder()
    identity = postgres_identity(folder)
    base = data.path / "postgres"
    cluster = base / "data"
    if not cluster.is_dir():
        _make_cluster(base, folder, identity, fast=fast)
    password = (base / "password").read_text(encoding="ascii").strip()
    command = [*identity.prefix, str(folder / "postgres"), "-D", str(cluster), "-p", str(port)]
    options = ("max_connections=200", f"listen_addresses={HOST}", "unix_socket_directories=", "timezone=UTC")
    for option in (*options, "log_timezone=UTC", "shared_buffers=128MB"):
        command += ["-c", option]
    child = Child(
        name="postgres",
        command=[*command, *(FAST if fast else ())],
        stage=0,
        env=_plain_environment(),
        cwd=base,
        # "Fast" shutdown; SIGTERM would wait for every client to leave by itself.
        stop_signal=signal.SIGINT,
        log=data.logs / "postgres.log",
        user=identity.user,
        prepare=lambda: clear_postgres(cluster),
        is_server=True,
    )
    # Without a user name the check itself logs a failed login.
    is_ready = (str(folder / "pg_isready"), "-q", "-h", HOST, "-p", str(port), "-U", "postgres", "-d", DATABASE)
    return Postgres(child, f"postgresql://postgres:{password}@{HOST}:{port}/{DATABASE}", port, is_ready)


def _make_cluster(base: Path, folder: Path, identity: Identity, *, fast: bool) -> None:
    """Make the database files beside their place and move them in whole: a kill in the middle leaves nothing."""
    fresh = base / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    base.mkdir(mode=0o700, exist_ok=True)
    secret = base / "password"
    if not secret.exists() or not secret.read_text(encoding="ascii").strip():
        secret.write_text(secrets.token_urlsafe(24) + "\n", encoding="ascii")
    secret.chmod(0o600)
    if identity.user is not None:
        for path in (base, secret):
            shutil.chown(path, identity.user, identity.user)
    # The C locale and UTF8 are the same on every machine; the wheel has no ICU.
    initdb = [str(folder / "initdb"), "-D", str(fresh), "-U", "postgres", "-E", "UTF8", "--locale=C"]
    initdb += ["-A", "scram-sha-256", f"--pwfile={secret}", *(["--no-sync"] if fast else [])]
    _run(initdb, identity=identity, cwd=base)
    _run(
        [str(folder / "postgres"), "--single", "-D", str(fresh), "postgres"],
        identity=identity,
        cwd=base,
        text=f"CREATE DATABASE {DATABASE}\n",
    )
    fresh.rename(base / "data")


def _run(command: list[str], *, identity: Identity, cwd: Path, text: str = "") -> None:
    options: dict[str, object] = {}
    if identity.user is not None:
        options = {"user": identity.user, "group": identity.user, "extra_groups": []}
    done = subprocess.run(  # type: ignore[call-overload]
        [*identity.prefix, *command],
        check=False,
        input=text,
        text=True,
        capture_output=True,
        env=_plain_environment(),
        cwd=cwd,
        **options,
    )
    if done.returncode:
        words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise LaunchError(f"PostgreSQL's files cannot be made in {cwd}: {_telling(words)}")


def clear_postgres(cluster: Path) -> None:
    """Stop a PostgreSQL that an earlier, killed run left on this folder, and remove a dead one's pid file.

    PostgreSQL itself only looks whether the recorded process id is in use, by whomever, and then
    refuses to start.
    """
    pid_file = cluster / "postmaster.pid"
    alive = processes.working_in(cluster, "postgres")
    if alive:
        with contextlib.suppress(OSError, ValueError, IndexError):
            postmaster = int(pid_file.read_text(encoding="ascii").splitlines()[0])
            if postmaster in alive:
                processes.send(postmaster, signal.SIGINT)
        gone = processes.wait_until(lambda: not processes.working_in(cluster, "postgres"), seconds=5, pause=0.05)
        if not gone:
            _kill_all(cluster, "postgres")
    if Path("/proc").is_dir():
        pid_file.unlink(missing_ok=True)


def _valkey(data: DataFolder, *, port: int) -> Valkey:
    folder = data.path / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    program = valkey_server()
    password = data.secret("valkey/password")
    configuration = folder / "valkey.conf"
    # Nothing is kept on disk: the broker carries bells, and what was not heard is rung again from the rows.
    lines = [f"port {port}", f"bind {HOST}", f"requirepass {password}", f'dir "{folder}"', "databases 64"]
    lines += ['save ""', "appendonly no", "maxmemory-policy noeviction", ""]
    configuration.write_text("\n".join(lines), encoding="utf-8")
    configuration.chmod(0o600)
    child = Child(
        name="valkey",
        command=[str(program), str(configuration)],
        stage=1,
        env=_plain_environment(),
        cwd=folder,
        log=data.logs / "valkey.log",
        prepare=lambda: _kill_all(folder, program.name),
        is_server=True,
    )
    return Valkey(child, f"redis://:{password}@{HOST}:{port}/0", port, password)


def _kill_all(folder: Path, program: str) -> None:
    for pid in processes.working_in(folder, program):
        processes.send(pid, signal.SIGKILL)
    processes.wait_until(lambda: not processes.working_in(folder, program), seconds=5, pause=0.05)


def _port(remembered: object, taken: Sequence[int]) -> int:
    """Return the port of the last start if it is still free and not `taken`, else another such one."""
    candidates = [remembered] if isinstance(remembered, int) else []
    for port in (*candidates, *random.sample(PORT_RANGE, 50)):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise LaunchError(f"No free port found on {HOST}")


def _plain_environment() -> dict[str, str]:
    """The servers need nothing of our environment, and PG* or LC_* variables would change what they do."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}
