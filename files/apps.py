from django.apps import AppConfig


class FilesConfig(AppConfig):
    name = "files"

    def ready(self) -> None:
        from core import metrics as shared
        from files import metrics

        shared.register_gauges(metrics.gauges)
