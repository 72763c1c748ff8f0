"""The Celery app: it carries bells, never data. See docs/architecture.md and `workflows.enqueue`."""

import os
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from django.conf import settings
from django.db import close_old_connections

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
# Celery's Django fixup would close the connection after every task, and a bell would pay for a new log-in each
# time. Instead, connections are checked before a task, as Django does before a request.
app.conf["CELERY_DB_REUSE_MAX"] = 2**31
app.set_default()
app.autodiscover_tasks(["files", "workflows", "automation"])


@task_prerun.connect(dispatch_uid="config.check_connections")
def check_connections(**kwargs: Any) -> None:
    """Drop database connections that are too old or broken."""
    close_old_connections()
