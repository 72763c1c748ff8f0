"""Paths of events; included at the root (the SAGA orchestrator's) and under `api/v1/`."""

from django.urls import path

from automation.api import views

urlpatterns = [path("events/publish", views.PublishView.as_view())]
