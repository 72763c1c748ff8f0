"""`/api/v1/secrets`: validated data, one service call, names and facts."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as drf
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import secret_services, selectors
from accounts.api import serializers
from accounts.api.authentication import principal_of
from core.api.pagination import bare_array, paginate
from core.api.parsers import optional_object
from core.api.views import ContractView

CREATED, NO_CONTENT = 201, 204


class SecretListView(ContractView):
    """`/api/v1/secrets`."""

    @extend_schema(
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=serializers.SecretSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """List secrets by name, without their values; `X-Total-Count` counts them all."""
        page = paginate(selectors.list_secrets(principal_of(request)), request)
        return bare_array([serializers.SecretSerializer(secret).data for secret in page.items], page)

    @extend_schema(request=serializers.NewSecretSerializer, responses={201: serializers.SecretSerializer})
    def post(self, request: Request) -> Response:
        """Keep a secret; `{{secrets.<name>}}` gives its value to workflows of the same owner."""
        caller = principal_of(request)
        given = _valid(serializers.NewSecretSerializer, request)
        made = secret_services.create_secret(owner=caller.owner, actor=caller.actor, **given)
        return Response(serializers.SecretSerializer(made).data, status=CREATED)


class SecretView(ContractView):
    """`/api/v1/secrets/{name or id}`."""

    @extend_schema(responses=serializers.SecretSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Show a secret's facts; nothing shows its value."""
        return Response(serializers.SecretSerializer(selectors.get_secret(principal_of(request), key)).data)

    @extend_schema(request=serializers.SecretValueSerializer, responses=serializers.SecretSerializer)
    def put(self, request: Request, key: str) -> Response:
        """Rotate a secret to a new `value`, or change its `description`."""
        caller = principal_of(request)
        secret = selectors.get_secret(caller, key)
        given = _valid(serializers.SecretValueSerializer, request)
        changed = secret_services.update_secret(secret.pk, actor=caller.actor, **given)
        return Response(serializers.SecretSerializer(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, key: str) -> Response:
        """Delete a secret; workflows that use it find no value any more."""
        caller = principal_of(request)
        secret_services.delete_secret(selectors.get_secret(caller, key).pk, actor=caller.actor)
        return Response(status=NO_CONTENT)


def _valid(serializer: type[drf.Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the fields that were given; null leaves a field as it is (contract 1)."""
    given = {name: value for name, value in optional_object(request).items() if value is not None}
    checked = serializer(data=given)
    checked.is_valid(raise_exception=True)
    validated: dict[str, Any] = checked.validated_data
    return validated
