"""`notification`: tell somebody, by webhook, in the log or by mail (contract 13.3). SMS comes with its providers."""

from typing import Any, Literal
from uuid import UUID, uuid5

import orjson
from pydantic import AliasChoices, Field

from core import clock, egress, logs
from core.expressions import text_of
from notifications import services as notifications
from notifications.errors import DeliveryFailed, InvalidMessage
from workflows.choices import Effect, Lane
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.engine.steps.http_request import egress_failure, refusal
from workflows.engine.steps.registry import register

FIRST_SUCCESS, FIRST_REDIRECT = 200, 300
WEBHOOK_TIMEOUT_SECONDS = 30.0

_log = logs.get("workflows.step.notification")


class NotificationConfig(StepConfig):
    """`webhook_url`, `payload`, `headers` are the webhook's; `to` and below the mail's, as contract 9 names them."""

    kind: Literal["webhook", "log", "email"] = Field(
        default="log", validation_alias=AliasChoices("type", "notification_type")
    )
    message: Any = None
    level: Literal["debug", "info", "warning", "error"] = "info"
    webhook_url: str = ""
    payload: dict[str, Any] | None = None
    headers: dict[str, Any] = Field(default_factory=dict)
    to: str | list[str] = ""
    cc: str | list[str] = Field(default_factory=list)
    bcc: str | list[str] = Field(default_factory=list)
    subject: str = ""
    body: Any = None
    html_body: str = Field(default="", validation_alias=AliasChoices("html_body", "html"))
    template_id: str | None = None


@register
class NotificationStep(Step[NotificationConfig]):
    """A mail that has to be repeated keeps its Message-ID; choose the effect `once` where none may come twice."""

    type = "notification"
    title = "Notify"
    config_model = NotificationConfig
    output_keys = ("sent", "type", "status_code", "notification_id", "refused")
    effect = Effect.IDEMPOTENT
    lane = Lane.IO

    def run(self, config: NotificationConfig, context: StepContext) -> Output:
        match config.kind:
            case "webhook":
                return _post(config, context)
            case "email":
                return _mail(config, context)
            case _:
                return _write(config, context)


def _write(config: NotificationConfig, context: StepContext) -> Output:
    context.log(text_of(config.message), level=config.level)
    _log.info("workflow.notification", execution_id=context.execution_id, step=context.path)
    return Output({"sent": True, "type": "log"})


def _post(config: NotificationConfig, context: StepContext) -> Output:
    if not config.webhook_url:
        raise _invalid("webhook_url is required")
    body = {"message": config.message, **(config.payload or {})}
    headers = {"Content-Type": "application/json", "Idempotency-Key": context.idempotency_key}
    headers |= {str(name): str(value) for name, value in config.headers.items()}
    try:
        response = egress.request(
            "POST",
            config.webhook_url,
            headers=headers,
            content=orjson.dumps(body),
            timeout_seconds=min(WEBHOOK_TIMEOUT_SECONDS, _seconds_left(context)),
            cancelled=context.cancel_requested,
            reuse_connection=context.effect != Effect.ONCE,
        )
    except egress.EgressError as error:
        raise egress_failure(error) from error
    if not FIRST_SUCCESS <= response.status_code < FIRST_REDIRECT:
        message = f"the webhook answered {response.status_code}"
        raise refusal(response, message, {"sent": False, "status_code": response.status_code}, context.effect)
    return Output({"sent": True, "type": "webhook", "status_code": response.status_code})


def _mail(config: NotificationConfig, context: StepContext) -> Output:
    notification_id = notification_id_of(context.execution_uuid, context.path)
    if config.template_id:
        context.warnings.append(f"the template {config.template_id!r} is not known; subject and body are sent as given")
    try:
        refused = notifications.send_email(
            notification_id,
            to=config.to,
            cc=config.cc,
            bcc=config.bcc,
            subject=config.subject,
            text=text_of(config.body if config.body is not None else config.message),
            html=config.html_body,
            timeout_seconds=_seconds_left(context),
        )
    except InvalidMessage as error:
        raise _invalid(error.detail) from error
    except DeliveryFailed as error:
        raise StepError(
            error.code, error.message, retryable=error.retryable, effect_happened=error.effect_happened
        ) from error
    output: dict[str, Any] = {"sent": True, "type": "email", "notification_id": str(notification_id)}
    if refused:
        # Not a failure: trying again would reach the others twice.
        output["refused"] = [{"address": one.address, "code": one.code, "reason": one.reason} for one in refused]
        context.warnings += [f"the mail server refused {one.address}: {one.code} {one.reason}" for one in refused]
    return Output(output)


def notification_id_of(execution_uuid: UUID, path: str) -> UUID:
    """Return the id of the notification that a step sends: the same for all its attempts."""
    return uuid5(execution_uuid, path)


def _seconds_left(context: StepContext) -> float:
    return max((context.deadline - clock.now()).total_seconds(), 0.001)


def _invalid(message: str) -> StepError:
    return StepError("config_invalid", message, retryable=False, effect_happened=False)
