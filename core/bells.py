"""Bells: Celery messages that say "this queue has due work". Rows are the truth; a bell may be lost.

Ringing therefore never raises: with the broker down the caller's work is already safe in its row, and the
sweep rings again. After a failure this process does not try for a second, so that accepting work stays fast.
"""

import os
import threading
import time
from typing import Any

from celery import current_app
from django.conf import settings
from kombu import Connection, Producer
from kombu.exceptions import KombuError

from core import logs

log = logs.get(__name__)

EXPIRES_SECONDS = 60
_PAUSE_AFTER_FAILURE_SECONDS = 1.0
_local = threading.local()
_silent_until = 0.0


def ring(task: str, *, queue: str, countdown_seconds: float = 0.0, kwargs: dict[str, Any] | None = None) -> bool:
    """Send one bell, unless as many as the lane has processes are still unheard. True if one was sent.

    With `countdown_seconds` the bell is an accelerator for work that becomes due then.
    """
    if time.monotonic() < _silent_until:
        return False
    try:
        producer = _producer()
        if not countdown_seconds and _unheard(producer, queue) >= settings.LANE_CONCURRENCY[queue]:
            return False
        current_app.send_task(
            task,
            kwargs=kwargs,
            queue=queue,
            producer=producer,
            retry=False,
            ignore_result=True,
            countdown=countdown_seconds or None,
            expires=countdown_seconds + EXPIRES_SECONDS,
        )
    except _unreachable() as error:
        _mute(error)
        return False
    return True


def _producer() -> Any:
    """Return this thread's producer, over a connection of its own with short time-outs."""
    if getattr(_local, "pid", None) != os.getpid():
        connection = Connection(
            settings.CELERY_BROKER_URL,
            connect_timeout=0.3,
            transport_options={"socket_connect_timeout": 0.3, "socket_timeout": 0.5, "max_retries": 0},
        )
        _local.producer = Producer(connection.default_channel, auto_declare=False)
        _local.connection = connection
        _local.pid = os.getpid()
    return _local.producer


def _unheard(producer: Any, queue: str) -> int:
    channel = producer.channel
    if hasattr(channel, "client"):  # Redis: the length of the list
        return int(channel.client.llen(queue))
    return int(channel.queue_declare(queue=queue, passive=True).message_count)


def _unreachable() -> tuple[type[Exception], ...]:
    """Return the errors that mean "no broker": kombu's, the system's, and those of the transport in use."""
    connection = getattr(_local, "connection", None)
    own: tuple[type[Exception], ...] = ()
    if connection is not None:
        own = (*connection.connection_errors, *connection.channel_errors)
    return (KombuError, OSError, *own)


def _mute(error: BaseException) -> None:
    global _silent_until
    _silent_until = time.monotonic() + _PAUSE_AFTER_FAILURE_SECONDS
    connection, _local.pid = getattr(_local, "connection", None), None
    if connection is not None:
        connection.release()
    log.warning("bell.unheard", error=str(error), effect="the sweep rings again when the broker is back")
