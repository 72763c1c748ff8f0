"""The launcher's commands. Each returns an exit code or raises LaunchError with its one line."""

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from config import env
from config.launcher import plan, processes, servers
from config.launcher.errors import LaunchError, StopRequested
from config.launcher.output import Console
from config.launcher.state import DataFolder
from config.launcher.supervisor import Child, Supervisor

LIVE_SECONDS = 90.0
START_FIRST = 2
STOP_SECONDS = 120.0
ADMIN_EMAIL = "admin@example.com"
# Kept beside the database it speaks of, so that both go together.
PREPARED = "postgres/prepared"


def up(*, reload: bool = False) -> int:
    """Start everything, serve until Ctrl-C, stop everything."""
    plan.load_dotenv()
    if reload:
        os.environ["DEBUG"] = "true"
        os.environ.setdefault("STRUCTURED_LOGGING", "false")
    addresses = plan.Addresses.from_environment()
    data = plan.data_folder()
    with held(data):
        console = Console(data.logs / "run.log")
        _end_leftovers(data, console)
        addresses.check_free()
        with supervised(console) as supervisor:
            _serve(supervisor, addresses, data, console, reload=reload)
    return 0


def _serve(
    supervisor: Supervisor, addresses: plan.Addresses, data: DataFolder, console: Console, *, reload: bool
) -> None:
    """Bring everything up in order, say how to use it, and serve until a signal."""
    wanted = plan.WantedServers.from_environment()
    urls = servers.start(supervisor, data, postgres=wanted.postgres, valkey=wanted.valkey, taken=addresses.ports)
    _remember_urls(data, urls)
    environ = plan.environment(data, urls)
    _empty_metrics(Path(environ["PROMETHEUS_MULTIPROC_DIR"]))
    show_password = _prepare(supervisor, data, environ, own_database=wanted.postgres)
    children = plan.children(addresses, data, environ)
    # Every start is mostly imports. The web and the first lane get the processors to themselves.
    for child in children[:START_FIRST]:
        supervisor.start(child)
    if not supervisor.wait_until(lambda: _is_live(addresses), seconds=LIVE_SECONDS):
        raise LaunchError(f"The web process does not answer {addresses.url}/live; see {data.logs / 'run.log'}")
    for child in children[START_FIRST:]:
        supervisor.start(child)
    data.remember("web", {"url": addresses.url})
    _welcome(console, addresses, data, show_password=show_password)
    if wanted.postgres:
        data.remember(PREPARED, {"shape": plan.shape()})
    supervisor.run(each_second=_reloader(supervisor, console, children) if reload else lambda: None)


def _remember_urls(data: DataFolder, urls: Mapping[str, str]) -> None:
    """Keep where the servers are, for commands that join while they run."""
    data.remember("urls", urls)
    data.secret_path("urls.json").chmod(0o600)


def _prepare(supervisor: Supervisor, data: DataFolder, environ: Mapping[str, str], *, own_database: bool) -> bool:
    """Migrate and make what a first start needs; tells whether an administrator's password has to be shown.

    Our own database is left alone when nothing that shapes it, and no setting, has changed since its last start.
    The password is kept until it has been shown, so that a kill in between does not lose it.
    """
    shape = plan.shape()
    if own_database and data.recall(PREPARED).get("shape") == shape:
        return False
    password = env.text("ADMIN_PASSWORD") or data.secret("admin_password", make=lambda: secrets.token_urlsafe(12))
    log = data.logs / "first_start.log"
    command = plan.manage("first_start", "--migrate", "--json", "--admin-email", ADMIN_EMAIL)
    code = supervisor.run_to_end(command, env=dict(environ) | {"ADMIN_PASSWORD": password}, cwd=plan.ROOT, log=log)
    if code:
        raise LaunchError(_refusal(log))
    report = json.loads(log.read_text(encoding="utf-8").strip().splitlines()[-1])
    return bool(report["admin_password_valid"])


def _refusal(log: Path) -> str:
    """Return why nothing could be prepared; a setting that cannot be used says so by itself."""
    words = log.read_text(encoding="utf-8", errors="replace")
    if found := re.search(r"BadSetting: (.+)|^\?: \(config\.E\d+\) (.+)", words, re.MULTILINE):
        return found[1] or found[2]
    return f"The database cannot be prepared: {servers.last_words(log)} (all of it: {log})"


def _empty_metrics(folder: Path) -> None:
    """Let counters begin at 0: the files of an earlier start belong to processes that are gone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in folder.glob("*.db"):
            file.unlink()
    except OSError as error:
        raise LaunchError(f"PROMETHEUS_MULTIPROC_DIR {folder} cannot be written: {error.strerror}") from error


def _is_live(addresses: plan.Addresses) -> bool:
    host, port = addresses.local
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _welcome(console: Console, addresses: plan.Addresses, data: DataFolder, *, show_password: bool) -> None:
    """Say where everything is; the password and the key are shown once and never reach the log."""
    console.say(f"\nReady: {addresses.url}   (docs {addresses.url}/docs, admin {addresses.url}/admin/, Ctrl-C stops)")
    if show_password:
        password = "the one in ADMIN_PASSWORD" if env.text("ADMIN_PASSWORD") else data.secret("admin_password")
        console.show(f"Admin login, shown once:     {ADMIN_EMAIL}  {password}")
    data.forget("admin_password")
    key = "$API_KEY"
    if not env.present(os.environ, "API_KEY"):
        path = data.secret_path("api_key")
        key = f"$(cat '{_short(path)}')"
        if not data.recall("api_key").get("shown"):
            console.show(f"Service API key, shown once: {data.secret('api_key')}   (kept in {_short(path)})")
            data.remember("api_key", {"shown": True})
    upload = f'curl -sS -H "X-API-Key: {key}" -F "file=@-;filename=hello.txt" {addresses.url}/files/upload'
    console.say(f'Upload a document to the sample workflow:\n  echo "Hello, workflow" | {upload}')
    console.say(f'and see what it did:\n  curl -sS -H "X-API-Key: {key}" "{addresses.url}/executions?limit=1"\n')


def _short(path: Path) -> str:
    """A path as a person in the project's folder would write it."""
    return str(path.relative_to(plan.ROOT)) if path.is_relative_to(plan.ROOT) else str(path)


def _reloader(supervisor: Supervisor, console: Console, children: Sequence[Child]) -> Callable[[], None]:
    """Return a check that starts the product's processes again when a source file has changed."""
    seen = _newest_source()

    def check() -> None:
        nonlocal seen
        newest = _newest_source()
        if newest != seen:
            seen = newest
            console.line("launcher", "source changed, starting again")
            supervisor.reload([child.name for child in children])

    return check


def _newest_source() -> tuple[int, int]:
    """Return the number of source files and the time (ns) of the latest change."""
    times = [
        path.stat().st_mtime_ns
        for folder in plan.ROOT.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and (folder / "__init__.py").exists()
        for pattern in ("*.py", "*.html")
        for path in folder.rglob(pattern)
    ]
    return len(times), max(times, default=0)


def with_servers(command: Sequence[str], *, fast: bool) -> int:
    """Run a command against fresh servers in a temporary folder, those of DATABASE_URL and REDIS_URL excepted."""
    with tempfile.TemporaryDirectory(prefix="automation-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        data = DataFolder(Path(folder))
        with held(data):
            wanted = plan.WantedServers.from_environment()
            with supervised(Console(quiet=True)) as supervisor:
                urls = servers.start(supervisor, data, postgres=wanted.postgres, valkey=wanted.valkey, fast=fast)
                own = {"DATA_DIR": str(data.path), "UPLOAD_DIR": str(data.uploads)}
                return supervisor.run_foreground(command, env=dict(os.environ) | urls | own, cwd=plan.ROOT)
    return 1


def inside(command: Sequence[str]) -> int:
    """Run a command against the product's own data: the servers that run now, else started for it."""
    plan.load_dotenv()
    data = plan.data_folder()
    if data.holder() is not None:
        urls = {name: str(value) for name, value in data.recall("urls").items()}
        os.environ.update(_unmarked(plan.environment(data, urls)))
        os.chdir(plan.ROOT)
        os.execvp(command[0], list(command))  # noqa: S606
    with held(data), supervised(Console(quiet=True)) as supervisor:
        wanted = plan.WantedServers.from_environment()
        urls = servers.start(supervisor, data, postgres=wanted.postgres, valkey=wanted.valkey)
        _remember_urls(data, urls)
        return supervisor.run_foreground(command, env=_unmarked(plan.environment(data, urls)), cwd=plan.ROOT)
    return 1


def _unmarked(environ: Mapping[str, str]) -> dict[str, str]:
    """A shell or an extra worker is not ours to end at the next start."""
    return {name: value for name, value in environ.items() if name != processes.MARKER}


def stop() -> int:
    """Ask the launcher that holds DATA_DIR to stop, and wait for it."""
    plan.load_dotenv()
    data = plan.data_folder()
    pid = data.holder()
    if pid is None:
        print("Not running.")
        return 0
    processes.send(pid, signal.SIGTERM)
    if not processes.wait_until(lambda: data.holder() is None, seconds=STOP_SECONDS, pause=0.1):
        raise LaunchError(f"Process {pid} did not stop within {STOP_SECONDS:.0f} s")
    print("Stopped.")
    return 0


def logs() -> int:
    """Follow the log of the running or last start."""
    plan.load_dotenv()
    log = plan.data_folder().logs / "run.log"
    if not log.exists():
        raise LaunchError(f"No log yet: {log}")
    os.execvp("tail", ["tail", "-n", "100", "-F", str(log)])  # noqa: S606


@contextlib.contextmanager
def held(data: DataFolder) -> Iterator[None]:
    """Hold the data folder."""
    data.open()
    try:
        yield
    finally:
        data.close()


@contextlib.contextmanager
def supervised(console: Console, *, backoff_seconds: float = 0.5) -> Iterator[Supervisor]:
    """Give a supervisor whose children are all stopped at the end, whatever the end is. A signal ends it quietly."""
    supervisor = Supervisor(console, backoff_seconds=backoff_seconds)
    supervisor.catch_signals()
    try:
        yield supervisor
    except StopRequested:
        console.line("launcher", "stopping ...")
    except LaunchError as error:
        console.keep(str(error))
        raise
    finally:
        started_at = time.monotonic()
        supervisor.stop()
        console.line("launcher", f"stopped in {time.monotonic() - started_at:.1f} s")


def _end_leftovers(data: DataFolder, console: Console) -> None:
    """End what a killed launcher left running: it was told to end with its parent, so it gets a moment first."""
    value = str(data.path)
    if not (left := processes.marked(value)):
        return
    if not processes.wait_until(lambda: not processes.marked(value), seconds=3, pause=0.05):
        for pid in processes.marked(value):
            processes.send(pid, signal.SIGKILL)
        processes.wait_until(lambda: not processes.marked(value), seconds=5, pause=0.05)
    console.line("launcher", f"ended {len(left)} processes of an earlier start that was killed")
