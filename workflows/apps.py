from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    name = "workflows"

    def ready(self) -> None:
        from core import health
        from core import metrics as shared
        from workflows import metrics, receivers, selectors  # noqa: F401
        from workflows.services import retention

        health.register_metrics(selectors.health_numbers)
        shared.register_gauges(metrics.gauges)
        shared.register_gauges(retention.gauges)
