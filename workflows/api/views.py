"""Workflows and executions over HTTP: validated data, one service call, the contract's JSON."""

from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import principal_of
from core.api.pagination import bare_array, paginate
from core.errors import InvalidInput, Problem
from workflows import selectors, services
from workflows.api import representations, serializers
from workflows.choices import Dialect, Priority, TriggerType
from workflows.engine.definition import WorkflowIn, check_cron, dialect_of
from workflows.engine.program import of_version
from workflows.engine.steps import registry
from workflows.models import Execution
from workflows.schedule import next_slots

CREATED, OK = 201, 200
LONGEST_NUMBER = 19
LONGEST_IDEMPOTENCY_KEY = 200
LIMITS = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A start that is repeated with the same key gets the first execution.",
)
PRIORITIES = {priority.name.lower(): priority for priority in Priority}


class WorkflowListView(APIView):
    """`/workflows`: list and create."""

    rate_limit_bucket = {"POST": "workflow_create"}

    @extend_schema(
        parameters=[*LIMITS, OpenApiParameter("status", str), OpenApiParameter("enabled", bool)],
        responses=serializers.WorkflowSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        found = selectors.list_workflows(
            principal_of(request), status=request.query_params.get("status"), enabled=_flag(request, "enabled")
        )
        page = paginate(found, request, default_limit=100)
        return bare_array([representations.workflow_json(item) for item in page.items], page)

    @extend_schema(
        request=WorkflowIn,
        responses={200: serializers.WorkflowSerializer, 201: serializers.WorkflowSerializer},
    )
    def post(self, request: Request) -> Response:
        body, caller = _object(request), principal_of(request)
        workflow = services.create_workflow(owner=caller.owner, body=body, actor=caller.actor)
        status = CREATED if dialect_of(body) == Dialect.B else OK
        return Response(representations.workflow_json(selectors.get_workflow(caller, str(workflow.pk))), status=status)


class WorkflowView(APIView):
    """`/workflows/{id}`: read, change, delete."""

    @extend_schema(responses=serializers.WorkflowSerializer)
    def get(self, request: Request, key: str) -> Response:
        return Response(representations.workflow_json(selectors.get_workflow(principal_of(request), key)))

    @extend_schema(request=WorkflowIn, responses=serializers.WorkflowSerializer)
    def put(self, request: Request, key: str) -> Response:
        workflow = selectors.get_workflow(principal_of(request), key)
        services.update_workflow(workflow, body=_object(request), actor=principal_of(request).actor)
        return Response(representations.workflow_json(selectors.get_workflow(principal_of(request), key)))

    @extend_schema(responses={200: serializers.WorkflowDeletedSerializer})
    def delete(self, request: Request, key: str) -> Response:
        workflow = selectors.get_workflow(principal_of(request), key)
        services.delete_workflow(workflow, actor=principal_of(request).actor)
        return Response({"message": "Workflow deleted successfully", "workflow_id": workflow.pk})


class ExecuteView(APIView):
    """`/workflows/{id}/execute` and `/trigger`: start an execution."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(
        request=serializers.ExecuteSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={200: serializers.ExecuteOutSerializer},
    )
    def post(self, request: Request, key: str) -> Response:
        workflow = selectors.find_executable(principal_of(request), key)
        started = services.start_execution(workflow, _start(request, workflow.pk))
        return Response(representations.started_json(started, workflow.pk))


class StepTypesView(APIView):
    """`/workflows/step-types`: every step type with the JSON Schema of its config."""

    @extend_schema(responses=serializers.StepTypeSerializer(many=True))
    def get(self, request: Request) -> Response:
        return Response([representations.step_type_json(kind) for kind in registry.all_types()])


class DraftView(APIView):
    """`/workflows/{id}/draft`: a definition that is kept, validated and numbered, but not published."""

    @extend_schema(responses=serializers.VersionSerializer)
    def get(self, request: Request, key: str) -> Response:
        workflow = selectors.get_workflow(principal_of(request), key)
        return Response(representations.version_json(selectors.get_draft(workflow)))

    @extend_schema(request=WorkflowIn, responses=serializers.VersionSerializer)
    def put(self, request: Request, key: str) -> Response:
        caller = principal_of(request)
        workflow = selectors.get_workflow(caller, key)
        return Response(
            representations.version_json(services.save_draft(workflow, body=_object(request), actor=caller.actor))
        )


class PublishDraftView(APIView):
    """`/workflows/{id}/draft/publish`: let triggers use the draft from now on."""

    @extend_schema(request=None, responses=serializers.WorkflowSerializer)
    def post(self, request: Request, key: str) -> Response:
        caller = principal_of(request)
        services.publish_draft(selectors.get_workflow(caller, key), actor=caller.actor)
        return Response(representations.workflow_json(selectors.get_workflow(caller, key)))


class RunDraftView(APIView):
    """`/workflows/{id}/draft/run`: a test run of the draft, counted apart."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(
        request=serializers.ExecuteSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={200: serializers.ExecuteOutSerializer},
    )
    def post(self, request: Request, key: str) -> Response:
        workflow = selectors.get_workflow(principal_of(request), key)
        started = services.run_draft(workflow, _start(request, workflow.pk, kind="draft"))
        return Response(representations.started_json(started, workflow.pk))


class WorkflowExecutionsView(APIView):
    """`/workflows/{id}/executions`: one workflow's executions, newest first."""

    rate_limit_bucket = "monitoring"

    @extend_schema(
        parameters=[*LIMITS, OpenApiParameter("status", str)],
        responses=serializers.ExecutionSerializer(many=True),
    )
    def get(self, request: Request, key: str) -> Response:
        workflow = selectors.get_workflow(principal_of(request), key)
        return _executions(request, workflow_id=workflow.pk)


class WorkflowStatusView(APIView):
    """`/workflows/{id}/status`: counters of one workflow."""

    rate_limit_bucket = "monitoring"

    @extend_schema(responses=serializers.WorkflowStatusSerializer)
    def get(self, request: Request, key: str) -> Response:
        workflow = selectors.get_workflow(principal_of(request), key)
        totals = selectors.totals(workflow)
        return Response(
            {
                "workflow_id": workflow.pk,
                "status": workflow.status,
                "last_execution": selectors.last_execution_at(workflow),
                "execution_count": totals["total_executions"],
                "success_count": totals["successful_executions"],
                "failure_count": totals["failed_executions"],
            }
        )


class WorkflowSummaryView(APIView):
    """`/workflows/stats/summary`."""

    rate_limit_bucket = "monitoring"

    @extend_schema(responses=serializers.WorkflowSummarySerializer)
    def get(self, request: Request) -> Response:
        return Response({"statistics": selectors.workflow_totals(principal_of(request))})


class ValidateCronView(APIView):
    """`/workflows/validate-cron`: is an expression valid, and when would it be due next?"""

    required_scope = "read"

    @extend_schema(
        request=None,
        parameters=[OpenApiParameter("cron_expression", str, required=True)],
        responses=serializers.CronVerdictSerializer,
    )
    def post(self, request: Request) -> Response:
        expression = request.query_params.get("cron_expression", "")
        try:
            check_cron(expression)
        except InvalidInput:
            return Response({"cron_expression": expression, "is_valid": False, "error": "Invalid cron expression"})
        return Response({"cron_expression": expression, "is_valid": True, "next_runs": next_slots(expression, count=5)})


class ExecutionListView(APIView):
    """`/executions`: all executions, newest first."""

    rate_limit_bucket = "monitoring"

    @extend_schema(
        parameters=[*LIMITS, OpenApiParameter("status", str), OpenApiParameter("workflow_id", int)],
        responses=serializers.ExecutionSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        return _executions(request, workflow_id=_integer(request, "workflow_id"))


@extend_schema(exclude=True)
class ExecutionListAlias(ExecutionListView):
    """`/workflows/executions`: the same list, under the path of an older client."""


class ExecutionView(APIView):
    """`/api/v1/workflows/executions/{id}`."""

    rate_limit_bucket = "monitoring"

    @extend_schema(responses=serializers.ExecutionSerializer)
    def get(self, request: Request, key: str) -> Response:
        execution = selectors.get_execution(principal_of(request), key)
        return Response(_execution_json(execution))


class ExecutionStepsView(APIView):
    """`/api/v1/workflows/executions/{id}/steps`."""

    rate_limit_bucket = "monitoring"

    @extend_schema(
        parameters=[OpenApiParameter("nested", bool, description="Also the steps inside conditionals.")],
        responses=serializers.StepSerializer(many=True),
    )
    def get(self, request: Request, key: str) -> Response:
        execution = selectors.get_execution(principal_of(request), key)
        attempts = selectors.latest_attempts([execution.pk], nested=bool(_flag(request, "nested")))[execution.pk]
        selectors.read_spilled(attempts)
        branches = selectors.branches_of([execution.pk])[execution.pk]
        compiled = of_version(execution.version_id)
        limits = compiled.settings
        return Response(
            [
                representations.step_json(attempt, branches, limits | _own_limits(compiled.nodes[attempt.node].step))
                for attempt in attempts
            ]
        )


class CancelExecutionView(APIView):
    """`/api/v1/workflows/executions/{id}/cancel`."""

    required_scope = "execute"

    @extend_schema(request=None, responses=serializers.ExecutionCancelledSerializer)
    def post(self, request: Request, key: str) -> Response:
        execution = selectors.get_execution(principal_of(request), key)
        services.cancel_execution(execution)
        return Response({"message": "Execution cancelled", "execution_id": execution.pk, "status": "cancelled"})


class RetryStepView(APIView):
    """`/api/v1/workflows/steps/{id}/retry`."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(request=None, responses=serializers.StepRetriedSerializer)
    def post(self, request: Request, key: str) -> Response:
        attempt = selectors.get_attempt(principal_of(request), key)
        execution = services.retry_step(attempt)
        return Response(
            {
                "message": "Step retry started",
                "step_id": attempt.pk,
                "execution_id": execution.pk,
                "status": "running",
            }
        )


def _execution_json(execution: Execution) -> dict[str, Any]:
    attempts = selectors.latest_attempts([execution.pk])[execution.pk]
    selectors.read_spilled(attempts)
    branches = selectors.branches_of([execution.pk])[execution.pk]
    return representations.execution_json(execution, attempts, branches, whole=True)


def _executions(request: Request, *, workflow_id: int | None) -> Response:
    """Return a page of executions: four queries beside the count, whatever its length."""
    found = selectors.list_executions(
        principal_of(request), workflow_id=workflow_id, status=request.query_params.get("status")
    )
    page = paginate(found, request, default_limit=50)
    keys = [execution.pk for execution in page.items]
    attempts, branches = selectors.listed_attempts(keys), selectors.branches_of(keys)
    rows = [
        representations.execution_json(item, attempts[item.pk], branches[item.pk], whole=False) for item in page.items
    ]
    return bare_array(rows, page)


def _start(request: Request, workflow_id: int, *, kind: str = "key") -> services.Start:
    data = _object(request)
    given = serializers.ExecuteSerializer(data={name: value for name, value in data.items() if value is not None})
    given.is_valid(raise_exception=True)
    values = given.validated_data
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_IDEMPOTENCY_KEY:
        # Cut short, two keys could become one and the second start be lost.
        message = f"Idempotency-Key must have at most {LONGEST_IDEMPOTENCY_KEY} characters"
        raise InvalidInput(message, problems=[Problem(("header", "Idempotency-Key"), message, "string_too_long")])
    return services.Start(
        trigger_type=TriggerType.MANUAL,
        trigger_data={**values.get("input_data", {}), **values.get("trigger_data", {})},
        priority=PRIORITIES[values.get("priority", "normal")],
        correlation_id=_correlation_id(request),
        idempotency_key=f"{kind}:{workflow_id}:{key}" if key else None,
    )


def _correlation_id(request: Request) -> str:
    http: HttpRequest = request._request
    return str(getattr(http, "correlation_id", "") or "")


def _object(request: Request) -> dict[str, Any]:
    body = request.data if request.data is not None else {}
    if not isinstance(body, dict):
        raise InvalidInput("The request body must be a JSON object")
    return body


def _own_limits(step: dict[str, Any]) -> dict[str, Any]:
    if step.get("max_retries") is not None:
        return {"max_retries": step["max_retries"]}
    if attempts := (step.get("retry") or {}).get("max_attempts"):
        return {"max_retries": attempts - 1}
    return {}


def _flag(request: Request, name: str) -> bool | None:
    text = request.query_params.get(name, "").lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(text)


def _integer(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and int(text) <= selectors.LARGEST_ID):
        message = f"{name} must be a whole number from 0 to {selectors.LARGEST_ID}"
        raise InvalidInput(message, problems=[Problem(("query", name), message, "value_error")])
    return int(text)
