"""Typed readers of environment variables that fail loud on junk.

Every setting of the product is read through these functions, so that a typing error stops the
process with one line that names the variable, the value and what was expected.
A variable `NAME` may also be given as `NAME_FILE`, the path of a file that holds the value
(Docker and Kubernetes secrets).
"""

import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

_SIZE_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_REDIS_SCHEMES = {"redis", "rediss", "unix"}
_REDIS_EXAMPLE = "redis://:password@host:6379/0"


class BadSetting(Exception):
    """An environment variable holds something that cannot be used."""


def text(*names: str, default: str = "") -> str:
    """Return the first of `names` that is set (each also as `<NAME>_FILE`), else `default`."""
    for name in names:
        if value := os.environ.get(name):
            return value
        if path := os.environ.get(f"{name}_FILE"):
            try:
                return Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise BadSetting(f"{name}_FILE={path!r} cannot be read: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise BadSetting(f"{name}_FILE={path!r} is not written in UTF-8") from error
    return default


def integer(*names: str, default: int, minimum: int | None = None) -> int:
    """Return a whole number, not below `minimum`."""
    raw = text(*names)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError as error:
        raise BadSetting(f"{names[0]}={raw!r} is not a whole number") from error
    if minimum is not None and value < minimum:
        raise BadSetting(f"{names[0]}={value} is below {minimum}")
    return value


def number(*names: str, default: float, minimum: float = 0.0) -> float:
    """Return a decimal number, not below `minimum`."""
    raw = text(*names)
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError as error:
        raise BadSetting(f"{names[0]}={raw!r} is not a number") from error
    if not math.isfinite(value):
        raise BadSetting(f"{names[0]}={raw!r} is not a number")
    if value < minimum:
        raise BadSetting(f"{names[0]}={value} is below {minimum}")
    return value


def boolean(*names: str, default: bool) -> bool:
    """Return true for 1/true/yes/on and false for 0/false/no/off, in any case."""
    raw = text(*names).strip().lower()
    if not raw:
        return default
    if raw in _TRUE:
        return True
    if raw in _FALSE:
        return False
    raise BadSetting(f"{names[0]}={raw!r} is not true or false")


def one_of(name: str, *, default: str, allowed: Collection[str]) -> str:
    """Return one of a few words, in any case, as `allowed` writes it."""
    raw = text(name, default=default).strip()
    for word in allowed:
        if raw.lower() == word.lower():
            return word
    raise BadSetting(f"{name}={raw!r} is not one of {', '.join(allowed)}")


def csv(*names: str, default: str = "") -> list[str]:
    """Return a comma-separated list without blanks and empty items."""
    return [item.strip() for item in text(*names, default=default).split(",") if item.strip()]


def size_bytes(*names: str, default: str) -> int:
    """Return a size in bytes from `10MB`, `512KB`, `1GB` or a plain number of bytes."""
    raw = text(*names, default=default).strip().upper().replace(" ", "")
    match = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)(B|KB|MB|GB|)", raw)
    if not match or float(match[1]) <= 0:
        raise BadSetting(f"{names[0]}={raw!r} is not a size such as 10MB, 512KB or 1048576")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def database(url: str, options: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return Django's DATABASES entry for a PostgreSQL URL; a driver suffix (`+asyncpg`) is tolerated.

    A query string becomes connection options (`?sslmode=require`). A socket folder may be given
    as `postgresql://user@/name?host=/folder`.
    """
    plain = re.sub(r"^(\w+)\+\w+://", r"\1://", url)
    parts = _parts("DATABASE_URL", plain, example="postgresql://user:password@host:5432/name")
    if parts.scheme not in {"postgres", "postgresql"}:
        raise BadSetting(f"DATABASE_URL has the scheme {parts.scheme!r}; only postgresql:// is supported")
    options = dict(options or {})
    for pair in filter(None, parts.query.split("&")):
        key, _, value = pair.partition("=")
        options[unquote(key)] = unquote(value)
    entry: dict[str, object] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "postgres",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or options.pop("port", "") or ""),
    }
    return entry | {"OPTIONS": options}


def redis_url(*names: str, default: str, password: str) -> str:
    """Return the URL of a Redis or Valkey, with `password` put in where it carries none itself."""
    url = text(*names, default=default)
    parts = _parts(names[0], url, example=_REDIS_EXAMPLE)
    if parts.scheme not in _REDIS_SCHEMES:
        raise BadSetting(f"{names[0]} has the scheme {parts.scheme!r}; write {_REDIS_EXAMPLE}")
    if not password or parts.password:
        return url
    return parts._replace(netloc=f":{password}@{parts.netloc.rpartition('@')[2]}").geturl()


def broker_url(*names: str, default: str, password: str) -> str:
    """Return the same for Celery's broker; other kinds (`amqp://`), and lists of them, are Celery's to read."""
    url = text(*names, default=default)
    is_one = url.partition(":")[0] in _REDIS_SCHEMES and ";" not in url
    return redis_url(*names, default=default, password=password) if is_one else url


def _parts(name: str, url: str, *, example: str) -> SplitResult:
    """Split a URL. What stands in it is not repeated in the refusal: it may be a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise BadSetting(f"{name} is no address; write {example}, special characters as %XX") from error
    return parts


def present(environ: Mapping[str, str], *names: str) -> bool:
    """Tell whether any of `names` (or its `_FILE` variant) is set and not empty."""
    return any(environ.get(name) or environ.get(f"{name}_FILE") for name in names)
