from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    name = "workflows"

    def ready(self) -> None:
        from core import health
        from workflows import receivers, selectors  # noqa: F401

        health.register_metrics(selectors.health_numbers)
