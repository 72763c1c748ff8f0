"""Bare Celery: a task that does nothing, and one that tells when it ran. Celery's own defaults otherwise."""

import os
import time

import redis
from celery import Celery

QUEUE = "bench_noop"
STAMPS = "bench_stamps"

# The broker is CELERY_BROKER_URL, which Celery reads itself.
app = Celery("bench")
app.conf.update(task_ignore_result=True, task_default_queue=QUEUE, broker_connection_retry_on_startup=True)


@app.task
def noop() -> None:
    """Do nothing."""


@app.task
def stamp() -> None:
    """Push the present time (seconds) to the list of stamps."""
    with redis.Redis.from_url(os.environ["CELERY_BROKER_URL"]) as client:
        client.rpush(STAMPS, time.time())
