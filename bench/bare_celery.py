"""The reference of throughput: Celery's own no-op tasks, published beforehand, drained by two processes."""

import subprocess
import sys

import redis

from bench.celery_app import QUEUE, STAMPS
from bench.processes import environment, last_words, started
from bench.servers import Servers
from config.launcher import plan

WARM_UP = 500
PROCESSES = 2
DRAIN_SECONDS = 20
_PUBLISH = """
import sys
from bench.celery_app import app, noop, stamp
with app.producer_or_acquire() as producer:
    for task, times in ((noop, int(sys.argv[1])), (stamp, 1), (noop, int(sys.argv[2])), (stamp, 1)):
        for _ in range(times):
            task.apply_async(producer=producer)
"""


def tasks_per_second(servers: Servers, tasks: int) -> float:
    """Return the rate at which `tasks` waiting no-op tasks are run, the worker's first 500 left out."""
    env, log = environment(servers), servers.folder / "celery.log"
    subprocess.run([sys.executable, "-c", _PUBLISH, str(WARM_UP), str(tasks)], check=True, env=env, cwd=plan.ROOT)
    command = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet", "-A", "bench.celery_app", "worker"]
    options = ["-Q", QUEUE, "--pool", "prefork", "-c", str(PROCESSES), *plan.QUIET_WORKER, "--loglevel", "WARNING"]
    patience = DRAIN_SECONDS + 5
    with (
        redis.Redis.from_url(servers.redis_url, socket_timeout=patience) as client,
        started([*command, *options], env=env, log=log),
    ):
        stamps = [client.blpop([STAMPS], timeout=DRAIN_SECONDS) for _ in range(2)]
    if None in stamps:
        raise RuntimeError(f"bare Celery did not drain its tasks:\n{last_words(log)}")
    first, last = (float(found[1]) for found in stamps)
    return tasks / (last - first)
