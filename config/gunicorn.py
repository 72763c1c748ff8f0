"""gunicorn's settings; `--bind` comes on the command line."""

from typing import Any

from config import env

worker_class = "gthread"
workers = env.integer("WORKERS", default=1, minimum=1)
threads = env.integer("WEB_THREADS", default=16, minimum=1)
# Above the idle time of common load balancers and client pools, so that the client closes first.
keepalive = 75
timeout = 60
graceful_timeout = 10
# Requests are logged once, with their ids, by our middleware.
accesslog = None
loglevel = env.text("LOG_LEVEL", default="info").lower()
# It would be a socket in the home folder, which a read-only container does not have.
control_socket_disable = True


def child_exit(server: Any, worker: Any) -> None:
    """Take back the live gauges of a web process that has ended; its counters stay in the sums."""
    if env.text("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
