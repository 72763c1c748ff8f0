from django.apps import AppConfig


class AutomationConfig(AppConfig):
    name = "automation"

    def ready(self) -> None:
        from automation import receivers  # noqa: F401
        from automation.services import retention
        from core import metrics

        metrics.register_gauges(retention.gauges)
