"""Approvals over HTTP: what waits for people, and their decisions."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import principal_of
from core.api.pagination import bare_array, paginate
from workflows import selectors
from workflows.choices import ApprovalStatus
from workflows.models import Approval
from workflows.services import approvals

FLAGS = {"true": True, "1": True, "false": False, "0": False}


class DecisionSerializer(serializers.Serializer[None]):
    comment = serializers.CharField(required=False, allow_null=True, allow_blank=True, max_length=5000)


class ApprovalSerializer(serializers.Serializer[None]):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=ApprovalStatus.choices)
    assignee = serializers.CharField(help_text="An email address, or 'group <name>'.")
    message = serializers.CharField()
    execution_id = serializers.IntegerField()
    workflow_id = serializers.IntegerField()
    workflow_name = serializers.CharField()
    step = serializers.CharField()
    deadline_at = serializers.DateTimeField(allow_null=True)
    comment = serializers.CharField(allow_null=True)
    decided_by = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class ApprovalListView(APIView):
    """`/approvals`: what the caller's owner asks for, and what the caller is asked, newest first."""

    rate_limit_bucket = "monitoring"

    @extend_schema(
        parameters=[
            OpenApiParameter("limit", int),
            OpenApiParameter("offset", int),
            OpenApiParameter("status", str),
            OpenApiParameter("pending", bool, description="True: undecided ones only; false: all others."),
        ],
        responses=ApprovalSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        found = selectors.list_approvals(
            principal_of(request),
            status=request.query_params.get("status"),
            pending=FLAGS.get(request.query_params.get("pending", "").lower()),
        )
        page = paginate(found, request)
        return bare_array([approval_json(item) for item in page.items], page)


class ApprovalView(APIView):
    """`/approvals/{uuid}`."""

    rate_limit_bucket = "monitoring"

    @extend_schema(responses=ApprovalSerializer)
    def get(self, request: Request, key: UUID) -> Response:
        return Response(approval_json(selectors.get_approval(principal_of(request), key)))


class ApproveView(APIView):
    """`/approvals/{uuid}/approve`.

    The asked user, members of the asked group and superusers decide; so does a key with the scope `execute` of the
    owner whose workflow asks.
    """

    required_scope = "execute"

    @extend_schema(request=DecisionSerializer, responses=ApprovalSerializer)
    def post(self, request: Request, key: UUID) -> Response:
        caller = principal_of(request)
        approval = selectors.get_approval(caller, key)
        decided = approvals.approve(approval, principal=caller, comment=_comment(request))
        return Response(approval_json(decided))


class RejectView(APIView):
    """`/approvals/{uuid}/reject`: by the same callers as `approve`."""

    required_scope = "execute"

    @extend_schema(request=DecisionSerializer, responses=ApprovalSerializer)
    def post(self, request: Request, key: UUID) -> Response:
        caller = principal_of(request)
        approval = selectors.get_approval(caller, key)
        decided = approvals.reject(approval, principal=caller, comment=_comment(request))
        return Response(approval_json(decided))


def approval_json(approval: Approval) -> dict[str, Any]:
    """Return an approval as the API shows it; its workflow must have been joined."""
    return {
        "id": approval.uuid,
        "status": approval.status,
        "assignee": approval.assignee_name,
        "message": approval.message,
        "execution_id": approval.execution_id,
        "workflow_id": approval.execution.workflow_id,
        "workflow_name": approval.execution.workflow.name,
        "step": approval.path,
        "deadline_at": approval.deadline_at,
        "comment": approval.comment or None,
        "decided_by": approval.decided_by or None,
        "decided_at": approval.decided_at,
        "created_at": approval.created_at,
    }


def _comment(request: Request) -> str:
    given = DecisionSerializer(data=request.data if request.data is not None else {})
    given.is_valid(raise_exception=True)
    return str(given.validated_data.get("comment") or "")
