"""A real S3 server on loopback (SeaweedFS) that checks signatures, and can be stopped and started again."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.client import Config

from config.launcher import plan, processes
from tests.ports import Port

# The product's, which may make no bucket, and the tests' own.
ACCESS_KEY, SECRET_KEY = "product", "the-secret-of-the-bucket"
_ADMIN, _ADMIN_SECRET = "admin", "the-secret-of-the-admin"
READY_SECONDS = 240
# Its servers talk to each other on their ports plus this number.
_GRPC = 10_000
_HIGHEST_PORT = 65_535

# Beside the interpreter, which need not be in PATH; None where the package has no wheel for the system.
PROGRAM = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


class S3Server:
    """One server with its folder; ports stay the same over a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        pairs = {name: _free_pair() for name in ("master", "volume", "filer", "s3")}
        self._ports = {name: port.number for name, (port, _) in pairs.items()}
        self._held = [port for pair in pairs.values() for port in pair]
        self._process: subprocess.Popen[bytes] | None = None
        identities = [
            _identity(ACCESS_KEY, SECRET_KEY, "Read", "Write", "List"),
            _identity(_ADMIN, _ADMIN_SECRET, "Admin", "Read", "Write", "List"),
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}), encoding="utf-8")

    @property
    def url(self) -> str:
        """The address of the S3 interface."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    def start(self) -> None:
        """Start it and wait until it lists its buckets."""
        (self._folder / "data").mkdir(exist_ok=True)
        with (self._folder / "weed.log").open("ab") as log:
            self._process = processes.spawn(
                [sys.executable, "-m", "tests.chaos.child", str(os.getpid()), *self._command()],
                env=dict(os.environ),
                cwd=plan.ROOT,
                output=log.fileno(),
            )
        give_up_at = time.monotonic() + READY_SECONDS
        while not self._answers():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                raise RuntimeError(f"the S3 server does not answer:\n{self.last_words()}")
            time.sleep(0.1)  # polling a server that starts

    def stop(self) -> None:
        """Kill it: what it has answered for is on its disk."""
        if self._process is not None:
            processes.kill_group(self._process.pid)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill it for good."""
        self.stop()
        for port in self._held:
            port.let_go()

    def client(self) -> Any:
        """Return a client beside the product's own, to look at what is stored."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=_ADMIN,
            aws_secret_access_key=_ADMIN_SECRET,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def environ(self, bucket: str) -> dict[str, str]:
        """Return the product's settings for a bucket of this server."""
        return {
            "STORAGE_BACKEND": "s3",
            "S3_BUCKET": bucket,
            "S3_ENDPOINT_URL": self.url,
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_SECRET_KEY": SECRET_KEY,
            "S3_PREFIX": "kept",
            "S3_ADDRESSING_STYLE": "path",
        }

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join((self._folder / "weed.log").read_text(errors="replace").splitlines()[-30:])

    def _answers(self) -> bool:
        """Ask without a signature, which a server that is up refuses, and whether a volume has joined."""
        try:
            refused = httpx.get(self.url, timeout=2, trust_env=False).status_code == httpx.codes.FORBIDDEN
            return refused and bool(self.client().list_buckets())
        except Exception:  # noqa: BLE001  (not yet, whatever it says)
            return False

    def _command(self) -> list[str]:
        ports = [f"-{'s3' if name == 's3' else name}.port={port}" for name, port in self._ports.items()]
        folder = self._folder / "data"
        return [
            *(str(PROGRAM), "-logtostderr", "server"),
            *(f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer"),
            *(f"-s3.config={self._folder / 's3.json'}", "-volume.max=400", "-master.volumeSizeLimitMB=64", *ports),
            *("-s3.port.iceberg=0", "-volume.minFreeSpace=1", "-master.electionTimeout=1s"),
        ]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Run a server in a folder of its own."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _identity(access_key: str, secret_key: str, *actions: str) -> dict[str, Any]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"name": access_key, "credentials": credentials, "actions": list(actions)}


def _free_pair() -> tuple[Port, Port]:
    """Return a port that is free together with the one its inner conversation takes, and that one."""
    while True:
        port = Port()
        if port.number + _GRPC <= _HIGHEST_PORT:
            with contextlib.suppress(OSError):
                return port, Port(port.number + _GRPC)
        port.let_go()
