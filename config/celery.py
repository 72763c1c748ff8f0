"""The Celery app: it carries bells, never data. See docs/architecture.md and `workflows.enqueue`."""

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("automation")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    # Redeliver unacknowledged messages promptly (kombu's default needs 100 s) and late enough for long tasks.
    broker_transport_options={"unacked_restore_throttle": 1, "visibility_timeout": 3600},
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_acks_late=False,
    task_default_queue="flow",
    task_time_limit=settings.CELERY_TASK_TIME_LIMIT,
    task_soft_time_limit=settings.CELERY_TASK_SOFT_TIME_LIMIT,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    timezone="UTC",
    enable_utc=True,
)
app.set_default()
app.autodiscover_tasks(["files", "workflows", "automation"])
