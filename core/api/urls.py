"""Paths of probes, health, metrics and documentation. Every pattern is written without a trailing slash."""

from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from core.api import health

urlpatterns = [
    path("", health.RootView.as_view(), name="root"),
    path("info", health.InfoView.as_view(), name="info"),
    path("health", health.HealthView.as_view(), name="health"),
    path("health/detailed", health.DetailedHealthView.as_view(), name="health-detailed"),
    path("health/ready", health.ReadyModeView.as_view(), name="health-ready"),
    path("health/live", health.LiveView.as_view(), name="health-live"),
    path("ready", health.ReadyView.as_view(), name="ready"),
    path("live", health.LiveView.as_view(), name="live"),
    path("files/health", health.PartHealthView.as_view(), name="files-health"),
    path("automation/health", health.PartHealthView.as_view(), name="automation-health"),
    path("saga/health", health.PartHealthView.as_view(), name="saga-health"),
    path("transactions/health", health.PartHealthView.as_view(), name="transactions-health"),
    path("api/health", health.PlatformHealthView.as_view(), name="api-health"),
    path("metrics", health.MetricsView.as_view(), name="metrics"),
    path(
        "openapi.json",
        SpectacularJSONAPIView.as_view(permission_classes=[health.DocsPermission]),
        name="schema",
    ),
    path(
        "docs",
        # The page and its script apart: nothing inline that a content security policy would refuse.
        SpectacularSwaggerSplitView.as_view(url_name="schema", permission_classes=[health.DocsPermission]),
        name="docs",
    ),
]
