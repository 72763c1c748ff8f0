"""Running executions again, and what operators do about steps that could not be undone."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import principal_of
from core.api.parsers import optional_object
from core.api.views import ContractView
from workflows import selectors, services
from workflows.api.representations import saga_json, started_json
from workflows.choices import ExecutionStatus
from workflows.models import Execution
from workflows.services import Filter, Rerun, reruns

WHERE = 'Where it begins: "start", "failed", or the name of a step; steps before it keep what they did.'


class RerunSerializer(serializers.Serializer[None]):
    """`from`, `version` and, to mend the input, `trigger_data`."""

    version = serializers.ChoiceField(choices=["original", "published"], default="original")
    trigger_data = serializers.DictField(required=False, help_text="Takes the place of the first run's.")

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that a class body can hold.
        return {"from": serializers.CharField(default=reruns.START, help_text=WHERE), **super().get_fields()}


class RerunOutSerializer(serializers.Serializer[None]):
    message = serializers.CharField()
    execution_id = serializers.IntegerField()
    execution_uuid = serializers.UUIDField()
    rerun_of = serializers.IntegerField()
    workflow_id = serializers.IntegerField()
    status = serializers.CharField()


class BulkRerunSerializer(RerunSerializer):
    """A filter over ended executions; without a status those that failed, timed out or were cancelled."""

    workflow_id = serializers.IntegerField(required=False, min_value=1)
    status = serializers.ChoiceField(choices=ExecutionStatus.choices, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    execution_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1), required=False, max_length=reruns.MOST_AT_ONCE
    )
    dry_run = serializers.BooleanField(default=True, help_text="Only list what would run again.")


class ListedSerializer(serializers.Serializer[None]):
    id = serializers.IntegerField()
    workflow_id = serializers.IntegerField()
    workflow = serializers.CharField()
    status = serializers.CharField()
    error_message = serializers.CharField(allow_null=True)
    rerun_id = serializers.IntegerField(allow_null=True)
    refused = serializers.CharField(allow_null=True)


class BulkRerunOutSerializer(serializers.Serializer[None]):
    dry_run = serializers.BooleanField()
    count = serializers.IntegerField()
    executions = ListedSerializer(many=True)


class ByHandSerializer(serializers.Serializer[None]):
    step = serializers.CharField(help_text="The path of the step that was undone.")
    reason = serializers.CharField()


class CompensationEntrySerializer(serializers.Serializer[None]):
    path = serializers.CharField()
    status = serializers.CharField()
    error = serializers.CharField(allow_null=True)
    note = serializers.CharField(allow_null=True)


class CompensationSerializer(serializers.Serializer[None]):
    saga_id = serializers.UUIDField()
    status = serializers.CharField()
    open = serializers.ListField(child=serializers.CharField())
    steps = CompensationEntrySerializer(many=True)


class RerunView(ContractView):
    """`/api/v1/workflows/executions/{id}/rerun`."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(request=RerunSerializer, responses=RerunOutSerializer)
    def post(self, request: Request, key: str) -> Response:
        caller = principal_of(request)
        execution = selectors.get_execution(caller, key)
        wanted = _read(RerunSerializer, request)
        started = services.rerun_execution(execution, _rerun(wanted), actor=caller.actor)
        return Response(started_json(started, execution.workflow_id) | {"rerun_of": execution.pk})


class BulkRerunView(ContractView):
    """`/api/v1/workflows/executions/reruns`: list what a filter means, then run it again."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(request=BulkRerunSerializer, responses=BulkRerunOutSerializer)
    def post(self, request: Request) -> Response:
        caller = principal_of(request)
        wanted = _read(BulkRerunSerializer, request)
        found = list(services.find_reruns(caller, _filter(wanted)))
        started: dict[int, int] = {}
        refused: dict[int, str] = {}
        if not wanted["dry_run"]:
            begun, not_begun = services.rerun_executions(found, _rerun(wanted), actor=caller.actor)
            started, refused = {key: item.execution_id for key, item in begun}, dict(not_begun)
        rows = [_listed(item, started.get(item.pk), refused.get(item.pk)) for item in found]
        return Response({"dry_run": wanted["dry_run"], "count": len(rows), "executions": rows})


class CompensationView(ContractView):
    """`/api/v1/workflows/executions/{id}/compensation`: what was undone, and what is open."""

    rate_limit_bucket = "monitoring"

    @extend_schema(responses=CompensationSerializer)
    def get(self, request: Request, key: str) -> Response:
        execution = selectors.get_execution(principal_of(request), key)
        return Response(saga_json(selectors.get_saga_of(execution)))


class RetryCompensationView(ContractView):
    """`/api/v1/workflows/executions/{id}/compensation/retry`."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(request=None, responses=CompensationSerializer)
    def post(self, request: Request, key: str) -> Response:
        caller = principal_of(request)
        execution = selectors.get_execution(caller, key)
        return Response(saga_json(services.retry_compensation(execution, actor=caller.actor)))


class ByHandView(ContractView):
    """`/api/v1/workflows/executions/{id}/compensation/by-hand`."""

    required_scope = "execute"

    @extend_schema(request=ByHandSerializer, responses=CompensationSerializer)
    def post(self, request: Request, key: str) -> Response:
        caller = principal_of(request)
        execution = selectors.get_execution(caller, key)
        given = _read(ByHandSerializer, request)
        saga = services.compensate_by_hand(execution, path=given["step"], reason=given["reason"], actor=caller.actor)
        return Response(saga_json(saga))


def _read(serializer: type[serializers.Serializer[None]], request: Request) -> dict[str, Any]:
    given = serializer(data={name: value for name, value in optional_object(request).items() if value is not None})
    given.is_valid(raise_exception=True)
    values: dict[str, Any] = given.validated_data
    return values


def _rerun(wanted: dict[str, Any]) -> Rerun:
    return Rerun(
        begin=wanted["from"], published=wanted["version"] == "published", trigger_data=wanted.get("trigger_data")
    )


def _filter(wanted: dict[str, Any]) -> Filter:
    return Filter(
        workflow_id=wanted.get("workflow_id"),
        status=wanted.get("status"),
        since=wanted.get("since"),
        until=wanted.get("until"),
        execution_ids=tuple(wanted["execution_ids"]) if "execution_ids" in wanted else None,
    )


def _listed(execution: Execution, rerun_id: int | None, refused: str | None) -> dict[str, Any]:
    return {
        "id": execution.pk,
        "workflow_id": execution.workflow_id,
        "workflow": execution.workflow.name,
        "status": execution.status,
        "error_message": execution.error_message,
        "rerun_id": rerun_id,
        "refused": refused,
    }
