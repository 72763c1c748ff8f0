"""Bad input over HTTP: every answer is the contract's error body, nothing is stored, nothing breaks."""

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from tests import factories
from tests.api.refusals import GOOD, nothing_stored, refused, send
from tests.factories import drain_all
from workflows.models import Execution, StepAttempt, Workflow

pytestmark = pytest.mark.django_db


# --- Bodies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ('{"name":"x"', "json_invalid"),
        ("{'name':1}", "json_invalid"),
        ('{"name":"x"} y', "json_invalid"),
        ('{"name":NaN}', "json_invalid"),
        ('{"name":Infinity}', "json_invalid"),
        ('{"name":1e999}', "json_invalid"),
        ('{"name":%s}' % ("9" * 5000), "json_invalid"),
        ('{"name":"\\ud800"}', "json_invalid"),
        (b'{"name":"\xff"}', "json_invalid"),
        (b"\xff\xfe{\x00}\x00", "json_invalid"),
        ('{"name":"\\u0000"}', "string_nul"),
        ('{"a\\u0000":1}', "string_nul"),
        ('{"a":' * 300 + "1" + "}" * 300, "json_depth"),
        ("[" * 300 + "]" * 300, "json_depth"),
        ("[" * 100_000, "json_invalid"),
        ("[]", "value_error"),
        ("5", "value_error"),
        ('"text"', "value_error"),
        ("true", "value_error"),
        ("null", "missing"),
        ("", "missing"),
        ("   ", "missing"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_object_of_json_is_refused(service: Client, raw: Any, kind: str) -> None:
    for path in ("/workflows", "/api/v1/workflows"):
        body = refused(send(service, "POST", path, raw), 400, "VALIDATION_ERROR")
        assert body["errors"][0]["type"] == kind
    nothing_stored()


def test_a_body_over_the_bound_is_refused_and_names_it(service: Client, settings: Settings) -> None:
    raw = json.dumps(GOOD | {"description": "x" * settings.MAX_JSON_BODY_BYTES})

    body = refused(send(service, "POST", "/workflows", raw), 400, "VALIDATION_ERROR")

    assert body["detail"] == f"The body is too large. Maximum size: {settings.MAX_JSON_BODY_BYTES} bytes"
    nothing_stored()


def test_a_definition_over_its_own_bound_is_refused_and_names_it(service: Client) -> None:
    raw = json.dumps(GOOD | {"description": "{{a}}" * 400_000})

    body = refused(send(service, "POST", "/workflows", raw), 400, "VALIDATION_ERROR")

    assert "at most 1048576 are allowed" in body["detail"]
    nothing_stored()


def test_of_a_key_given_twice_the_last_counts(service: Client) -> None:
    raw = '{"name":"first","name":"last","workflow_config":{"steps":[]}}'

    assert send(service, "POST", "/workflows", raw).json()["name"] == "last"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "junk", ";;;", "ÿ"]
)
def test_another_content_type_is_refused(service: Client, content_type: str) -> None:
    refused(send(service, "POST", "/workflows", json.dumps(GOOD), content_type), 415, "UNSUPPORTED_MEDIA_TYPE")
    nothing_stored()


def test_a_million_wrong_items_get_a_short_answer(service: Client) -> None:
    answer = send(
        service, "POST", "/workflows", '{"name":"x","trigger_type":"manual","steps":[' + "1," * 300_000 + "1]}"
    )

    body = refused(answer, 400, "VALIDATION_ERROR")
    assert body["detail"] == "Invalid workflow: steps: item 0 must be an object"
    assert len(answer.content) < 1000
    nothing_stored()


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"trigger_data": [1]}, "trigger_data"),
        ({"trigger_data": "x"}, "trigger_data"),
        ({"input_data": 5}, "input_data"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": []}, "priority"),
        ({"priority": {}}, "priority"),
    ],
)
def test_a_start_with_wrong_data_is_refused(service: Client, data: dict[str, Any], place: str) -> None:
    workflow = send(service, "POST", "/workflows", json.dumps(GOOD)).json()

    for action in ("execute", "trigger"):
        answer = send(service, "POST", f"/workflows/{workflow['id']}/{action}", json.dumps(data))
        assert refused(answer, 400, "VALIDATION_ERROR")["errors"][0]["loc"] == ["body", place]
    assert not Execution.objects.exists()


def test_nine_megabytes_of_trigger_data_run_and_do_not_stick(service: Client) -> None:
    steps = [
        {"name": "all", "type": "log", "config": {"message": "{{trigger}}"}, "max_retries": 0, "on_error": "continue"},
        {"name": "after", "type": "log", "config": {"message": "still here"}},
    ]
    workflow = send(
        service, "POST", "/workflows", json.dumps({"name": "W", "workflow_config": {"steps": steps}})
    ).json()

    answer = send(
        service, "POST", f"/workflows/{workflow['id']}/execute", json.dumps({"trigger_data": {"a": "x" * 9_000_000}})
    )
    drain_all()

    execution = Execution.objects.get(pk=answer.json()["execution_id"])
    assert execution.status == "completed"
    assert StepAttempt.objects.get(execution=execution, step_name="after").status == "completed"
    assert not execution.branches.exists()


def test_what_an_accepted_workflow_holds_never_breaks_the_list(service: Client) -> None:
    """A type that is no text once made a workflow that every list answered with a 500."""
    bad = GOOD | {"trigger_config": {"type": []}}
    refused(send(service, "POST", "/workflows", json.dumps(bad)), 400, "VALIDATION_ERROR")
    owner = factories.make_owner()
    Workflow.objects.create(
        owner=owner, name="old", trigger_config={"type": []}, workflow_config={"steps": [1, {}, []]}
    )

    [listed] = service.get("/workflows").json()

    assert listed["trigger_type"] == "manual"


# --- Paths, queries, headers ----------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["0", "-1", "1.5", "nonsense", "9" * 19, "9" * 40, "%0a", "1%0A", "%ff", "{}", ";", "1e3"]
)
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/files/{}", "FILE_NOT_FOUND"),
        ("DELETE", "/files/{}", "FILE_NOT_FOUND"),
        ("POST", "/files/{}/process", "FILE_NOT_FOUND"),
        ("GET", "/files/{}/extract", "FILE_NOT_FOUND"),
        ("GET", "/files/{}/download", "FILE_NOT_FOUND"),
        ("GET", "/workflows/{}", "WORKFLOW_NOT_FOUND"),
        ("PUT", "/workflows/{}", "WORKFLOW_NOT_FOUND"),
        ("DELETE", "/workflows/{}", "WORKFLOW_NOT_FOUND"),
        ("POST", "/workflows/{}/execute", "WORKFLOW_NOT_FOUND"),
        ("GET", "/workflows/{}/executions", "WORKFLOW_NOT_FOUND"),
        ("GET", "/workflows/{}/status", "WORKFLOW_NOT_FOUND"),
        ("GET", "/workflows/executions/{}", "EXECUTION_NOT_FOUND"),
        ("GET", "/workflows/executions/{}/steps", "EXECUTION_NOT_FOUND"),
        ("POST", "/workflows/executions/{}/cancel", "EXECUTION_NOT_FOUND"),
        ("POST", "/workflows/steps/{}/retry", "STEP_NOT_FOUND"),
    ],
)
def test_an_unknown_id_is_missing(service: Client, method: str, path: str, code: str, key: str) -> None:
    for prefix in ("", "/api/v1"):
        refused(send(service, method, prefix + path.format(key), b""), 404, code)


@pytest.mark.parametrize("path", ["/workflows", "/files", "/executions", "/workflows/executions"])
@pytest.mark.parametrize(
    ("query", "name"),
    [
        *(("limit=" + value, "limit") for value in ("-1", "0", "x", "1e3", "1.5", "%20", "%FF", "%D9%A3", "--1")),
        *(("offset=" + value, "offset") for value in ("-1", "x", "NaN", "%EF%BC%91")),
        ("limit=1&limit=x", "limit"),
    ],
)
def test_junk_in_a_page_is_refused_by_name(service: Client, path: str, query: str, name: str) -> None:
    body = refused(service.get(f"{path}?{query}"), 400, "VALIDATION_ERROR")

    assert body["errors"][0]["loc"] == ["query", name]


@pytest.mark.parametrize("path", ["/workflows", "/files", "/executions"])
@pytest.mark.parametrize(
    "query", ["limit=" + "9" * 3000, "offset=" + "9" * 3000, "status=%FF", "enabled=perhaps", "format=xml"]
)
def test_what_a_list_can_clamp_or_ignore_is_an_empty_page(service: Client, path: str, query: str) -> None:
    assert service.get(f"{path}?{query}").json() == []


@pytest.mark.parametrize("value", ["x", "-1", "9" * 100, "9" * 5000, "%D9%A3", "1.0"])
def test_a_junk_workflow_id_in_a_query_is_refused_by_name(service: Client, value: str) -> None:
    body = refused(service.get(f"/executions?workflow_id={value}"), 400, "VALIDATION_ERROR")

    assert body["errors"][0]["loc"] == ["query", "workflow_id"]


@pytest.mark.parametrize("path", ["/%00", "/workflows/%00", "/files?status=%00", "/workflows?x=a%00b"])
def test_u0000_in_a_url_is_refused(service: Client, path: str) -> None:
    refused(service.get(path), 400, "BAD_REQUEST")


@pytest.mark.parametrize("path", ["/admin/", "/workflows", "/health"])
def test_u0000_in_a_cookie_is_refused(anyone: Client, path: str) -> None:
    """It once reached the session's table: the admin answered 500."""
    body = refused(anyone.get(path, headers={"Cookie": 'sessionid="\\000abcdefghijk"'}), 400, "BAD_REQUEST")

    assert body["detail"] == "The character U+0000 is not allowed in a cookie"


@pytest.mark.parametrize("method", ["FOO", "TRACE", "PATCH", "PROPFIND", "CONNECT", "DELETE"])
def test_an_unknown_method_is_refused(service: Client, method: str) -> None:
    for path in ("/workflows", "/files/upload", "/executions"):
        refused(service.generic(method, path), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "ÿþ"},
        {"X-API-Key": "x" * 8000},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Bearer a b c"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer " + "a." * 1000},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
        {"Authorization": "ÿ"},
        {"Cookie": "sessionid=" + "x" * 4000},
    ],
    ids=repr,
)
def test_wrong_credentials_are_refused_everywhere(anyone: Client, headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/workflows"),
        ("GET", "/files/1"),
        ("POST", "/files/upload"),
        ("GET", "/executions"),
    ):
        refused(
            anyone.generic(method, path, data=b"{", content_type="application/json", headers=headers),
            401,
            "UNAUTHORIZED",
        )
    nothing_stored()


@pytest.mark.parametrize("key", ["x" * 200, "ÿþ", "a b", "'; --"], ids=repr)
def test_an_idempotency_key_may_hold_anything(service: Client, key: str) -> None:
    path = f"/workflows/{send(service, 'POST', '/workflows', json.dumps(GOOD)).json()['id']}/execute"

    answers = [service.generic("POST", path, headers={"Idempotency-Key": key}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["execution_id"] == answers[1].json()["execution_id"]
    assert Execution.objects.count() == 1


def test_an_idempotency_key_over_the_bound_is_refused(service: Client) -> None:
    path = f"/workflows/{send(service, 'POST', '/workflows', json.dumps(GOOD)).json()['id']}/execute"

    answer = service.generic("POST", path, headers={"Idempotency-Key": "x" * 201})

    assert refused(answer, 400, "VALIDATION_ERROR")["detail"] == "Idempotency-Key must have at most 200 characters"
    assert not Execution.objects.exists()


@pytest.mark.parametrize(
    "number", ["1e308", "1180591620717411303424", "18446744073709551615", "-9223372036854775809", "5e-324"]
)
def test_numbers_that_no_machine_word_holds_can_be_run_and_listed(service: Client, number: str) -> None:
    """jsonb gives 1e308 back as an integer of 309 digits; the list of executions once answered it with a 500."""
    steps = [
        {
            "name": "a",
            "type": "data_transform",
            "config": {"source_data": "{{trigger}}", "transformations": [{"type": "extract", "path": "a", "key": "k"}]},
        }
    ]
    made = send(service, "POST", "/workflows", json.dumps({"name": "W", "workflow_config": {"steps": steps}})).json()

    raw = f'{{"trigger_data":{{"a":{number}}}}}'
    started = send(service, "POST", f"/workflows/{made['id']}/execute", raw).json()
    drain_all()

    [listed] = service.get("/executions").json()
    whole = service.get(f"/workflows/executions/{started['execution_id']}").json()
    assert listed["status"] == whole["status"] == "completed"
    assert float(whole["result_data"]["a"]["k"]) == float(listed["trigger_data"]["a"]) == float(number)


@pytest.mark.parametrize(
    "text", ["", "x" * 3000, "*/0 * * * *", "61 * * * *", "%D9%A3 * * * *", "0 0 31 2 *", "@reboot", "1,,2 * * * *"]
)
def test_a_bad_cron_expression_is_only_a_verdict(service: Client, text: str) -> None:
    answer = service.post("/workflows/validate-cron?cron_expression=" + text.replace(" ", "%20"))

    assert (answer.status_code, answer.json()["is_valid"]) == (200, False)


# --- Anything -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = [
    *("name", "description", "workflow_config", "trigger_config", "cron_schedule", "is_scheduled", "status", "steps"),
    *("trigger_on_file_upload", "trigger_file_extensions", "is_enabled", "max_retries", "timeout_seconds"),
    *("trigger_type", "enabled", "config", "cron_expression", "triggers"),
]
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(body=BODIES)
def test_no_body_makes_a_500_and_every_accepted_workflow_can_be_read_and_started(service: Client, body: Any) -> None:
    for raw in (body, {**GOOD, **body}):
        answer = send(service, "POST", "/workflows", json.dumps(raw))

        if answer.status_code == 400:
            refused(answer, 400, "VALIDATION_ERROR")
            continue
        assert answer.status_code in {200, 201}
        workflow = answer.json()
        assert service.get(f"/workflows/{workflow['id']}").status_code == 200
        assert service.get("/workflows?limit=3").status_code == 200
        assert service.generic("POST", f"/workflows/{workflow['id']}/execute").status_code in {200, 400}
