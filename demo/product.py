"""The product that the demo talks to: the one that runs, or one started for it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config import env
from config.launcher import plan, processes
from config.launcher.errors import LaunchError
from config.launcher.state import DataFolder
from demo.errors import DemoError

STOP_SECONDS = 60.0
# How the launcher prints its children's lines; everything else are words of its own.
_OF_A_CHILD = re.compile(r"\S+ +\| ")
_SHOWN_ONCE = "shown once"


@dataclass(frozen=True)
class Product:
    """Where it answers, with which key; `own` if it was started for the demo."""

    url: str
    key: str
    own: bool


@contextmanager
def found_or_started(say: Callable[[str], None]) -> Iterator[Product]:
    """Give the product of DATA_DIR, started here and stopped afterwards if it does not run.

    Raises: DemoError.
    """
    plan.load_dotenv()
    data = plan.data_folder()
    if data.holder() is not None:
        yield Product(str(data.recall("web").get("url") or _address()), _key(data), own=False)
        return
    say(f"Nothing runs with {data.path}: starting it for the demo, as `make run` does ...")
    with _launched(say):
        yield Product(_address(), _key(data), own=True)


def _address() -> str:
    try:
        return plan.Addresses.from_environment().url
    except (env.BadSetting, LaunchError) as error:
        raise DemoError(str(error)) from error


def _key(data: DataFolder) -> str:
    try:
        return env.text("API_KEY") or data.secret_path("api_key").read_text(encoding="utf-8").strip()
    except (env.BadSetting, OSError) as error:
        raise DemoError(f"No key: set API_KEY to the one that the running product has ({error})") from error


@contextmanager
def _launched(say: Callable[[str], None]) -> Iterator[None]:
    """Run the launcher until it is ready; its own words that matter are passed on, its children's are in its log."""
    launcher = subprocess.Popen(
        [sys.executable, "-m", "config.launcher", "up"],
        cwd=plan.ROOT,
        env={name: value for name, value in os.environ.items() if name != "MAKELEVEL"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # The terminal's Ctrl-C is ours; we stop it in order.
        start_new_session=True,
    )
    try:
        _wait_until_ready(launcher, say)
        yield
    finally:
        _stop(launcher, say)


def _wait_until_ready(launcher: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    started_at = time.monotonic()
    own_words: list[str] = []
    ready = False
    for line in launcher.stdout or ():
        text = line.strip()
        if _OF_A_CHILD.match(text) or not text:
            continue
        own_words.append(text)
        ready = ready or text.startswith("Ready: ")
        if _SHOWN_ONCE in text:
            say(text)
        # The launcher's last line of welcome; what it says before may be shown only once.
        if ready and "/executions?limit=1" in text:
            say(f"Started in {time.monotonic() - started_at:.1f} s.")
            _drain(launcher)
            return
    reason = own_words[-1].removeprefix("make: ") if own_words else "no reason given"
    raise DemoError(f"It did not start: {reason}")


def _drain(launcher: subprocess.Popen[str]) -> None:
    """Stop reading: the launcher goes on without a reader, and keeps everything in its log."""
    if launcher.stdout:
        launcher.stdout.close()


def _stop(launcher: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    if launcher.poll() is None:
        say("Stopping what was started ...")
        processes.send(launcher.pid, signal.SIGTERM)
    try:
        launcher.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()
    _drain(launcher)
