"""The client of the suite: stubborn over connections that break, exact about what was answered."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE_SECONDS = 90.0
ASK_TIMEOUT_SECONDS = 10.0


class UnansweredError(Exception):
    """The server gave no usable answer for as long as we were ready to ask."""


@dataclass(frozen=True)
class Answer:
    """A 200 answer, and how long it took to get, asking again included."""

    body: Any
    seconds: float


class Api:
    """Asks again when a connection breaks or the server says 5xx; anything else but 2xx is an error of the suite."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self._client = httpx.Client(
            base_url=base_url, headers={"X-API-Key": key}, timeout=ASK_TIMEOUT_SECONDS, trust_env=False
        )

    def close(self) -> None:
        self._client.close()

    def create_workflow(self, body: dict[str, Any]) -> int:
        return int(self._ask(lambda: self._client.post("/workflows", json=body)).body["id"])

    def disable(self, workflow_id: int) -> None:
        self._ask(lambda: self._client.put(f"/workflows/{workflow_id}", json={"is_enabled": False}))

    def upload(self, name: str, content: bytes) -> int:
        """Upload a document; returns the file's id of the answer that came."""
        return int(self._ask(lambda: self._client.post("/files/upload", files={"file": (name, content)})).body["id"])

    def trigger(self, workflow_id: int, data: dict[str, Any], *, key: str) -> Answer:
        """Start an execution; `body` is its id. Asking again uses the same key, so it is the same execution."""
        path, headers = f"/workflows/{workflow_id}/trigger", {"Idempotency-Key": key}
        answer = self._ask(lambda: self._client.post(path, json={"trigger_data": data}, headers=headers))
        return Answer(int(answer.body["execution_id"]), answer.seconds)

    def publish(self, event_type: str, data: dict[str, Any], *, key: str) -> None:
        """Publish an event; asking again uses the same key, so it is the same event."""
        body = {"event_type": event_type, "aggregate_type": "payment", "aggregate_id": key, "data": data}
        self._ask(lambda: self._client.post("/api/v1/events/publish", json=body, headers={"Idempotency-Key": key}))

    def executions(self, workflow_id: int) -> list[dict[str, Any]]:
        path = f"/workflows/{workflow_id}/executions"
        found: list[dict[str, Any]] = self._ask(lambda: self._client.get(path, params={"limit": 1000})).body
        return found

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest executions of all workflows."""
        found: list[dict[str, Any]] = self._ask(lambda: self._client.get("/executions", params={"limit": limit})).body
        return found

    def saga(self, execution_id: int) -> dict[str, Any] | None:
        """Return what an execution undid, None if nothing."""
        path = f"/api/v1/workflows/executions/{execution_id}/compensation"
        try:
            found: dict[str, Any] = self._ask(lambda: self._client.get(path)).body
        except UnansweredError as error:
            if " 404 " in str(error):
                return None
            raise
        return found

    def retry_saga(self, execution_id: int) -> None:
        """Try again what an execution could not undo."""
        self._ask(lambda: self._client.post(f"/api/v1/workflows/executions/{execution_id}/compensation/retry"))

    def pending_approval(self, execution_id: int) -> str | None:
        """Return the id of what an execution asks, if it asks."""
        params: dict[str, Any] = {"pending": "true", "limit": 1000}
        found = self._ask(lambda: self._client.get("/api/v1/approvals", params=params)).body
        return next((item["id"] for item in found if item["execution_id"] == execution_id), None)

    def approve(self, approval_id: str) -> None:
        """Approve; that it is decided already, by ourselves before an answer that was lost, is as good."""
        path = f"/api/v1/approvals/{approval_id}"
        try:
            self._ask(lambda: self._client.post(f"{path}/approve", json={}))
        except UnansweredError:
            if self._ask(lambda: self._client.get(path)).body["status"] != "approved":
                raise

    def execution(self, execution_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(lambda: self._client.get(f"/api/v1/workflows/executions/{execution_id}")).body
        return found

    def steps(self, execution_id: int) -> list[dict[str, Any]]:
        path = f"/api/v1/workflows/executions/{execution_id}/steps"
        found: list[dict[str, Any]] = self._ask(lambda: self._client.get(path)).body
        return found

    def file(self, file_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(lambda: self._client.get(f"/files/{file_id}")).body
        return found

    def is_live(self) -> bool:
        try:
            return self._client.get("/live", timeout=2).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _ask(self, send: Callable[[], httpx.Response]) -> Answer:
        asked_at = time.monotonic()
        while True:
            try:
                response = send()
                if response.is_success:
                    return Answer(response.json(), time.monotonic() - asked_at)
                problem = f"{response.status_code} {response.text[:500]}"
                if not response.is_server_error:
                    raise UnansweredError(f"{response.request.method} {response.request.url}: {problem}")
            except httpx.TransportError as error:
                problem = repr(error)
            if time.monotonic() > asked_at + PATIENCE_SECONDS:
                raise UnansweredError(problem)
            time.sleep(0.05)
