"""Probes, health, metrics and the two descriptions of the service (contract section 12)."""

import time
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from core import clock, health
from core.api import errors, metrics
from core.api.views import PublicView
from core.errors import NotFound

OPEN = {"type": "object", "additionalProperties": True}
MIGRATIONS_ASKED_EVERY_SECONDS = 5.0
DESCRIPTION = "Files, workflows, notifications, webhooks and automation rules in one server"


class HealthView(PublicView):
    """Health of the whole service; 200 also when a part of it is down."""

    @extend_schema(responses={200: OPEN}, operation_id="health")
    def get(self, request: Request) -> Response:
        results = health.check_all()
        components = {name: result.status for name, result in results.items()}
        # Without a database the numbers could only wait for it in vain.
        numbers = health.metrics() if results["database"].status == health.HEALTHY else dict(health.NO_NUMBERS)
        return Response(
            _heading(health.overall(results)) | {"components": components, "metrics": numbers, "services": components}
        )


class DetailedHealthView(PublicView):
    """Each component with its latency; 503 with the same object in `detail` when one is down."""

    @extend_schema(responses={200: OPEN, 503: OPEN}, operation_id="health_detailed")
    def get(self, request: Request) -> Response:
        results = health.check_all()
        status = health.overall(results)
        found = _heading(status) | {
            "environment": settings.ENVIRONMENT,
            "checks": {name: _check_object(result) for name, result in results.items()},
        }
        if status == health.HEALTHY:
            return Response(found)
        failure = errors.unavailable(found)
        return Response(errors.body(request, failure), status=failure.status, headers=dict(failure.headers))


class ReadyView(PublicView):
    """Whether this process can serve: the database answers and is migrated."""

    @extend_schema(responses={200: OPEN, 503: OPEN}, operation_id="ready")
    def get(self, request: Request) -> Response:
        if reason := _not_ready_because():
            return _not_ready(request, reason)
        return Response({"status": "ready", "timestamp": _timestamp()})


class ReadyModeView(PublicView):
    """The SAGA orchestrator's readiness: with or without Redis."""

    @extend_schema(responses={200: OPEN, 503: OPEN}, operation_id="health_ready")
    def get(self, request: Request) -> Response:
        if reason := _not_ready_because():
            return _not_ready(request, reason)
        has_redis = health.check_all()["redis"].status == health.HEALTHY
        return Response(
            {
                "status": "ready",
                "redis_available": str(has_redis).lower(),
                "mode": "full" if has_redis else "degraded",
                "timestamp": _timestamp(),
            }
        )


class LiveView(PublicView):
    """Whether this process lives; asks nothing else."""

    @extend_schema(responses={200: OPEN})
    def get(self, request: Request) -> Response:
        return Response({"status": "alive", "timestamp": _timestamp()})


class PartHealthView(PublicView):
    """The container probes of the services that this one replaced."""

    @extend_schema(responses={200: OPEN})
    def get(self, request: Request) -> Response:
        return Response({"status": health.overall(health.check_all())})


class PlatformHealthView(PublicView):
    """The Automation Platform's health (document 2)."""

    @extend_schema(responses={200: OPEN}, operation_id="api_health")
    def get(self, request: Request) -> Response:
        return Response({"status": "ok", "message": "Automation Platform API is running"})


class InfoView(PublicView):
    """What the automation domain service said about itself (document 1)."""

    @extend_schema(responses={200: OPEN}, operation_id="info")
    def get(self, request: Request) -> Response:
        return Response(
            {
                "service": "PyAirtable Automation Domain",
                "version": settings.VERSION,
                "description": DESCRIPTION,
                "environment": settings.ENVIRONMENT,
                "features": [
                    "Workflow Execution Engine",
                    "Email & SMS Notifications",
                    "Webhook Management & Delivery",
                    "Automation Orchestration",
                    "File Processing",
                ],
                "endpoints": {
                    "health": "/health",
                    "metrics": "/metrics",
                    "docs": "/docs",
                    "workflows": "/api/v1/workflows",
                    "notifications": "/api/v1/notifications",
                    "webhooks": "/api/v1/webhooks",
                    "automation": "/api/v1/automation",
                },
            }
        )


class RootView(PublicView):
    """The first page of the service."""

    @extend_schema(responses={200: OPEN}, operation_id="root")
    def get(self, request: Request) -> Response:
        return Response(
            {
                "service": "PyAirtable Automation Services",
                "version": settings.VERSION,
                "description": DESCRIPTION,
                "environment": settings.ENVIRONMENT,
                "status": health.HEALTHY,
                "endpoints": {
                    "health": "/health",
                    "ready": "/ready",
                    "metrics": "/metrics",
                    "docs": "/docs",
                    "openapi": "/openapi.json",
                    "admin": "/admin/",
                    "files": "/files",
                    "workflows": "/workflows",
                    "executions": "/executions",
                },
                "patterns": ["orchestration", "choreography"],
            }
        )


class MetricsView(PublicView):
    """Prometheus text of all web processes."""

    @extend_schema(responses={(200, "text/plain"): str}, operation_id="metrics")
    def get(self, request: Request) -> HttpResponse:
        if not settings.ENABLE_METRICS:
            raise NotFound("Metrics are switched off (ENABLE_METRICS)")
        return HttpResponse(metrics.page(), content_type="text/plain; version=0.0.4; charset=utf-8")


class DocsPermission(BasePermission):
    """/docs and /openapi.json are open in development only."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not settings.PRODUCTION:
            return True
        permissions = cast("list[type[BasePermission]]", api_settings.DEFAULT_PERMISSION_CLASSES)
        return all(permission().has_permission(request, view) for permission in permissions)


def _heading(status: str) -> dict[str, Any]:
    return {
        "status": status,
        "timestamp": _timestamp(),
        "service": "automation-services",
        "version": settings.VERSION,
    }


def _check_object(result: health.Result) -> dict[str, Any]:
    found: dict[str, Any] = {"status": result.status, "latency_ms": result.latency_ms}
    return found | {"error": result.error} if result.error else found


def _timestamp() -> str:
    return clock.now().isoformat().replace("+00:00", "Z")


def _not_ready(request: Request, reason: str) -> Response:
    failure = errors.unavailable(reason)
    content = errors.body(request, failure) | {"status": "not_ready"}
    return Response(content, status=failure.status, headers=dict(failure.headers))


class _Migrations:
    """Whether every migration is applied: asked of the database until it is so, and then remembered."""

    def __init__(self) -> None:
        self.applied = False
        self._asked_at = -MIGRATIONS_ASKED_EVERY_SECONDS

    def missing(self) -> bool:
        due = time.monotonic() - self._asked_at >= MIGRATIONS_ASKED_EVERY_SECONDS
        if not self.applied and due:
            executor = MigrationExecutor(connection)
            self.applied = not executor.migration_plan(executor.loader.graph.leaf_nodes())
            self._asked_at = time.monotonic()
        return not self.applied


_migrations = _Migrations()


def _not_ready_because() -> str:
    """Return why this process cannot serve, or an empty text."""
    if health.check_all()["database"].status != health.HEALTHY:
        return "The database is not available"
    try:
        return "Migrations are missing" if _migrations.missing() else ""
    except DatabaseError:
        return "The database is not available"
