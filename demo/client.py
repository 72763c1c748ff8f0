"""What the demo asks of the product, over HTTP as any client would."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from demo.errors import DemoError
from demo.workflow import DEFINITION, NAME

PAGE = 1000
TIMEOUT_SECONDS = 30.0


class Client:
    """Speaks to one running product. Raises DemoError where it does not answer or refuses."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"X-API-Key": key, "X-Correlation-ID": "demo"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def switch_on(self) -> int:
        """Make the demo's workflow, or bring the one of an earlier demo up to date; returns its id."""
        for found in self._ask("GET", "/api/v1/workflows", params={"limit": PAGE}):
            if found["name"] == NAME:
                return int(self._ask("PUT", f"/api/v1/workflows/{found['id']}", json=DEFINITION)["id"])
        return int(self._ask("POST", "/api/v1/workflows", json=DEFINITION)["id"])

    def switch_off(self, workflow_id: int) -> None:
        """Let it not run for the documents of others."""
        self._ask("PUT", f"/api/v1/workflows/{workflow_id}", json={"is_enabled": False})

    def upload(self, path: Path, *, sent: Callable[[int], None]) -> int:
        """Upload a document; `sent` is told of every part that left. Returns the file's id."""
        return int(self._ask("POST", "/files/upload", files={"file": (path.name, _Watched(path, sent))})["id"])

    def file(self, file_id: int) -> dict[str, Any]:
        return dict(self._ask("GET", f"/files/{file_id}"))

    def find_execution(self, workflow_id: int, file_id: int) -> dict[str, Any] | None:
        """Return the execution that a file has started, if it has by now."""
        for found in self._ask("GET", f"/api/v1/workflows/{workflow_id}/executions"):
            if found["input_file_ids"] == [file_id]:
                return dict(found)
        return None

    def execution(self, execution_id: int) -> dict[str, Any]:
        return dict(self._ask("GET", f"/api/v1/workflows/executions/{execution_id}"))

    def steps(self, execution_id: int) -> list[dict[str, Any]]:
        return list(self._ask("GET", f"/api/v1/workflows/executions/{execution_id}/steps"))

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise DemoError(f"{self._http.base_url} does not answer: {error}") from error
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise DemoError("The key is not accepted: set API_KEY to the one that the running product has")
        if answer.is_success:
            return answer.json()
        try:
            reason = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            reason = answer.text[:200]
        raise DemoError(f"{method} {path} answered {answer.status_code}: {reason}")


class _Watched(io.BytesIO):
    """A document's bytes, telling how many were taken."""

    def __init__(self, path: Path, sent: Callable[[int], None]) -> None:
        super().__init__(path.read_bytes())
        self._sent = sent

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._sent(len(data))
        return data
