"""The composition root as a Django app: loads Celery, logging and system checks once per process."""

from django.apps import AppConfig


class CompositionRoot(AppConfig):
    name = "config"
    label = "config"

    def ready(self) -> None:
        from config import celery, checks  # noqa: F401  (registers the app and the checks)
        from core import logs, metrics  # noqa: F401  (connects itself to Celery's tasks)

        logs.configure()
