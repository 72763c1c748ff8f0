"""Events over HTTP (contract section 8)."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import principal_of
from automation import services
from automation.api import serializers
from core.errors import InvalidInput, Problem

LONGEST_IDEMPOTENCY_KEY = 200


class PublishView(APIView):
    """`/events/publish`: store an event of the caller's owner; workflows that wait for it go on."""

    required_scope = "execute"
    rate_limit_bucket = "execute"

    @extend_schema(
        request=serializers.PublishSerializer,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
        responses={200: serializers.PublishedSerializer},
    )
    def post(self, request: Request) -> Response:
        given = serializers.PublishSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        event_uuid = services.publish_event(
            owner=principal_of(request).owner,
            event_type=values["event_type"],
            aggregate_type=values["aggregate_type"],
            aggregate_id=values["aggregate_id"],
            data=values["data"],
            correlation_id=values.get("correlation_id") or str(getattr(request._request, "correlation_id", "")),
            idempotency_key=_idempotency_key(request),
        )
        return Response({"status": "published", "event_id": event_uuid})


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_IDEMPOTENCY_KEY:
        # Cut short, two keys could become one and the second event be lost.
        message = f"Idempotency-Key must have at most {LONGEST_IDEMPOTENCY_KEY} characters"
        raise InvalidInput(message, problems=[Problem(("header", "Idempotency-Key"), message, "string_too_long")])
    return key or None
