"""Paths of accounts; included under `api/v1/`."""

from django.urls import path

from accounts.api import views

urlpatterns = [
    path("secrets", views.SecretListView.as_view()),
    path("secrets/<str:key>", views.SecretView.as_view()),
]
