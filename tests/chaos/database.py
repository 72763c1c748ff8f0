"""A PostgreSQL of the suite's own, so that it can be stopped and killed."""

import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from config.launcher import binaries, processes

HOST = "127.0.0.1"
READY_SECONDS = 60.0
# A killed process loses nothing that it gave to the kernel: only a machine that dies would need the disk.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NAME = "chaos"


class Database:
    """The files of a server and the ways to end it; the stack starts it like its other processes."""

    def __init__(self, folder: Path, port: int) -> None:
        self.cluster = folder / "postgres"
        self.port = port
        self._programs = binaries.postgres_folder()
        self._identity = binaries.postgres_identity(self._programs)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/{NAME}"

    @property
    def command(self) -> list[str]:
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        program = [str(self._programs / "postgres"), "-D", str(self.cluster), "-p", str(self.port)]
        return [*self._identity.prefix, *program, *options]

    @property
    def user(self) -> int | None:
        return self._identity.user

    def make(self) -> None:
        """Make the files."""
        self.cluster.mkdir(mode=0o700)
        if self.user is not None:
            self.cluster.parent.chmod(0o711)
            shutil.chown(self.cluster, self.user, self.user)
        initdb = [str(self._programs / "initdb"), "-D", str(self.cluster), "-U", "postgres"]
        command = [*self._identity.prefix, *initdb, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.cluster.parent, user=self.user)

    def create(self) -> None:
        """Make the database, once the server answers."""
        if not processes.wait_until(self.answers, seconds=READY_SECONDS):
            raise RuntimeError("the suite's own PostgreSQL does not answer")
        with psycopg.connect(self._maintenance, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {NAME}")

    def answers(self) -> bool:
        try:
            psycopg.connect(self._maintenance, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Ask the server to end at once: it throws every client out, and rolls back what they were at."""
        self._signal_all(signal.SIGINT, only_first=True)
        self._wait()

    def kill(self) -> None:
        """SIGKILL the server with all its backends, as a machine that dies would."""
        self._signal_all(signal.SIGKILL)
        self._wait()
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _signal_all(self, number: int, *, only_first: bool = False) -> None:
        if only_first:
            postmaster = int((self.cluster / "postmaster.pid").read_text(encoding="ascii").split()[0])
            pids = [pid for pid in self._pids() if pid == postmaster]
        else:
            pids = self._pids()
        for pid in pids:
            processes.send(pid, number)

    def _wait(self) -> None:
        if not processes.wait_until(lambda: not self._pids(), seconds=READY_SECONDS, pause=0.01):
            raise RuntimeError("the suite's own PostgreSQL does not end")

    def _pids(self) -> list[int]:
        return processes.working_in(self.cluster, "postgres")

    @property
    def _maintenance(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"
