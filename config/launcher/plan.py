"""What `make run` starts: addresses, environment and commands, read from the environment once."""

import hashlib
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import env
from config.launcher.errors import LaunchError
from config.launcher.processes import MARKER
from config.launcher.state import DataFolder
from config.launcher.supervisor import Child

ROOT = Path(__file__).resolve().parent.parent.parent
LANES = ("flow", "io", "files")
QUIET_WORKER = ("--without-gossip", "--without-mingle", "--without-heartbeat")
HIGHEST_PORT = 65535
ADDRESS = {"HOST", "PORT", "EXTRA_PORTS"}


@dataclass(frozen=True)
class Addresses:
    """Where the web process listens."""

    host: str
    ports: tuple[int, ...]

    @classmethod
    def from_environment(cls) -> "Addresses":
        """Read HOST, PORT and EXTRA_PORTS. Raises env.BadSetting or LaunchError."""
        ports = [env.integer("PORT", default=8006, minimum=1)]
        for item in env.csv("EXTRA_PORTS"):
            if not re.fullmatch(r"[0-9]{1,5}", item) or not 1 <= int(item) <= HIGHEST_PORT:
                raise LaunchError(f"EXTRA_PORTS={item!r} is not a port; give for example 8008,8090,8000")
            ports.append(int(item))
        if ports[0] > HIGHEST_PORT:
            raise LaunchError(f"PORT={ports[0]} is not a port")
        return cls(env.text("HOST", default="127.0.0.1"), tuple(dict.fromkeys(ports)))

    def check_free(self) -> None:
        """Raise LaunchError if one of the ports cannot be listened on."""
        for port in self.ports:
            try:
                family, kind, protocol, _, address = socket.getaddrinfo(self.host, port, type=socket.SOCK_STREAM)[0]
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
                    probe.listen(1)
            except UnicodeError as error:
                raise LaunchError(f"HOST={self.host!r} is no name of a host") from error
            except OSError as error:
                raise LaunchError(
                    f"Port {port} on {self.host} cannot be used ({error.strerror}); choose another: make run PORT=8100"
                ) from error

    @property
    def local(self) -> tuple[str, int]:
        """A host and port to reach the first address from this machine."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.ports[0]  # noqa: S104

    @property
    def url(self) -> str:
        """The first address for a browser on this machine."""
        host, port = self.local
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def binds(self) -> list[str]:
        """gunicorn's --bind options, one per port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return [option for port in self.ports for option in ("--bind", f"{host}:{port}")]


def load_dotenv(path: Path = ROOT / ".env") -> None:
    """Put `NAME=value` lines of a `.env` file into the environment, where the environment has no such name."""
    try:
        # With or without the mark that some editors put at a file's beginning.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise LaunchError(f"{path} is not written in UTF-8") from error
    except OSError:
        return
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            os.environ.setdefault(name.removeprefix("export ").strip(), value.strip().strip("'\""))


def shape() -> str:
    """Return a digest of all that `first_start` looks at: migrations, packages, itself, and the settings it checks."""
    ours = sorted(ROOT.glob("*/migrations/*.py"))
    others = (ROOT / "requirements" / "embedded.txt", ROOT / "config" / "management" / "commands" / "first_start.py")
    digest = hashlib.sha256()
    for path in (*ours, *others):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    digest.update(repr(_settings_given()).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _settings_given() -> list[tuple[str, str]]:
    """Return the product's settings in the environment; where it listens decides nothing about them."""
    known = re.findall(r"\b[A-Z][A-Z0-9_]+\b", (ROOT / ".env.example").read_text(encoding="utf-8"))
    names = {name for known_name in known for name in (known_name, f"{known_name}_FILE")}
    return sorted((name, value) for name, value in os.environ.items() if name in names - ADDRESS)


def data_folder() -> DataFolder:
    """Return DATA_DIR; a relative one counts from the project's folder."""
    return DataFolder(ROOT / env.text("DATA_DIR", default=".data"))


@dataclass(frozen=True)
class WantedServers:
    """Which embedded servers are needed: those for which no address was given."""

    postgres: bool
    valkey: bool

    @classmethod
    def from_environment(cls) -> "WantedServers":
        """A broker that speaks Redis serves as REDIS_URL too; another one leaves the cache to our Valkey."""
        broker = env.text("CELERY_BROKER_URL")
        if not env.present(os.environ, "REDIS_URL") and broker.startswith(("redis:", "rediss:")):
            os.environ["REDIS_URL"] = broker
        return cls(
            postgres=not env.present(os.environ, "DATABASE_URL"), valkey=not env.present(os.environ, "REDIS_URL")
        )


def environment(data: DataFolder, server_urls: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the product's processes; secrets that nobody gave are made and kept."""
    result = dict(os.environ) | dict(server_urls)
    result |= {
        "DATA_DIR": str(data.path),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PYTHONUNBUFFERED": "1",
        "PROMETHEUS_MULTIPROC_DIR": env.text("PROMETHEUS_MULTIPROC_DIR", default=str(data.metrics)),
        MARKER: str(data.path),
    }
    result.setdefault("UPLOAD_DIR", env.text("UPLOAD_DIRECTORY", default=str(data.uploads)))
    if not env.present(os.environ, "JWT_SECRET_KEY", "SECRET_KEY"):
        result["JWT_SECRET_KEY"] = data.secret("jwt_secret_key")
    if not env.present(os.environ, "API_KEY"):
        result["API_KEY"] = data.secret("api_key")
    return result


def children(addresses: Addresses, data: DataFolder, environ: Mapping[str, str]) -> list[Child]:
    """Return the product's processes in the order of their start; later stages stop first."""
    web = Child("web", web_command(addresses), 3, environ, ROOT, stop_seconds=15)
    workers = [Child(f"worker-{lane}", worker_command(lane), 2, environ, ROOT) for lane in LANES]
    beat = Child("beat", beat_command(data), 4, environ, ROOT, stop_seconds=10)
    return [web, *workers, beat]


def web_command(addresses: Addresses) -> list[str]:
    """Return gunicorn with threads: streams of small requests, each mostly waiting for PostgreSQL."""
    # Static files come straight from the packages; nobody has to collect them first.
    python = _python("gunicorn", ignored_warning="No directory at")
    return [*python, "--config", "python:config.gunicorn", *addresses.binds, "config.wsgi:application"]


def worker_command(lane: str, *, suffix: str = "") -> list[str]:
    """Return the Celery worker of one lane; processes for work, threads for waiting."""
    if lane not in LANES:
        raise LaunchError(f"LANE={lane!r} is not one of {', '.join(LANES)}")
    concurrency = {
        "flow": env.integer("FLOW_CONCURRENCY", default=2, minimum=1),
        "io": env.integer("IO_CONCURRENCY", default=16, minimum=1),
        "files": env.integer("FILES_CONCURRENCY", default=2, minimum=1),
    }[lane]
    pool = "threads" if lane == "io" else "prefork"
    options = ("-Q", lane, "-n", f"{lane}{suffix}@%h", "--pool", pool, "-c", str(concurrency), *QUIET_WORKER)
    return [*_celery("worker"), *options]


def beat_command(data: DataFolder) -> list[str]:
    """Return Celery's clock with our scheduler, which reads schedules from rows."""
    schedule = str(data.path / "beat-schedule")
    return [*_celery("beat"), "--scheduler", "workflows.beat.Scheduler", "--pidfile=", "--schedule", schedule]


def manage(*arguments: str) -> list[str]:
    """Return a `manage.py` command."""
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def _celery(*arguments: str) -> Sequence[str]:
    level = env.text("LOG_LEVEL", default="INFO").upper()
    # As root in a container is how many run it; Celery's paragraph about that would hide the rest.
    python = _python("celery", ignored_warning="You're running the worker with superuser privileges")
    return [*python, "--quiet", "-A", "config.celery", *arguments, "--loglevel", level]


def _python(module: str, *, ignored_warning: str) -> list[str]:
    return [sys.executable, "-W", f"ignore:{ignored_warning}", "-m", module]
