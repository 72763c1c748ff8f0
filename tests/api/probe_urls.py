"""Routes that exist in these tests only: each shows one behaviour of the API's shared parts."""

from typing import Any

from django.core import exceptions as django_errors
from django.db import DataError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from config.urls import handler400, handler403, handler404, handler500
from core import clock
from core.api.pagination import ContractListMixin
from core.api.parsers import optional_object
from core.api.views import ContractView
from core.errors import Conflict, InvalidInput, InvalidState, NotFound, Problem, RateLimited, Unavailable

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class WorkflowNotFound(NotFound):
    code = "WORKFLOW_NOT_FOUND"


RAISES: dict[str, Exception] = {
    "missing": WorkflowNotFound("Workflow not found"),
    "state": InvalidState("Workflow cannot be executed (status: paused, enabled: true)"),
    "conflict": Conflict("Taken"),
    "limited": RateLimited("Slow down", retry_after_seconds=7),
    "unavailable": Unavailable("The broker is away"),
    "input": InvalidInput("Bad cron", problems=[Problem(("body", "cron_schedule"), "Bad cron", "cron")]),
    "http404": Http404("No File matches the given query."),
    "denied": django_errors.PermissionDenied(),
    "suspicious": django_errors.SuspiciousOperation("secret detail"),
    "fields": django_errors.TooManyFieldsSent("secret detail"),
    "database": OperationalError("secret detail"),
    "data": DataError("secret detail"),
    "bug": RuntimeError("secret detail"),
}


class RaiseView(ContractView):
    def get(self, request: Request, name: str) -> Response:
        raise RAISES[name]


class EchoView(ContractView):
    def post(self, request: Request) -> Response:
        return Response({"data": request.data, "optional": optional_object(request)})


class ExecuteView(ContractView):
    required_scope = "execute"
    rate_limit_bucket = "execute"

    def get(self, request: Request) -> Response:
        return Response({"at": clock.now(), "name": "Ünïcode", "list": [1, 2]})

    post = get


class LimitedView(ContractView):
    rate_limit_bucket = {"POST": "workflow_create"}

    def get(self, request: Request) -> Response:
        return Response({})

    post = get


class NameSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    items = serializers.ListField(child=serializers.IntegerField(), required=False)


class ValidateView(ContractView):
    def post(self, request: Request) -> Response:
        serializer = NameSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(serializer.validated_data)


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("email",)


class UserListView(ContractListMixin, GenericAPIView[User]):
    queryset = User.objects.all()
    serializer_class = UserSerializer
    default_limit = 2

    def get(self, request: Request) -> Response:
        return self.list(request)


def whoami(request: HttpRequest) -> HttpResponse:
    raise OperationalError("secret detail")


urlpatterns = [
    path("probe/raise/<str:name>", RaiseView.as_view()),
    path("api/v1/automation/raise/<str:name>", RaiseView.as_view()),
    path("probe/echo", EchoView.as_view()),
    path("probe/execute", ExecuteView.as_view()),
    path("probe/limited", LimitedView.as_view()),
    path("probe/validate", ValidateView.as_view()),
    path("api/workflows/validate", ValidateView.as_view()),
    path("api/v1/automation/validate", ValidateView.as_view()),
    path("saga/validate", ValidateView.as_view()),
    path("api/v1/sagas/validate", ValidateView.as_view()),
    path("probe/users", UserListView.as_view()),
    path("probe/plain", whoami),
    path("", include("config.urls")),
]
