"""The door against well-behaved servers: answers, the guard, headers, redirects."""

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from core import egress
from core.egress import network
from core.egress.body import Body
from tests.unit.core.egress_servers import (  # noqa: F401 - the fixtures are used by name
    OK,
    Handler,
    Serve,
    answer_with,
    answering,
    answering_once,
    failure,
    get,
    get_failure,
    names_fixture,
    read_request,
    serve_fixture,
)

# --- Answers ---------------------------------------------------------------------------------


def test_an_answer_comes_back_whole(serve: Serve) -> None:
    seen: list[bytes] = []
    answer = answer_with(503, "Content-Type: application/json", "X-A: 1", "x-a: 2", body=b'{"a": "\xc3\xa9"}')
    port = serve(answering(answer, seen))

    response = egress.request(
        "post",
        f"http://127.0.0.1:{port}/a?b=1",
        params={"c": "d e"},
        headers={"X-Name": "München"},
        content=b"body",
        allow=[f"127.0.0.1:{port}"],
    )

    assert (response.status_code, response.json(), response.text) == (503, {"a": "é"}, '{"a": "é"}')
    assert response.headers["x-a"] == "1, 2"
    assert (response.url, response.address) == (f"http://127.0.0.1:{port}/a?b=1&c=d+e", "127.0.0.1")
    assert set(response.durations_ms) == {"dns", "connect", "first_byte", "total"}
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert (lines[0], body) == (b"POST /a?b=1&c=d+e HTTP/1.1", b"body")
    assert {f"host: 127.0.0.1:{port}".encode(), b"content-length: 4", "x-name: München".encode()} <= set(lines)


def test_text_that_is_not_json_gives_none_and_an_unknown_charset_is_read_as_utf8(serve: Serve) -> None:
    port = serve(answering(answer_with(200, "Content-Type: text/plain; charset=punycode", body=b"caf\xc3\xa9")))

    response = get(port)

    assert (response.json(), response.text) == (None, "café")


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", lambda data: zlib.compress(data)[2:-4])],
)
def test_encoded_bodies_are_decoded(serve: Serve, coding: str, encode: Callable[[bytes], bytes]) -> None:
    port = serve(answering(answer_with(200, f"Content-Encoding: {coding}", body=encode(b"hello" * 1000))))

    assert get(port, max_body_bytes=5000).content == b"hello" * 1000


def test_a_gzip_bomb_and_a_large_body_are_stopped_at_the_cap(serve: Serve) -> None:
    bomb = serve(answering(answer_with(200, "Content-Encoding: gzip", body=gzip.compress(bytes(50_000_000)))))
    large = serve(answering(answer_with(200, body=bytes(1001))))

    for error in (get_failure(bomb), get_failure(large, max_body_bytes=1000)):
        assert (error.code, error.retryable, error.sent) == ("too_large", False, True)
    assert len(get(large, max_body_bytes=1001).content) == 1001


def test_a_gzip_bomb_costs_no_more_memory_than_the_cap() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    body = Body(encoding="gzip", max_bytes=100_000)
    tracemalloc.start()

    with pytest.raises(egress.EgressError, match="too_large"):
        body.feed(bomb)
    _, peak_bytes = tracemalloc.get_traced_memory()

    tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_the_environments_proxies_and_cookies_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    port = serve(answering(answer_with(200, "Set-Cookie: a=b"), seen))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    get(port)
    get(port)

    assert len(seen) == 2
    assert b"cookie" not in b"".join(seen).lower()


# --- The guard -------------------------------------------------------------------------------


def test_loopback_is_blocked_unless_allowed(serve: Serve, settings: Settings) -> None:
    seen: list[bytes] = []
    port = serve(answering(OK, seen))

    error = failure("GET", f"http://127.0.0.1:{port}/")

    assert (error.code, error.public_message, error.sent) == ("blocked_address", egress.BLOCKED_MESSAGE, False)
    assert "127.0.0.1 is denied: loopback" in error.reason
    assert seen == []
    settings.EGRESS_ALLOWLIST = [f"127.0.0.1/32:{port}"]
    assert egress.request("GET", f"http://127.0.0.1:{port}/").content == b"ok"


def test_what_one_purpose_may_reach_is_not_lent_to_another(serve: Serve) -> None:
    port = serve(answering(OK))
    get(port)

    assert get_failure(port, allow=()).code == "blocked_address"
    assert get_failure(port, allow=[f"127.0.0.1:{port + 1}"]).code == "blocked_address"


def test_metadata_is_blocked_even_when_allowed(settings: Settings) -> None:
    settings.EGRESS_ALLOWLIST = ["0.0.0.0/0", "169.254.169.254:80"]

    assert failure("GET", "http://169.254.169.254/latest/", allow=["169.254.169.254:80"]).code == "blocked_address"


def test_one_bad_answer_among_good_ones_blocks_the_name(names: dict[str, list[list[str]]]) -> None:
    names["mixed.test"] = [["93.184.216.34", "10.0.0.1"]]

    assert failure("GET", "http://mixed.test/").code == "blocked_address"


def test_a_rebound_name_is_checked_again_on_each_new_connection(
    serve: Serve, names: dict[str, list[list[str]]]
) -> None:
    port = serve(answering(OK))
    names["rebind.test"] = [["127.0.0.1"], ["127.0.0.2"]]
    options: dict[str, Any] = {"allow": [f"127.0.0.1:{port}"], "reuse_connection": False}

    first = egress.request("GET", f"http://rebind.test:{port}/", **options)
    second = failure("GET", f"http://rebind.test:{port}/", **options)

    # The first connection went to the very answer that was checked: a second look-up would have been denied.
    assert (first.content, first.address) == (b"ok", "127.0.0.1")
    assert second.code == "blocked_address"


def test_a_name_without_address_fails_as_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_found(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(network, "lookup", not_found)

    error = failure("GET", "http://nowhere.test/")

    assert (error.code, error.retryable, error.sent) == ("dns", True, False)


def test_a_silent_name_server_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(network, "lookup", silent)
    monkeypatch.setattr(network, "DNS_TIMEOUT_SECONDS", 0.1)

    assert failure("GET", "http://silent.test/").code == "dns"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"X-A": "a\r\nX-B: b"}),
        ("GET", {"X-A": "a\x00"}),
        ("GET", {"X A": "a"}),
        ("GET", {"": "a"}),
        ("GET", {"X-A": "\ud800"}),
        ("GET", {"Transfer-Encoding": "chunked"}),
        ("GET", {"Host": "other.test"}),
        ("GET", {"X-A": "a" * 70_000}),
        ("GE T", {}),
        ("CONNECT", {}),
    ],
)
def test_headers_that_could_break_the_message_are_refused(method: str, headers: dict[str, str]) -> None:
    error = failure(method, "http://example.test/", headers=headers)

    assert (error.code, error.sent) == ("bad_header", False)


# --- Redirects -------------------------------------------------------------------------------


def test_a_redirect_to_a_blocked_address_is_blocked(serve: Serve) -> None:
    seen: list[bytes] = []
    inner = serve(answering(OK, seen))
    outer = serve(answering(answer_with(302, f"Location: http://127.0.0.1:{inner}/")))

    error = get_failure(outer)

    assert (error.code, error.public_message, error.sent) == ("blocked_address", egress.BLOCKED_MESSAGE, True)
    assert seen == []


def test_a_redirect_to_another_origin_loses_the_credentials(serve: Serve) -> None:
    seen: list[bytes] = []
    inner = serve(answering(OK, seen))
    middle = serve(answering(answer_with(307, f"Location: http://127.0.0.1:{inner}/end"), seen))
    first = serve(answering(answer_with(308, "Location: /again"), seen))
    chain = [f"127.0.0.1:{port}" for port in (inner, middle, first)]

    # Each API has its own name for the header that carries its key.
    headers = {"Authorization": "s3", "Private-Token": "s3", "Content-Type": "a/b", "X-Correlation-ID": "c1"}

    same = failure("PUT", f"http://{chain[2]}/", headers=headers, content=b"x", allow=chain)
    kept, seen[:] = list(seen), []
    response = egress.request("PUT", f"http://{chain[1]}/", headers=headers, content=b"x", allow=chain)

    assert (same.code, same.status_code, len(kept)) == ("redirect", 308, 6)
    assert all(b"authorization: s3" in request and b"private-token: s3" in request for request in kept)
    assert response.url == f"http://{chain[0]}/end"
    assert [request.count(b"s3") for request in seen] == [2, 0]
    assert b"content-type: a/b" in seen[1]
    assert b"x-correlation-id: c1" in seen[1]
    assert seen[1].startswith(b"PUT /end ")
    assert seen[1].endswith(b"x")


def test_see_other_turns_a_post_into_a_get_without_body(serve: Serve) -> None:
    seen: list[bytes] = []
    end = serve(answering(OK, seen))
    port = serve(answering(answer_with(303, f"Location: http://127.0.0.1:{end}/")))
    allow = [f"127.0.0.1:{port}", f"127.0.0.1:{end}"]

    egress.request("POST", f"http://127.0.0.1:{port}/", headers={"Content-Type": "a/b"}, content=b"x", allow=allow)

    assert seen[0].startswith(b"GET / ")
    assert b"content-" not in seen[0]


def test_redirects_are_refused_where_none_is_wanted(serve: Serve) -> None:
    port = serve(answering(answer_with(302, "Location: https://example.test/")))

    error = get_failure(port, max_redirects=0)

    assert (error.code, error.status_code, error.sent, error.retryable) == ("redirect", 302, True, False)


def test_a_redirect_out_of_http_is_a_bad_url(serve: Serve) -> None:
    port = serve(answering(answer_with(302, "Location: file:///etc/passwd")))

    assert get_failure(port).code == "bad_url"
