"""`notification`: tell somebody, by webhook or in the log (contract 13.3). Mail and SMS come with their issue."""

from typing import Any, Literal

import orjson
from pydantic import AliasChoices, Field

from core import clock, egress
from workflows.choices import Effect, Lane
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.http_request import egress_failure, refusal
from workflows.engine.steps.registry import register

FIRST_SUCCESS, FIRST_REDIRECT = 200, 300


class NotificationConfig(StepConfig):
    kind: Literal["webhook", "log"] = Field(default="log", validation_alias=AliasChoices("type", "notification_type"))
    webhook_url: str = ""
    message: Any = None
    payload: dict[str, Any] | None = None
    headers: dict[str, Any] = Field(default_factory=dict)


@register
class NotificationStep(Step[NotificationConfig]):
    type = "notification"
    title = "Notify"
    config_model = NotificationConfig
    output_keys = ("sent", "type", "status_code")
    effect = Effect.IDEMPOTENT
    lane = Lane.IO

    def run(self, config: NotificationConfig, context: StepContext) -> Output:
        if config.kind == "log":
            context.log(str(config.message or ""), level="info")
            return Output({"sent": True, "type": "log"})
        return self._post(config, context)

    def _post(self, config: NotificationConfig, context: StepContext) -> Output:
        if not config.webhook_url:
            raise StepError("config_invalid", "webhook_url is required", retryable=False, effect_happened=False)
        body = {"message": config.message, **(config.payload or {})}
        headers = {"Content-Type": "application/json", "Idempotency-Key": context.idempotency_key}
        headers |= {str(name): str(value) for name, value in config.headers.items()}
        try:
            response = egress.request(
                "POST",
                config.webhook_url,
                headers=headers,
                content=orjson.dumps(body),
                timeout_seconds=min(30.0, max((context.deadline - clock.now()).total_seconds(), 0.001)),
                cancelled=context.cancel_requested,
                reuse_connection=context.effect != Effect.ONCE,
            )
        except egress.EgressError as error:
            raise egress_failure(error) from error
        if not FIRST_SUCCESS <= response.status_code < FIRST_REDIRECT:
            message = f"the webhook answered {response.status_code}"
            raise refusal(response, message, {"sent": False, "status_code": response.status_code}, context.effect)
        return Output({"sent": True, "type": "webhook", "status_code": response.status_code})
