"""`make demo` against a product that runs, against none, and against documents that nobody can read."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config.launcher.state import DataFolder
from tests import documents
from tests.chaos import stack
from tests.ports import Port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["contract-letter.docx", "invoice-2026-0117.pdf", "orders-october.csv", "stock-sheet.xlsx"]
STEPS = ["check", "read", "judge", "shape", "pause", "tell"]
READ_AS = {
    "contract-letter.docx": "word",
    "invoice-2026-0117.pdf": "pdf",
    "orders-october.csv": "text",
    "stock-sheet.xlsx": "excel",
}


@pytest.fixture(scope="module")
def product() -> Iterator[stack.Stack]:
    with stack.running("127.0.0.1:9", **stack.CALM) as running:
        yield running


@pytest.fixture
def data_folder(product: stack.Stack, tmp_path: Path) -> Iterator[Path]:
    """A data folder that looks as the launcher's does while it serves the product."""
    data = DataFolder(tmp_path)
    data.open()
    data.remember("web", {"url": product.api.base_url})
    yield tmp_path
    data.close()


def environment(folder: Path, **more: str) -> dict[str, str]:
    dropped = {"MAKELEVEL", "API_KEY", "API_KEY_FILE", "PORT", "HOST", "EXTRA_PORTS", "UPLOAD_DIR"}
    return {name: value for name, value in os.environ.items() if name not in dropped} | {"DATA_DIR": str(folder)} | more


def demo(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        check=False,
        cwd=ROOT,
        env=environment(folder, **environ),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_documents_of_the_repository_go_all_the_way(product: stack.Stack, data_folder: Path) -> None:
    key = product.environ["API_KEY"]

    done = demo(data_folder, API_KEY=key)

    url = product.api.base_url
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Product: {url}\n\nUploading:\n")
    for name in NAMES:
        assert re.search(rf"^  {name} +[\d.]+ KB sent$", done.stdout, re.MULTILINE), name
        assert re.search(rf"^  {name} +state +completed$", done.stdout, re.MULTILINE), name
        for step in STEPS:
            assert re.search(rf"^  {name} +{step} +[\d.]+ m?s$", done.stdout, re.MULTILINE), (name, step)
        line = rf"^  {name} +read as {READ_AS[name]}, .*\d+ words: Worth keeping; [\d.]+ m?s$"
        assert re.search(line, done.stdout, re.MULTILINE), name
    # A pipe gets lines, nothing that moves a cursor.
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert len(set(re.findall(rf"{url}/admin/files/file/\d+/change/", done.stdout))) == len(NAMES)
    assert len(set(re.findall(rf"{url}/admin/workflows/execution/\d+/change/", done.stdout))) == len(NAMES)


def test_a_second_demo_uses_the_same_workflow_and_leaves_it_off(product: stack.Stack, data_folder: Path) -> None:
    key, one = product.environ["API_KEY"], str(ROOT / "demo" / "documents" / "orders-october.csv")

    codes = [demo(data_folder, one, API_KEY=key).returncode for _ in range(2)]

    found = httpx.get(f"{product.api.base_url}/workflows", headers={"X-API-Key": key}, trust_env=False).json()
    assert codes == [0, 0]
    assert [(item["name"], item["is_enabled"]) for item in found] == [("Demo: document pipeline", False)]


def test_a_document_that_cannot_be_read_is_told_and_ends_with_1(
    product: stack.Stack, data_folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.pdf"
    secret.write_bytes(documents.pdf("closed", password="x"))

    done = demo(data_folder, str(secret), API_KEY=product.environ["API_KEY"])

    assert done.returncode == 1
    assert re.search(r"^  secret.pdf +encrypted: .+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "key", "line"),
    [
        (["README.md"], None, "make: POST /files/upload answered 400: File type not allowed."),
        (["nowhere.pdf"], None, "make: nowhere.pdf is not a file"),
        ([], "wrong", "make: The key is not accepted: set API_KEY to the one that the running product has"),
        ([], "", "make: No key: set API_KEY to the one that the running product has"),
    ],
)
def test_what_stops_the_demo_is_one_line(
    product: stack.Stack, data_folder: Path, arguments: list[str], key: str | None, line: str
) -> None:
    done = demo(data_folder, *arguments, API_KEY=product.environ["API_KEY"] if key is None else key)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith(line)


def test_a_terminal_sees_one_table_drawn_again_in_place(product: stack.Stack, data_folder: Path) -> None:
    one = str(ROOT / "demo" / "documents" / "orders-october.csv")
    environ = environment(data_folder, API_KEY=product.environ["API_KEY"], COLUMNS="80", PYTHONIOENCODING="utf-8")

    code, text = _in_terminal([sys.executable, "-m", "demo", one], environ)

    assert code == 0
    assert "█" * 24 in text
    frames = text.split("\x1b[2A\x1b[J")
    assert len(frames) > 2
    last = frames[-1].splitlines()
    assert last[0].split() == ["document", "state", *STEPS]
    assert last[1].split()[:2] == ["orders-october.csv", "completed"]
    assert all(len(line) < 80 for frame in frames[1:] for line in frame.splitlines()[:2])


@pytest.fixture
def nothing_runs(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a product that nobody has started yet, with a database of its own."""
    port = Port()
    with stack._database(tmp_path, own=False) as (url, _):
        yield {"DATABASE_URL": url, "PORT": str(port.number)}
    port.let_go()


def test_without_a_running_product_one_is_started_and_stopped(nothing_runs: dict[str, str], tmp_path: Path) -> None:
    done = demo(tmp_path, str(ROOT / "demo" / "documents" / "orders-october.csv"), **nothing_runs)

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == f"Nothing runs with {tmp_path}: starting it for the demo, as `make run` does ..."
    assert lines[-1] == "Stopping what was started ..."
    assert any(line.startswith("Admin login, shown once: ") for line in lines)
    assert DataFolder(tmp_path).holder() is None
    assert "Look at it in the admin, after `make run`:" in lines


def test_ctrl_c_while_the_product_starts_leaves_nothing_behind(nothing_runs: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment(tmp_path, **nothing_runs),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Who runs tests in the background may ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  (no thread of ours forks)
    )
    deadline = time.monotonic() + 90
    while DataFolder(tmp_path).holder() is None and time.monotonic() < deadline:
        time.sleep(0.02)  # polling another process

    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 130
    assert output.splitlines()[-1] == "Stopping what was started ..."
    assert DataFolder(tmp_path).holder() is None


def _in_terminal(command: list[str], environ: dict[str, str]) -> tuple[int, str]:
    """Run a command with a terminal as its standard output; returns its exit code and all it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    data = b""
    deadline = time.monotonic() + 90
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            data += part
        return process.wait(60), data.decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
