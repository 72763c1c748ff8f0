"""Request headers: checked on the way out, completed with ours."""

import re
from collections.abc import Mapping

from core.egress.errors import EgressError
from core.egress.urls import Target

Header = tuple[bytes, bytes]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_HEADERS_BYTES = 64 * 1024
_REFUSED_METHODS = {"CONNECT", "TRACE"}
# They decide how the message is framed or where it goes: only this door writes them.
_REFUSED = {
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
}
# Harmless in a caller's list, but ours are the right ones.
_REPLACED = {"content-length", "connection", "accept-encoding"}
# What another origin may see after a redirect. Any other header may carry a credential: each API has its own name.
_FOR_ANYBODY = {
    "accept",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "idempotency-key",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
}
_BODY_METHODS = {"POST", "PUT", "PATCH"}


def checked_method(method: str) -> str:
    """Return the method in upper case. Raises: EgressError `bad_header`."""
    upper = method.upper()
    if not _TOKEN.fullmatch(upper) or upper in _REFUSED_METHODS:
        raise EgressError("bad_header", "The HTTP method cannot be used", f"method {method!r}")
    return upper


def checked(headers: Mapping[str, str] | None, *, target: Target) -> dict[str, str]:
    """Return the caller's headers with lower-case names, without those this door writes itself.

    Raises: EgressError `bad_header`.
    """
    result: dict[str, str] = {}
    for name, value in (headers or {}).items():
        _refuse_bad_header(name, value)
        lower = name.lower()
        if lower == "host" and value.strip().lower() not in {target.host, target.url.netloc.decode()}:
            raise EgressError("bad_header", "The header Host must be the host of the URL")
        if lower not in _REPLACED | {"host"}:
            result[lower] = value.strip(" \t")
    if sum(len(name) + len(value) for name, value in result.items()) > _MAX_HEADERS_BYTES:
        raise EgressError("bad_header", f"The headers are larger than {_MAX_HEADERS_BYTES} bytes")
    return result


def on_the_wire(headers: Mapping[str, str], *, target: Target, method: str, content: bytes) -> list[Header]:
    """Return what is sent: ours first, then the caller's."""
    ours = [(b"host", target.url.netloc), (b"accept-encoding", b"gzip, deflate")]
    if content or method in _BODY_METHODS:
        ours.append((b"content-length", str(len(content)).encode()))
    defaults = {"accept": "*/*", "user-agent": "PyAirtable-Automation"}
    return ours + [(name.encode(), value.encode()) for name, value in (defaults | dict(headers)).items()]


def without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that another origin may see."""
    return {name: value for name, value in headers.items() if name in _FOR_ANYBODY}


def without_body(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request whose body is dropped, as a redirect to GET demands."""
    return {name: value for name, value in headers.items() if not name.startswith("content-")}


def received(raw: list[Header]) -> dict[str, str]:
    """Return an answer's headers with lower-case names; repeated ones are joined by a comma."""
    result: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        result[key] = f"{result[key]}, {text}" if key in result else text
    return result


def _refuse_bad_header(name: str, value: str) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise EgressError("bad_header", "A header name contains a character that is not allowed", f"header {name!r}")
    if name.lower() in _REFUSED:
        raise EgressError("bad_header", f"The header {name} cannot be set")
    if not isinstance(value, str) or _CONTROL.search(value) or not _encodes(value):
        raise EgressError("bad_header", f"The value of the header {name} contains a character that is not allowed")


def _encodes(value: str) -> bool:
    """Tell whether the text has no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
