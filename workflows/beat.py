"""Beat: django-celery-beat's scheduler with the engine's sweep in its tick.

Any number of beats may run: every statement of the sweep is safe beside itself.
"""

import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django_celery_beat.schedulers import DatabaseScheduler

from core import health, logs
from files import services as files
from workflows import enqueue, services
from workflows.choices import Lane
from workflows.signals import swept

log = logs.get(__name__)

FOLD_INTERVAL_SECONDS = 5.0
# Workers say that they live when they hear a bell: every lane hears one at least this often.
ROLL_CALL_SECONDS = 15.0


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # django-celery-beat ships no types
    """Runs admin-edited periodic tasks, and sweeps every `SWEEP_INTERVAL_SECONDS`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._folded_at = 0.0
        self._rolled_at = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Sweep, then let celery beat do its own; never sleep longer than the sweep's interval."""
        self._sweep()
        pause = super().tick(*args, **kwargs)
        return float(min(pause, settings.SWEEP_INTERVAL_SECONDS))

    def _sweep(self) -> None:
        try:
            services.sweep_workflows()
            files.sweep_files()
            swept.send(sender=Scheduler)
            if time.monotonic() - self._folded_at > FOLD_INTERVAL_SECONDS:
                services.fold_counters()
                self._folded_at = time.monotonic()
            self._call_roll()
            health.record_beat()
        except (DatabaseError, InterfaceError) as error:
            # The database is away: the next tick tries again over a new connection.
            log.warning("sweep.failed", error=str(error))
            connection.close()

    def _call_roll(self) -> None:
        if time.monotonic() - self._rolled_at > ROLL_CALL_SECONDS:
            self._rolled_at = time.monotonic()
            for lane in Lane:
                enqueue.ring_lane(lane)
