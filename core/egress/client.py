"""One exchange from URL to answer: the guard, redirects, deadlines and caps in one place.

httpcore (the engine below httpx) is driven directly: httpx's own client would add cookies, proxies of the
environment and decoders without a bound, each of which would have to be taken away again.
"""

import asyncio
import json
import time
from codecs import lookup as lookup_codec
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from email.message import Message
from typing import Any
from weakref import WeakKeyDictionary

import httpcore
from django.conf import settings
from django.db import connection

from core import logs
from core.egress import headers as header_rules
from core.egress import loop, network
from core.egress.addresses import Rule, parse_rules
from core.egress.body import Body
from core.egress.errors import EgressError, TransactionOpen
from core.egress.urls import Params, Target, follow, parse

log = logs.get(__name__)

MAX_BODY_BYTES = 10 * 1024 * 1024
_REDIRECTS = {301, 302, 303, 307, 308}
_BROKEN = (httpcore.NetworkError, httpcore.ProtocolError)
# Shorter than any server's own limit: a request written to a connection that the peer is just closing is lost.
_KEEPALIVE_SECONDS = 1.0
_MAX_IDLE_CONNECTIONS = 64
_POLL_SECONDS = 0.25
# Codecs that are no charsets, or that take quadratic time.
_REFUSED_CODECS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}

Rules = tuple[Rule, ...]
Pools = dict[Rules, httpcore.AsyncConnectionPool]
# One pool per allow-list: what one purpose may reach must not be lent to another. The lists come from the
# environment, so there are few. A forked child gets a new loop and with it new pools.
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pools] = WeakKeyDictionary()


@dataclass(frozen=True)
class Response:
    """An answer, whatever its status. `headers` have lower-case names; `url` is that of the last redirect.

    `content` is decoded (gzip, deflate). `durations_ms` has `total` and `first_byte`, and `dns`, `connect`, `tls`
    where a new connection was made.
    """

    status_code: int
    headers: dict[str, str]
    content: bytes
    url: str
    address: str
    durations_ms: dict[str, float]

    @property
    def text(self) -> str:
        return self.content.decode(_charset(self.headers.get("content-type", "")), errors="replace")

    def json(self) -> Any:
        """Return the parsed body, or None where it is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class _Hop:
    method: str
    target: Target
    headers: dict[str, str]
    content: bytes

    def redirected(self, status_code: int, location: str) -> "_Hop":
        """Return the request that a redirect asks for. Source: RFC 9110 section 15.4; credentials stay at home."""
        target = follow(self.target, location)
        method, headers, content = self.method, self.headers, self.content
        if (status_code == 303 and method != "HEAD") or (status_code in {301, 302} and method == "POST"):  # noqa: PLR2004
            method, headers, content = "GET", header_rules.without_body(headers), b""
        if target.origin != self.target.origin:
            headers = header_rules.without_credentials(headers)
        return _Hop(method, target, headers, content)


@dataclass(frozen=True)
class _Answer:
    status_code: int
    headers: dict[str, str]
    content: bytes


class Exchange:
    """One call through the door: validated when made, performed once on the loop's thread."""

    def __init__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None,
        params: Params | None,
        content: bytes | None,
        timeout_seconds: float,
        connect_timeout_seconds: float,
        max_body_bytes: int,
        max_redirects: int,
        allow: Sequence[str],
        reuse_connection: bool,
    ) -> None:
        target = parse(url, params=params)
        checked = header_rules.checked(headers, target=target)
        self._hop = _Hop(header_rules.checked_method(method), target, checked, content or b"")
        self._rules = _allowed(tuple(allow))
        self._started = time.monotonic()
        self._deadline = self._started + timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._max_redirects = max_redirects
        self._reuse_connection = reuse_connection
        self._progress = network.Progress()
        self._task: asyncio.Task[Any] | None = None
        self._aborted = False

    def abort(self) -> None:
        """Stop the exchange, from the loop's thread; it then ends with the error `cancelled`."""
        self._aborted = True
        if self._task is not None:
            self._task.cancel()

    async def perform(self) -> Response:
        """Run to the end, in a task of its own. Raises: EgressError."""
        self._task = asyncio.current_task()
        network.progress.set(self._progress)
        try:
            return await self._within_deadline()
        except EgressError as error:
            raise self._complete(error) from error.__cause__

    async def _within_deadline(self) -> Response:
        if self._aborted:
            raise EgressError("cancelled", "The request was cancelled")
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._follow_redirects()
        except TimeoutError as error:
            raise EgressError("timeout", "The request took too long") from error
        except asyncio.CancelledError as error:
            if not self._aborted:
                raise
            raise EgressError("cancelled", "The request was cancelled") from error

    async def _follow_redirects(self) -> Response:
        hop = self._hop
        for followed in range(self._max_redirects + 1):
            answer = await self._answer(hop)
            location = answer.headers.get("location")
            if answer.status_code not in _REDIRECTS or location is None:
                return self._response(hop, answer)
            if followed < self._max_redirects:
                hop = hop.redirected(answer.status_code, location)
        error = EgressError("redirect", self._redirect_message(), f"{answer.status_code} to {location!r}")
        error.status_code = answer.status_code
        raise error

    async def _answer(self, hop: _Hop) -> _Answer:
        """Send one request, once: nothing is repeated here, so that an effect happens at most once for a call."""
        try:
            if self._reuse_connection:
                return await self._send(hop, _shared_pool(self._rules))
            async with _new_pool(self._rules) as pool:
                return await self._send(hop, pool)
        except _BROKEN as error:
            message = "The server broke the connection or its answer is not HTTP"
            raise EgressError("reset", message, repr(error)) from error

    async def _send(self, hop: _Hop, pool: httpcore.AsyncConnectionPool) -> _Answer:
        started = time.monotonic()
        response = await pool.handle_async_request(self._request(hop))
        try:
            self._progress.add_duration("first_byte", since=started)
            return await self._read(hop, response)
        finally:
            await response.aclose()

    def _request(self, hop: _Hop) -> httpcore.Request:
        url = hop.target.url
        return httpcore.Request(
            hop.method.encode(),
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=hop.target.port, target=url.raw_path),
            headers=header_rules.on_the_wire(hop.headers, target=hop.target, method=hop.method, content=hop.content),
            content=hop.content,
            extensions={"timeout": {"connect": self._connect_timeout_seconds}},
        )

    async def _read(self, hop: _Hop, response: httpcore.Response) -> _Answer:
        headers = header_rules.received(list(response.headers))
        if response.status in _REDIRECTS and "location" in headers:
            return _Answer(response.status, headers, b"")
        body = Body(encoding=headers.get("content-encoding", ""), max_bytes=self._max_body_bytes)
        async for chunk in response.aiter_stream():
            body.feed(chunk)
        return _Answer(response.status, headers, body.content())

    def _response(self, hop: _Hop, answer: _Answer) -> Response:
        self._progress.add_duration("total", since=self._started)
        return Response(
            answer.status_code,
            answer.headers,
            answer.content,
            url=str(hop.target.url),
            address=self._progress.address or "",
            durations_ms=self._progress.durations_ms,
        )

    def _redirect_message(self) -> str:
        if self._max_redirects == 0:
            return "The server answered with a redirect, which is not followed"
        return f"The server redirected more than {self._max_redirects} times"

    def _complete(self, error: EgressError) -> EgressError:
        """Add what is known of the exchange as a whole, and tell the operator."""
        self._progress.add_duration("total", since=self._started)
        error.sent = self._progress.sent
        error.address = self._progress.address
        error.durations_ms = self._progress.durations_ms
        write = log.warning if error.code == "blocked_address" else log.info
        write("egress.failed", code=error.code, reason=error.reason, host=self._hop.target.host, sent=error.sent)
        return error


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Params | None = None,
    content: bytes | None = None,
    timeout_seconds: float = 30,
    connect_timeout_seconds: float = 5,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_redirects: int = 5,
    allow: Sequence[str] = (),
    reuse_connection: bool = True,
    cancelled: Callable[[], bool] | None = None,
) -> Response:
    """Send one request and wait for its whole answer; any status is an answer.

    `timeout_seconds` is wall clock over names, TLS, headers and body, redirects included. `max_body_bytes` counts
    decoded bytes. `max_redirects` 0 refuses redirects. `allow` holds exact `host:port` targets that may be private
    for this purpose only, beside the operator's EGRESS_ALLOWLIST. `cancelled` is asked every 250 ms, in the
    calling thread. Nothing is ever sent twice. `reuse_connection` False opens a new connection: then `reset` cannot
    mean that the peer had just closed an idle one.

    Raises: EgressError; TransactionOpen where the caller's database transaction is open.
    Source: design/WEBHOOKS.md section 3.
    """
    refuse_open_transaction()
    exchange = Exchange(
        method,
        url,
        headers=headers,
        params=params,
        content=content,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=connect_timeout_seconds,
        max_body_bytes=max_body_bytes,
        max_redirects=max_redirects,
        allow=allow,
        reuse_connection=reuse_connection,
    )
    future = loop.submit(exchange.perform())
    try:
        while cancelled is not None and not wait([future], timeout=_POLL_SECONDS).done:
            if cancelled():
                loop.get().call_soon_threadsafe(exchange.abort)
                break
        return future.result()
    finally:
        # Only where waiting was interrupted: a time limit's signal raises in the calling thread.
        future.cancel()


async def request_async(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    params: Params | None = None,
    content: bytes | None = None,
    timeout_seconds: float = 30,
    connect_timeout_seconds: float = 5,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_redirects: int = 5,
    allow: Sequence[str] = (),
    reuse_connection: bool = True,
    cancelled: Callable[[], bool] | None = None,
) -> Response:
    """Do what `request` does, from a coroutine on any loop; the exchange itself runs on the process's loop thread.

    `cancelled` is asked on the calling loop, so it must not block.
    """
    refuse_open_transaction()
    exchange = Exchange(
        method,
        url,
        headers=headers,
        params=params,
        content=content,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=connect_timeout_seconds,
        max_body_bytes=max_body_bytes,
        max_redirects=max_redirects,
        allow=allow,
        reuse_connection=reuse_connection,
    )
    home = loop.get()
    future: asyncio.Future[Response]
    if asyncio.get_running_loop() is home:
        future = asyncio.ensure_future(exchange.perform())
    else:
        future = asyncio.wrap_future(loop.submit(exchange.perform()))
    try:
        while cancelled is not None and not (await asyncio.wait([future], timeout=_POLL_SECONDS))[0]:
            if cancelled():
                home.call_soon_threadsafe(exchange.abort)
                break
        return await future
    finally:
        future.cancel()


def refuse_open_transaction() -> None:
    """Raise TransactionOpen inside a database transaction: it would hold its locks for as long as a stranger likes."""
    if not settings.configured or getattr(settings, "EGRESS_ALLOW_IN_TRANSACTION", False):
        return
    if connection.in_atomic_block:
        raise TransactionOpen("a request must not go out while a database transaction is open")


def _allowed(extra: tuple[str, ...]) -> Rules:
    listed = tuple(settings.EGRESS_ALLOWLIST) if settings.configured else ()
    return parse_rules(listed + extra)


def _shared_pool(rules: Rules) -> httpcore.AsyncConnectionPool:
    pools = _pools.setdefault(asyncio.get_running_loop(), {})
    if rules not in pools:
        pools[rules] = _new_pool(rules)
    return pools[rules]


def _new_pool(rules: Rules) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        ssl_context=network.tls_context(),
        max_connections=None,
        max_keepalive_connections=_MAX_IDLE_CONNECTIONS,
        keepalive_expiry=_KEEPALIVE_SECONDS,
        network_backend=network.GuardedBackend(rules),
    )


def _charset(content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    try:
        codec = lookup_codec(str(message.get_param("charset", "utf-8")))
    except (LookupError, ValueError):
        return "utf-8"
    is_charset = getattr(codec, "_is_text_encoding", True) and codec.name.replace("-", "_") not in _REFUSED_CODECS
    return codec.name if is_charset else "utf-8"
