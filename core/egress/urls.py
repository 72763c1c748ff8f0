"""Strict reading of URLs: what two parsers could read differently is refused.

Source: RFC 3986, RFC 5891 (IDNA 2008), WHATWG URL "ends in a number" for hosts that some resolvers take as IPv4.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import httpx
import idna

from core.egress.errors import EgressError

MAX_PORT = 65_535
_MAX_NAME_LENGTH = 253
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"[A-Za-z]+://(?P<host>\[[^\[\]@]*\]|[^\[\]/?#:@]*)(?::(?P<port>[0-9]{1,5}))?(?=[/?#]|\Z)")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IDNA takes these for dots; no browser or resolver needs to.
_OTHER_DOTS = "\u3002\uff0e\uff61"

Scalar = str | int | float | bool | None
Params = Mapping[str, Scalar | Sequence[Scalar]]


@dataclass(frozen=True)
class Target:
    """A URL that passed: `host` is lower case ASCII without brackets and final dot, `port` is always given."""

    url: httpx.URL
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.url.scheme, self.host, self.port)


def parse(text: str, *, params: Params | None = None) -> Target:
    """Read an absolute http or https URL; `params` are added to its query.

    Raises: EgressError `bad_url`.
    """
    try:
        return _parse(text, params)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise EgressError("bad_url", f"The URL cannot be used: {error}") from error


def follow(current: Target, location: str) -> Target:
    """Read the `Location` of an answer to `current`, which may be relative.

    Raises: EgressError `bad_url`.
    """
    try:
        _refuse_odd_characters(location)
        joined = str(current.url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise EgressError("bad_url", f"The redirect cannot be followed: {error}") from error
    return parse(joined)


def normal_host(host: str) -> str:
    """Return a host name or plain IPv4 address in lower case ASCII, without a final dot.

    Raises: ValueError for anything that resolvers may read as another host.
    """
    if any(dot in host for dot in _OTHER_DOTS):
        raise ValueError("the host contains a character that only looks like a dot")
    name = (host if host.isascii() else _to_ascii(host)).lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _plain_ipv4(host)
    if len(name) > _MAX_NAME_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is not a valid name")
    if any(label.startswith("xn--") for label in labels):
        _check_punycode(name)
    return name


def _parse(text: str, params: Params | None) -> Target:
    _refuse_odd_characters(text)
    url = httpx.URL(text)
    if url.scheme not in _DEFAULT_PORTS:
        raise ValueError("only http:// and https:// are supported")
    match = _AUTHORITY.match(text)
    if not match:
        raise ValueError("it must have a host, perhaps a port, and no user name or password")
    host = _normal_target(match["host"])
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[url.scheme]
    if not 0 < port <= MAX_PORT:
        raise ValueError("the port is out of range")
    # The client's parser and ours have to agree on where the request goes, or it does not go.
    if url.userinfo or _normal_target(_bracketed(url.raw_host.decode())) != host or (url.port or port) != port:
        raise ValueError("its host is ambiguous")
    url = url.copy_with(host=host, fragment=None)
    return Target(url.copy_merge_params(dict(params)) if params else url, host, port)


def _refuse_odd_characters(text: str) -> None:
    if not isinstance(text, str) or not text:
        raise ValueError("it is empty")
    if "\\" in text:
        raise ValueError("it contains a backslash")
    if any(char.isspace() or (not char.isprintable()) for char in text):
        raise ValueError("it contains a blank or a control character")


def _normal_target(host: str) -> str:
    if not host.startswith("["):
        return normal_host(host)
    if "%" in host:
        raise ValueError("the host has a zone id")
    try:
        return str(IPv6Address(host[1:-1]))
    except AddressValueError as error:
        raise ValueError("the host is not an IPv6 address") from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _to_ascii(host: str) -> str:
    try:
        return idna.encode(host.lower()).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError("the host is not a valid international name") from error


def _check_punycode(name: str) -> None:
    try:
        idna.decode(name)
    except idna.IDNAError as error:
        raise ValueError("the host is not a valid international name") from error


def _plain_ipv4(host: str) -> str:
    """Refuse decimal, octal, hexadecimal and short forms: resolvers read `0x7f.1` as 127.0.0.1."""
    try:
        return str(IPv4Address(host))
    except AddressValueError as error:
        raise ValueError("a numeric host must be a plain dotted IPv4 address") from error
