"""Connections: resolve, check every answer, connect to a checked address, keep the name for TLS."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import certifi
import httpcore

from core.egress.addresses import Address, Rule, refusal
from core.egress.errors import EgressError, blocked

DNS_TIMEOUT_SECONDS = 3.0


class Progress:
    """What one exchange has done so far; the network layer writes it, the client reads it."""

    def __init__(self) -> None:
        self.sent = False
        self.address: str | None = None
        self.durations_ms: dict[str, float] = {}

    def add_duration(self, name: str, *, since: float) -> None:
        """Add the time since the monotonic moment `since`; redirects sum up."""
        elapsed_ms = (time.monotonic() - since) * 1000
        self.durations_ms[name] = round(self.durations_ms.get(name, 0.0) + elapsed_ms, 3)


# The pool gives connections no sight of the request; each exchange runs in its own task, hence its own context.
progress: ContextVar[Progress] = ContextVar("egress_progress")


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the process's verifying context, TLS 1.2 or newer, with certifi's roots; the environment has no say."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def lookup(host: str, port: int) -> list[str]:
    """Return the addresses of a name, in the order to try them (RFC 6724, by the system)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for one allow-list. Every new connection is resolved and checked again."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers. Raises: EgressError."""
        state = progress.get()
        started = time.monotonic()
        addresses = await _resolve(host, port)
        state.add_duration("dns", since=started)
        for address in addresses:
            if reason := refusal(address, host=host, port=port, rules=self._rules):
                raise blocked(f"{host}:{port}: {reason}")
        started = time.monotonic()
        sock = await _connect_any(addresses, port, timeout_seconds=timeout or 0)
        state.add_duration("connect", since=started)
        return Stream(sock, peer=state.address or host)

    async def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        raise blocked("unix socket")


class Stream(httpcore.AsyncNetworkStream):
    """A connected socket, over which asyncio's streams are opened when it is known whether TLS goes on top."""

    def __init__(self, sock: socket.socket, *, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands; the certificate must be `server_hostname`'s. Raises: EgressError."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                self._streams = await asyncio.open_connection(
                    sock=self._sock, ssl=ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            raise EgressError("timeout", "The TLS handshake took too long", f"{self._peer}: {error!r}") from error
        except ssl.SSLError as error:
            retryable = not isinstance(error, ssl.SSLCertVerificationError)
            raise EgressError(
                "tls", "The TLS connection could not be made", f"{self._peer}: {error}", retryable
            ) from error
        except OSError as error:
            raise EgressError(
                "tls", "The connection was closed in the TLS handshake", f"{self._peer}: {error!r}"
            ) from error
        finally:
            if self._streams is None:
                self._sock.close()
        progress.get().add_duration("tls", since=started)
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        reader, _ = await self._opened()
        try:
            return await reader.read(max_bytes)
        except OSError as error:
            raise httpcore.ReadError(repr(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        _, writer = await self._opened()
        state = progress.get()
        state.sent, state.address = True, self._peer
        try:
            writer.write(buffer)
            await writer.drain()
        except OSError as error:
            raise httpcore.WriteError(repr(error)) from error

    async def aclose(self) -> None:
        """Close at once: a peer that does not take part in a polite farewell must not delay anybody."""
        if self._streams is None:
            self._sock.close()
        else:
            self._streams[1].transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """Answer what the pool asks: whether an idle connection was closed by the peer, and the TLS object."""
        if self._streams is None:
            return None
        reader, writer = self._streams
        if info == "is_readable":
            return reader.at_eof() or writer.is_closing()
        return writer.get_extra_info(info)

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(sock=self._sock)
        return self._streams


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    try:
        async with asyncio.timeout(DNS_TIMEOUT_SECONDS):
            found = [ip_address(text) for text in await lookup(host, port)]
    except TimeoutError as error:
        raise EgressError("dns", "The host name was not resolved in time", f"{host}: no answer") from error
    except (OSError, ValueError) as error:
        raise EgressError("dns", "The host name cannot be resolved", f"{host}: {error}") from error
    if not found:
        raise EgressError("dns", "The host name has no address", f"{host}: no address")
    return found


async def _connect_any(addresses: Sequence[Address], port: int, *, timeout_seconds: float) -> socket.socket:
    """Try the addresses in turn, each with its share of the time that is left."""
    deadline = time.monotonic() + timeout_seconds
    failure = EgressError("refused", "The connection was refused")
    for position, address in enumerate(addresses):
        share = (deadline - time.monotonic()) / (len(addresses) - position)
        try:
            return await _connect(address, port, timeout_seconds=share)
        except TimeoutError:
            failure = EgressError("timeout", "The connection took too long", f"{address}:{port}: connect")
        except OSError as error:
            failure = EgressError("refused", "The connection was refused", f"{address}:{port}: {error}")
    raise failure


async def _connect(address: Address, port: int, *, timeout_seconds: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)  # noqa: PLR2004
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(timeout_seconds):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    progress.get().address = str(address)
    return sock
