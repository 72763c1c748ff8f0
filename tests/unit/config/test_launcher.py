"""What the launcher reads before it starts anything."""

from pathlib import Path

import pytest

from config.launcher import commands, plan, servers
from config.launcher.__main__ import main
from config.launcher.errors import LaunchError
from config.launcher.state import DataFolder


@pytest.mark.parametrize("port", ["²", "9" * 5000, "-1", "0", "65536", "8008.0"])
def test_a_further_port_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("EXTRA_PORTS", f"8008,{port}")

    with pytest.raises(LaunchError) as refusal:
        plan.Addresses.from_environment()

    assert str(refusal.value) == f"EXTRA_PORTS={port!r} is not a port; give for example 8008,8090,8000"


def test_a_host_that_no_resolver_would_take_is_one_line() -> None:
    host = "a" * 80

    with pytest.raises(LaunchError, match=f"^HOST='{host}' is no name of a host$"):
        plan.Addresses(host, (8006,)).check_free()


def test_a_server_keeps_its_port_unless_the_web_is_to_listen_there() -> None:
    port = servers._port(None, ())

    assert servers._port(port, (8006,)) == port
    assert servers._port(port, (8006, port)) not in {8006, port}


def test_a_folder_behind_a_link_is_named_as_the_kernel_names_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert DataFolder(tmp_path / "link").path == tmp_path.resolve() / "real"


def test_another_setting_is_looked_at_again_and_another_address_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan.shape()

    monkeypatch.setenv("PORT", "8123")
    assert plan.shape() == before
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    assert plan.shape() == before
    monkeypatch.setenv("MAX_FILE_SIZE", "huge")
    assert plan.shape() != before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "Traceback (most recent call last):\n  …\nconfig.env.BadSetting: MAX_FILE_SIZE='HUGE' is not a size\n",
            "MAX_FILE_SIZE='HUGE' is not a size",
        ),
        (
            "SystemCheckError: issues:\n\nERRORS:\n?: (config.E004) EGRESS_ALLOWLIST: 'x y' is no host\n\n1 issue\n",
            "EGRESS_ALLOWLIST: 'x y' is no host",
        ),
        (
            "CommandError: The database does not answer: refused\n",
            "The database cannot be prepared: CommandError: The database does not answer: refused (all of it: {log})",
        ),
    ],
)
def test_why_nothing_could_be_prepared_is_one_line(tmp_path: Path, words: str, line: str) -> None:
    log = tmp_path / "first_start.log"
    log.write_text(words, encoding="utf-8")

    assert commands._refusal(log) == line.format(log=log)


def test_a_dotenv_file_in_another_encoding_is_refused_and_a_mark_is_no_part_of_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOTENV_MARKED", "")
    monkeypatch.delenv("DOTENV_MARKED")
    file = tmp_path / ".env"
    file.write_bytes("DOTENV_MARKED=yes\n".encode("utf-8-sig"))
    plan.load_dotenv(file)
    marked = plan.env.text("DOTENV_MARKED")
    monkeypatch.delenv("DOTENV_MARKED")
    file.write_bytes("NAME=Grün\n".encode("latin-1"))

    with pytest.raises(LaunchError, match=r"/\.env is not written in UTF-8$"):
        plan.load_dotenv(file)
    assert marked == "yes"


def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan.load_dotenv, "__defaults__", (tmp_path / ".env",))
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PORT", "8123")
    (tmp_path / "data" / "logs" / "run.log").mkdir(parents=True)

    assert main(["up"]) == 1

    assert capsys.readouterr().err == f"make: {tmp_path}/data/logs/run.log: Is a directory\n"
