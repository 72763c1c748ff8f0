"""What /openapi.json promises to generated clients."""

from typing import Any

import pytest
from django.test import Client

from tests.api.test_workflows_api import Api

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    found: dict[str, Any] = Client().get("/openapi.json").json()
    return found


def test_every_operation_names_the_error_body(schema: dict[str, Any]) -> None:
    operations = [item for path in schema["paths"].values() for item in path.values()]
    named = [item["responses"]["default"]["$ref"] for item in operations]
    described = schema["components"]["responses"]["Error"]["content"]["application/json"]["schema"]

    assert set(named) == {"#/components/responses/Error"}
    assert len(named) > 90
    assert described == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize(
    ("path", "status"), [("/workflows/0", 404), ("/workflows?limit=x", 400), ("/nowhere", 404), ("/workflows/0", 401)]
)
def test_errors_are_as_they_are_described(schema: dict[str, Any], path: str, status: int) -> None:
    described = schema["components"]["schemas"]["Error"]
    client = Client() if status == 401 else Api().client

    answer = client.get(path)

    assert answer.status_code == status
    assert set(described["required"]) <= set(answer.json()) <= set(described["properties"])
    for problem in answer.json().get("errors", []):
        assert set(problem) == set(schema["components"]["schemas"]["Problem"]["required"])


@pytest.mark.parametrize("what", ["execute", "trigger", "draft/run"])
def test_starts_name_the_header_that_makes_them_safe_to_repeat(schema: dict[str, Any], what: str) -> None:
    parameters = schema["paths"][f"/workflows/{{key}}/{what}"]["post"]["parameters"]

    assert ("Idempotency-Key", "header") in [(item["name"], item["in"]) for item in parameters]
