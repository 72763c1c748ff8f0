"""Readers of environment variables, and that `.env.example` tells of all of them."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import env
from config.env import BadSetting
from config.launcher import plan

ROOT = Path(__file__).resolve().parents[3]
READERS = {
    "text",
    "integer",
    "number",
    "boolean",
    "one_of",
    "csv",
    "size_bytes",
    "redis_url",
    "broker_url",
    "present",
}
NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def variables_read() -> Iterator[str]:
    """Every name that product code reads from the environment through `config.env`."""
    for path in ROOT.glob("[a-z]*/**/*.py"):
        if path.relative_to(ROOT).parts[0] not in {"tests", "bench"}:
            yield from names_in(ast.parse(path.read_text(encoding="utf-8")))


def names_in(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="env"), attr=reader)) if reader in READERS:
                for item in node.args:
                    if isinstance(item, ast.Constant) and NAME.fullmatch(str(item.value)):
                        yield str(item.value)


def test_the_example_names_every_variable_that_is_read() -> None:
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", (ROOT / ".env.example").read_text(encoding="utf-8")))

    read = set(variables_read())

    assert {"DATABASE_URL", "PORT", "ADMIN_PASSWORD", "WORKERS"} <= read
    assert read - named == set()


def test_the_example_offers_no_variable_that_nobody_reads() -> None:
    offered = set(
        re.findall(r"^#([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )

    assert offered - set(variables_read()) == set()


def test_the_first_name_that_is_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRST", raising=False)
    monkeypatch.setenv("ALIAS", "b")

    assert env.text("FIRST", "ALIAS", default="c") == "b"
    monkeypatch.setenv("FIRST", "a")
    assert env.text("FIRST", "ALIAS", default="c") == "a"
    assert env.text("NEITHER", default="c") == "c"


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")

    assert env.text("EMPTY", default="default") == "default"
    assert env.integer("EMPTY", default=4) == 4
    assert env.boolean("EMPTY", default=True) is True


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n", encoding="utf-8")
    monkeypatch.setenv("KEY_FILE", str(secret))

    assert env.text("KEY") == "s3cret"
    assert env.present({"KEY_FILE": str(secret)}, "KEY")


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEY_FILE", str(tmp_path / "missing"))

    with pytest.raises(BadSetting, match=r"^KEY_FILE='.*/missing' cannot be read: No such file or directory$"):
        env.text("KEY")


@pytest.mark.parametrize(("raw", "value"), [("1", True), ("YES", True), ("on", True), ("False", False), ("off", False)])
def test_booleans_take_the_usual_words(monkeypatch: pytest.MonkeyPatch, raw: str, value: bool) -> None:
    monkeypatch.setenv("FLAG", raw)

    assert env.boolean("FLAG", default=not value) is value


@pytest.mark.parametrize(
    ("raw", "size"),
    [("10MB", 10_485_760), ("512kb", 524_288), ("1GB", 1_073_741_824), ("1.5 MB", 1_572_864), ("1048576", 1_048_576)],
)
def test_sizes_take_units(monkeypatch: pytest.MonkeyPatch, raw: str, size: int) -> None:
    monkeypatch.setenv("SIZE", raw)

    assert env.size_bytes("SIZE", default="1MB") == size


def test_lists_drop_blanks_and_empty_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIST", " a, ,b,")

    assert env.csv("LIST") == ["a", "b"]


@pytest.mark.parametrize(
    ("read", "raw", "line"),
    [
        (lambda: env.integer("X", default=1), "many", "X='many' is not a whole number"),
        (lambda: env.integer("X", default=1, minimum=1), "0", "X=0 is below 1"),
        (lambda: env.number("X", default=1.0), "fast", "X='fast' is not a number"),
        (lambda: env.number("X", default=1.0, minimum=0.5), "0.1", "X=0.1 is below 0.5"),
        (lambda: env.number("X", default=1.0), "nan", "X='nan' is not a number"),
        (lambda: env.number("X", default=1.0), "1e999", "X='1e999' is not a number"),
        (lambda: env.one_of("X", default="a", allowed=("a", "b")), "c", "X='c' is not one of a, b"),
        (lambda: env.boolean("X", default=True), "maybe", "X='maybe' is not true or false"),
        (lambda: env.size_bytes("X", default="1MB"), "10 parsecs", "X='10PARSECS' is not a size such as 10MB"),
        (lambda: env.size_bytes("X", default="1MB"), "0", "X='0' is not a size such as 10MB"),
        (lambda: env.size_bytes("X", default="1MB"), "9" * 400, "X='999"),
    ],
)
def test_junk_is_refused_with_name_and_value(monkeypatch: pytest.MonkeyPatch, read, raw: str, line: str) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("X", raw)

    with pytest.raises(BadSetting) as refusal:
        read()

    assert str(refusal.value).startswith(line)


def test_a_database_url_becomes_djangos_entry() -> None:
    entry = env.database("postgresql+asyncpg://us%40er:p%2Fw@db.example.com:6543/auto?sslmode=require")

    assert entry == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "auto",
        "USER": "us@er",
        "PASSWORD": "p/w",
        "HOST": "db.example.com",
        "PORT": "6543",
        "OPTIONS": {"sslmode": "require"},
    }


def test_a_database_url_may_name_a_socket_folder() -> None:
    entry = env.database("postgresql://postgres@/auto?host=/run/postgresql")

    assert (entry["HOST"], entry["PORT"], entry["NAME"]) == ("/run/postgresql", "", "auto")


def test_another_database_is_refused() -> None:
    with pytest.raises(BadSetting, match="'mysql'; only postgresql:// is supported"):
        env.database("mysql://localhost/auto")


@pytest.mark.parametrize("url", ["postgresql://u:pass/word@h/x", "postgresql://h:port/x", "postgresql://[::1/x"])
def test_a_database_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        env.database(url)

    assert str(refusal.value) == (
        "DATABASE_URL is no address; write postgresql://user:password@host:5432/name, special characters as %XX"
    )


@pytest.mark.parametrize("reader", [env.redis_url, env.broker_url])
@pytest.mark.parametrize(
    ("url", "password", "result"),
    [
        ("redis://h:1/0", "pw", "redis://:pw@h:1/0"),
        ("redis://:own@h:1/0", "pw", "redis://:own@h:1/0"),
        ("redis://h:1/0", "", "redis://h:1/0"),
        ("", "", "redis://default:1/0"),
    ],
)
def test_a_redis_password_is_put_in_where_the_url_has_none(
    monkeypatch: pytest.MonkeyPatch, reader: Callable[..., str], url: str, password: str, result: str
) -> None:
    monkeypatch.setenv("URL", url)

    assert reader("URL", default="redis://default:1/0", password=password) == result


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://h", "URL has the scheme 'http'; write redis://:password@host:6379/0"),
        ("localhost:6379", "URL has the scheme 'localhost'; write redis://:password@host:6379/0"),
        ("redis://h:port/0", "URL is no address; write redis://:password@host:6379/0, special characters as %XX"),
    ],
)
def test_what_is_no_redis_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, line: str) -> None:
    monkeypatch.setenv("URL", url)

    with pytest.raises(BadSetting) as refusal:
        env.redis_url("URL", default="", password="")

    assert str(refusal.value) == line


@pytest.mark.parametrize("url", ["amqp://h:5672//", "sentinel://a:26379;sentinel://b:26379", "redis://a:1;redis://b:2"])
def test_other_brokers_are_left_to_celery(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("URL", url)

    assert env.broker_url("URL", default="", password="pw") == url


def test_a_dotenv_file_fills_only_what_the_environment_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOTENV_GIVEN", "environment")
    # Set and deleted, so that what the file sets is undone after the test.
    monkeypatch.setenv("DOTENV_FILED", "")
    monkeypatch.delenv("DOTENV_FILED")
    file = tmp_path / ".env"
    file.write_text("# DOTENV_COMMENT=1\nDOTENV_GIVEN=file\nexport DOTENV_FILED='from file'\n", encoding="utf-8")

    plan.load_dotenv(file)

    assert env.text("DOTENV_GIVEN") == "environment"
    assert env.text("DOTENV_FILED") == "from file"
    assert env.text("DOTENV_COMMENT") == ""
    monkeypatch.delenv("DOTENV_FILED")
