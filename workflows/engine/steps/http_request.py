"""`http_request`: call an HTTP API through the egress guard (contract 13.3)."""

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import Field, field_validator

from core import breaker, clock, egress
from workflows.choices import Effect, Lane
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError, Wait
from workflows.engine.steps.registry import register

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
# What says that the host is down, not that this request was wrong.
HOST_IS_DOWN = frozenset({"dns", "refused", "tls", "timeout", "reset"})
TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
FIRST_CLIENT_ERROR, FIRST_SERVER_ERROR = 400, 500


class HttpRequestConfig(StepConfig):
    url: str = ""
    method: str = "GET"
    headers: dict[str, Any] = Field(default_factory=dict)
    params: dict[str, Any] | None = None
    data: Any = None
    json_body: Any = Field(default=None, alias="json")
    body: Any = None
    timeout: float = Field(default=30, gt=0, le=3600)
    expected_status: int | list[int] | None = None
    auth: dict[str, Any] | None = None

    @field_validator("method")
    @classmethod
    def known_method(cls, value: str) -> str:
        if value.upper() not in METHODS:
            raise ValueError(f"must be one of {', '.join(sorted(METHODS))}")
        return value.upper()


@register
class HttpRequestStep(Step[HttpRequestConfig]):
    type = "http_request"
    title = "HTTP request"
    config_model = HttpRequestConfig
    output_keys = ("status_code", "headers", "body", "json")
    effect = Effect.IDEMPOTENT
    lane = Lane.IO

    def run(self, config: HttpRequestConfig, context: StepContext) -> Output | Wait:
        if not config.url:
            raise StepError("config_invalid", "url is required", retryable=False, effect_happened=False)
        host = urlsplit(config.url).netloc.rpartition("@")[2].lower()
        breaker_key = f"{context.owner_id}:{host}"
        if opening := breaker.find_opening(breaker_key):
            until = datetime.fromtimestamp(opening.until, UTC)
            reason = f"waits for {host}, which failed {opening.failures} times in a row; next try {until:%H:%M:%S} UTC"
            return Wait(until=until, reason=reason)
        return self._send(config, context, breaker_key)

    def _send(self, config: HttpRequestConfig, context: StepContext, breaker_key: str) -> Output:
        content, headers = request_parts(config, context)
        seconds_left = max((context.deadline - clock.now()).total_seconds(), 0.001)
        try:
            response = egress.request(
                config.method,
                config.url,
                headers=headers,
                params=config.params,
                content=content,
                timeout_seconds=min(config.timeout, seconds_left),
                cancelled=context.cancel_requested,
                # A kept connection may turn out to be stale, and nobody can tell that from a lost answer.
                reuse_connection=context.effect != Effect.ONCE,
            )
        except egress.EgressError as error:
            if error.code in HOST_IS_DOWN:
                breaker.record_failure(breaker_key)
            raise egress_failure(error) from error
        breaker.record_success(breaker_key)
        return self._judge(response, config, context)

    def _judge(self, response: egress.Response, config: HttpRequestConfig, context: StepContext) -> Output:
        output = {"status_code": response.status_code, "headers": dict(response.headers), "body": response.text}
        if (parsed := response.json()) is not None:
            output["json"] = parsed
        expected = config.expected_status
        accepted = [expected] if isinstance(expected, int) else expected
        if accepted is not None and response.status_code not in accepted:
            raise refusal(response, f"expected status {accepted}, got {response.status_code}", output, context.effect)
        if context.effect == Effect.ONCE and accepted is None and response.status_code >= FIRST_CLIENT_ERROR:
            raise refusal(response, f"the server answered {response.status_code}", output, context.effect)
        return Output(output)


def request_parts(config: HttpRequestConfig, context: StepContext) -> tuple[bytes | None, dict[str, str]]:
    """Return the body's bytes and the headers: JSON by default, text as it is, the idempotency key on writes."""
    headers = {str(name): str(value) for name, value in config.headers.items()}
    lower = {name.lower() for name in headers}
    payload = next((part for part in (config.json_body, config.data, config.body) if part is not None), None)
    content: bytes | None = None
    if payload is not None:
        content = payload.encode() if isinstance(payload, str) else orjson.dumps(payload)
        if "content-type" not in lower:
            headers["Content-Type"] = "text/plain; charset=utf-8" if isinstance(payload, str) else "application/json"
    if config.method not in SAFE_METHODS and "idempotency-key" not in lower:
        headers["Idempotency-Key"] = context.idempotency_key
    if context.correlation_id and "x-correlation-id" not in lower:
        headers["X-Correlation-ID"] = context.correlation_id
    if config.auth:
        headers["Authorization"] = authorization(config.auth)
    return content, headers


def authorization(auth: dict[str, Any]) -> str:
    """Return the Authorization header for `{type: bearer, token}` or `{type: basic, username, password}`."""
    if token := auth.get("token"):
        return f"Bearer {token}"
    if "username" in auth:
        pair = f"{auth['username']}:{auth.get('password', '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    raise StepError(
        "config_invalid", "auth needs a token, or username and password", retryable=False, effect_happened=False
    )


def egress_failure(error: egress.EgressError) -> StepError:
    """Return the step's error for an exchange that did not happen or did not end."""
    return StepError(
        f"http_{error.code}",
        error.public_message,
        retryable=error.retryable,
        effect_happened=None if error.sent else False,
    )


def refusal(response: egress.Response, message: str, output: dict[str, Any], effect: Effect) -> StepError:
    """Return the error for an unwanted status.

    429, and 503 with Retry-After, say that nothing was done; any other answer leaves it open (ENGINE 5, once).
    """
    retry_after = retry_after_seconds(response.headers.get("retry-after"))
    nothing_done = response.status_code == TOO_MANY_REQUESTS or (
        response.status_code == UNAVAILABLE and retry_after is not None
    )
    client_error = response.status_code < FIRST_SERVER_ERROR
    return StepError(
        f"http_status_{response.status_code}",
        message,
        retryable=nothing_done or effect != Effect.ONCE,
        effect_happened=False if nothing_done or client_error else None,
        retry_after_seconds=retry_after,
        output=output,
    )


def retry_after_seconds(value: str | None) -> float | None:
    """Read Retry-After as seconds, or None; a date form is honoured by the caller's own ladder."""
    if value is None or not value.strip().isdigit():
        return None
    return float(min(int(value), 86_400))
