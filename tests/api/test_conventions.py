"""Headers, slashes, CORS, JSON, limits (contract sections 1 and 3)."""

import json
import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import User
from core.api import ratelimit
from core.api.pagination import LARGEST_OFFSET
from core.api.renderers import dumps
from tests.api.conftest import SERVICE_KEY, Unread, call_wsgi

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.api.probe_urls")]

JSON = "application/json"


# Ids and times


def test_the_request_id_comes_back(anyone: Client) -> None:
    assert anyone.get("/live", headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"


@pytest.mark.parametrize("bad", ["", "x" * 129, "with space", "ünïcode", "tab\there"])
def test_an_unusable_request_id_is_replaced_by_a_uuid(anyone: Client, bad: str) -> None:
    given = anyone.get("/live", headers={"X-Request-ID": bad}).headers["X-Request-ID"]

    assert str(uuid.UUID(given)) == given


def test_every_answer_says_its_time_and_correlation(anyone: Client) -> None:
    for path in ("/live", "/nope", "/probe/users"):
        headers = anyone.get(path, headers={"X-Correlation-ID": "corr-1"}).headers
        assert headers["X-Correlation-ID"] == "corr-1"
        assert 0 <= float(headers["X-Process-Time"]) < 10


# Slashes


@pytest.mark.parametrize("path", ["/live", "/health", "/probe/users", "/openapi.json", "/nope"])
def test_a_trailing_slash_changes_nothing(service: Client, path: str) -> None:
    plain, slashed = service.get(path), service.get(f"{path}/")

    assert slashed.status_code == plain.status_code
    assert not 300 <= slashed.status_code < 400


def test_a_post_with_a_slash_keeps_its_body(service: Client) -> None:
    assert service.post("/probe/echo/", {"a": 1}, content_type=JSON).json()["data"] == {"a": 1}


def test_the_admin_keeps_its_slashes(anyone: Client) -> None:
    assert anyone.get("/admin/login/").status_code == 200
    assert anyone.get("/admin").headers["Location"] == "/admin/login/?next=/admin"


# JSON out


def test_json_is_compact_with_utc_times_and_plain_unicode(service: Client) -> None:
    content = service.get("/probe/execute").content.decode()

    assert content.startswith('{"at":"20')
    assert content.endswith('Z","name":"Ünïcode","list":[1,2]}')


def test_json_holds_what_orjson_refuses() -> None:
    assert dumps({"big": 2**70}) == b'{"big":1180591620717411303424}'
    assert dumps({"nan": float("nan")}) == b'{"nan":null}'
    assert dumps({1: 2}) == b'{"1":2}'


@pytest.mark.parametrize("accept", ["text/plain", "application/xml", "nonsense", "*/*", "application/json"])
def test_an_unservable_accept_header_gets_json(service: Client, accept: str) -> None:
    response = service.get("/probe/execute", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == JSON


def test_a_browser_gets_the_browsable_api(service: Client) -> None:
    response = service.get("/probe/execute", headers={"Accept": "text/html"})

    assert response.headers["Content-Type"].startswith("text/html")


# JSON in


@pytest.mark.parametrize("body", ["", " \n", "{}", "null"])
def test_an_optional_body_may_be_absent_or_empty(service: Client, body: str) -> None:
    assert service.post("/probe/echo", body, content_type=JSON).json()["optional"] == {}


def test_a_body_without_a_content_type_is_json(service: Client) -> None:
    assert service.post("/probe/echo", b'{"a":1}', content_type="").json()["data"] == {"a": 1}


def test_a_byte_order_mark_is_tolerated(service: Client) -> None:
    assert service.post("/probe/echo", b'\xef\xbb\xbf{"a":1}', content_type=JSON).json()["data"] == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1,]",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\ud800"}',
        b"\xff\xfe",
        b"'x'",
        b"[" * 100_000,
        b"1e999",
    ],
    ids=["open", "comma", "nan", "infinity", "surrogate", "not utf-8", "quotes", "only brackets", "overflow"],
)
def test_malformed_json_is_a_clean_400(service: Client, body: bytes) -> None:
    response = service.post("/probe/echo", body, content_type=JSON)

    assert response.status_code == 400
    assert response.json()["error_code"] == "VALIDATION_ERROR"
    assert response.json()["errors"][0]["loc"][0] == "body"


def test_depth_is_bounded_and_the_error_names_field_and_bound(service: Client) -> None:
    deepest, too_deep = ('{"config":' + "[" * n + "]" * n + "}" for n in (99, 299))

    assert service.post("/probe/echo", deepest, content_type=JSON).status_code == 200
    response = service.post("/probe/echo", too_deep, content_type=JSON)

    assert response.status_code == 400
    assert response.json()["detail"] == "config: nested deeper than 100 levels"
    assert response.json()["errors"] == [
        {"loc": ["body", "config"], "msg": "config: nested deeper than 100 levels", "type": "json_depth"}
    ]


def test_many_shallow_brackets_are_not_deep(service: Client) -> None:
    assert service.post("/probe/echo", json.dumps([{}] * 5000), content_type=JSON).status_code == 400  # not an object
    body = json.dumps({"items": [{}] * 5000})
    assert service.post("/probe/echo", body, content_type=JSON).status_code == 200


def test_nul_is_refused_by_name(service: Client) -> None:
    response = service.post("/probe/echo", b'{"steps":[{"name":"a\\u0000b"}]}', content_type=JSON)

    assert response.status_code == 400
    assert response.json()["detail"] == "steps.0.name: the character U+0000 is not allowed"
    assert response.json()["errors"][0]["loc"] == ["body", "steps", 0, "name"]


def test_an_escaped_backslash_before_u0000_is_text(service: Client) -> None:
    response = service.post("/probe/echo", b'{"a":"\\\\u0000"}', content_type=JSON)

    assert response.json()["data"] == {"a": "\\u0000"}


@pytest.mark.parametrize("path", ["/live?x=%00", "/a%00b"])
def test_nul_in_a_url_is_refused(anyone: Client, path: str) -> None:
    assert anyone.get(path).status_code == 400


def test_a_chunked_body_is_refused_rather_than_lost() -> None:
    status, _, content = call_wsgi("/probe/echo", Unread(0), length="", HTTP_TRANSFER_ENCODING="chunked")

    assert status.startswith("411")
    assert json.loads(content)["error_code"] == "LENGTH_REQUIRED"


# Large bodies


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/probe/echo", "wrong", "401"),
        ("/nope", "wrong", "404"),
        ("/nope", SERVICE_KEY, "404"),
        ("/probe/echo", "", "401"),
    ],
)
def test_a_gigabyte_from_nobody_is_refused_unread(path: str, key: str, status: str) -> None:
    body = Unread(0)

    answered, _, _ = call_wsgi(path, body, length=str(2**30), HTTP_X_API_KEY=key)

    assert answered.startswith(status)
    assert body.read_bytes == 0


def test_a_large_body_is_refused_by_its_length_unread(settings: Settings) -> None:
    settings.MAX_JSON_BODY_BYTES = 1000
    body = Unread(0)

    status, _, content = call_wsgi("/probe/echo", body, length="1001", HTTP_X_API_KEY=SERVICE_KEY)

    assert status.startswith("400")
    assert json.loads(content)["detail"] == "The body is too large. Maximum size: 1000 bytes"


def test_a_body_within_the_bound_is_read(service: Client, settings: Settings) -> None:
    settings.MAX_JSON_BODY_BYTES = 1000

    assert service.post("/probe/echo", b'{"a":"' + b"x" * 992 + b'"}', content_type=JSON).status_code == 200


def test_a_huge_form_for_the_admin_is_refused_unread() -> None:
    body = Unread(0)

    status, _, _ = call_wsgi("/admin/login/", body, length=str(2**30), CONTENT_TYPE="multipart/form-data; boundary=x")

    assert status.startswith("413")
    assert body.read_bytes == 0


# CORS


def test_any_origin_may_read_but_never_with_credentials(anyone: Client, settings: Settings) -> None:
    settings.CORS_ORIGINS, settings.CORS_ALLOW_CREDENTIALS = ["*"], True

    headers = anyone.get("/live", headers={"Origin": "https://a.example"}).headers

    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers
    assert "X-Total-Count" in headers["Access-Control-Expose-Headers"]


def test_a_listed_origin_is_echoed_and_others_are_not(anyone: Client, settings: Settings) -> None:
    settings.CORS_ORIGINS, settings.CORS_ALLOW_CREDENTIALS = ["https://a.example"], True

    listed, other = (anyone.get("/live", headers={"Origin": f"https://{name}.example"}).headers for name in "ab")

    assert listed["Access-Control-Allow-Origin"] == "https://a.example"
    assert listed["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in listed["Vary"]
    assert "Origin" in other["Vary"]
    assert "Access-Control-Allow-Origin" not in other


def test_a_preflight_is_answered_without_credentials(anyone: Client) -> None:
    response = anyone.options(
        "/probe/echo", headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    )

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, PUT, DELETE, PATCH, OPTIONS"
    assert response.headers["Access-Control-Max-Age"] == "600"
    allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "X-API-Key", "X-Correlation-ID", "X-Service-Name", "Pragma"} <= set(allowed)


def test_an_operator_says_what_a_preflight_allows(anyone: Client, settings: Settings) -> None:
    settings.CORS_ALLOW_METHODS, settings.CORS_ALLOW_HEADERS = ["GET", "POST"], ["X-API-Key", "Idempotency-Key"]

    headers = anyone.options(
        "/probe/echo", headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    ).headers

    assert headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert headers["Access-Control-Allow-Headers"] == "X-API-Key, Idempotency-Key"


def test_without_an_origin_there_is_no_cors(anyone: Client) -> None:
    assert not any(name.startswith("Access-Control") for name in anyone.get("/live").headers)


# Lists


@pytest.fixture
def five_users() -> list[str]:
    return [User.objects.create_user(f"{name}@example.com").email for name in "abcde"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["a", "b"]),
        ("?limit=3", ["a", "b", "c"]),
        ("?limit=2&offset=4", ["e"]),
        ("?offset=9", []),
        ("?limit=99999999999999999999999", ["a", "b", "c", "d", "e"]),
        (f"?offset={LARGEST_OFFSET * 10**9}", []),
    ],
)
@pytest.mark.usefixtures("five_users")
def test_a_list_is_a_bare_array_with_its_total(service: Client, query: str, expected: list[str]) -> None:
    response = service.get(f"/probe/users{query}")

    assert [item["email"][0] for item in response.json()] == expected
    assert response.headers["X-Total-Count"] == "5"


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "offset=-1", "limit=ten", "limit=1.5", "offset=%C2%B2"])
def test_a_bad_limit_is_refused_by_name(service: Client, query: str) -> None:
    response = service.get(f"/probe/users?{query}")

    assert response.status_code == 400
    assert response.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


@pytest.mark.usefixtures("five_users")
@pytest.mark.parametrize(("limit", "queries"), [(10, 1), (2, 2)])
def test_a_list_counts_only_if_it_must(service: Client, limit: int, queries: int) -> None:
    service.get("/live")  # the service owner is known from here on

    with CaptureQueriesContext(connection) as captured:
        service.get(f"/probe/users?limit={limit}")

    assert len([q for q in captured if '"users"' in q["sql"]]) == queries


# Rate limits


@pytest.fixture
def limits(settings: Settings, unique: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    settings.RATE_LIMIT_ENABLED = True
    settings.RATE_LIMITS = {"default": 3, "execute": 1, "workflow_create": 2, "monitoring": 3}
    settings.SERVICE_API_KEYS = [unique]
    ratelimit._counters.clear()
    monkeypatch.setattr(ratelimit.time, "time", lambda: 1_800_000_030.0)
    keys = ratelimit._counter(settings.REDIS_URL)._client
    for key in keys.scan_iter("ratelimit:*:30000000"):
        keys.delete(key)
    limits: dict[str, int] = settings.RATE_LIMITS
    return limits


@pytest.mark.usefixtures("limits")
def test_the_limit_is_told_and_then_enforced(anyone: Client, unique: str) -> None:
    answers = [anyone.get("/probe/users", headers={"X-API-Key": unique}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert {answer.headers["X-RateLimit-Reset"] for answer in answers} == {"1800000060"}
    assert answers[3].headers["Retry-After"] == "30"
    assert answers[3].json()["error_code"] == "RATE_LIMITED"


@pytest.mark.usefixtures("limits")
def test_each_bucket_counts_for_itself(anyone: Client, unique: str) -> None:
    headers = {"X-API-Key": unique}

    executes = [anyone.post("/probe/execute", headers=headers).status_code for _ in range(2)]
    creates = [anyone.post("/probe/limited", headers=headers).status_code for _ in range(3)]
    reads = [anyone.get("/probe/limited", headers=headers).status_code for _ in range(4)]

    assert (executes, creates, reads) == ([200, 429], [200, 200, 429], [200, 200, 200, 429])


@pytest.mark.usefixtures("limits")
def test_each_key_of_the_environment_counts_for_itself(anyone: Client, unique: str, settings: Settings) -> None:
    settings.SERVICE_API_KEYS = [unique, f"{unique}-internal"]

    answers = [anyone.get("/probe/users", headers={"X-API-Key": key}) for key in [*settings.SERVICE_API_KEYS] * 3]

    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.usefixtures("limits")
def test_zero_lifts_a_limit(anyone: Client, unique: str, settings: Settings) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"default": 0}

    answers = [anyone.get("/probe/users", headers={"X-API-Key": unique}) for _ in range(6)]

    assert {answer.status_code for answer in answers} == {200}
    assert "X-RateLimit-Limit" not in answers[0].headers


@pytest.mark.usefixtures("limits")
def test_without_redis_requests_are_not_limited(anyone: Client, unique: str, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    answers = [anyone.get("/probe/users", headers={"X-API-Key": unique}) for _ in range(6)]

    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.usefixtures("limits")
def test_probes_are_not_limited(anyone: Client) -> None:
    assert {anyone.get("/live").status_code for _ in range(6)} == {200}
