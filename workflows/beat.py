"""Beat: django-celery-beat's scheduler with the engine's sweep and the schedules of workflows in its tick.

Any number of beats may run: every statement of the sweep and of the schedules is safe beside itself.
"""

import time
from typing import Any

from celery.schedules import ParseException
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django_celery_beat.schedulers import DatabaseScheduler

from core import health, logs
from files import services as files
from workflows import enqueue, services
from workflows.choices import Lane
from workflows.signals import swept

log = logs.get(__name__)

PRUNE_INTERVAL_SECONDS = 10.0
# Bells must not wait long for it.
PRUNE_SECONDS = 0.25
FOLD_INTERVAL_SECONDS = 5.0
# Workers say that they live when they hear a bell: every lane hears one at least this often.
ROLL_CALL_SECONDS = 15.0


# Between two ticks at least, should another beat hold what is due.
SHORTEST_PAUSE_SECONDS = 0.05


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # django-celery-beat ships no types
    """Runs admin-edited periodic tasks; sweeps and starts due schedules every `SWEEP_INTERVAL_SECONDS`.

    Periodic tasks that start workflows are left out of Celery's own clock: `services.run_due_slots` starts them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._folded_at = 0.0
        self._rolled_at = 0.0
        self._swept_at = 0.0
        self._pruned_at = 0.0
        self._checked_at = 0.0

    def enabled_models_qs(self) -> Any:
        """Return what Celery's own clock runs: all but the tasks of workflows."""
        return super().enabled_models_qs().filter(workflow_schedule=None)

    def enabled_models(self) -> list[Any]:
        """Return the tasks of Celery's own clock, without rows, written by other means, that would stop it.

        A time zone that this machine does not know spoils every task of that clock, but neither sweep nor workflows.
        """
        try:
            return [model for model in super().enabled_models() if _is_readable(model)]
        except ValidationError as error:
            log.warning("schedules.unreadable", error=str(error))
            return []

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Start what is due, sweep, then let celery beat do its own; sleep until the next of all that."""
        next_slot = self._run_schedules()
        if time.monotonic() - self._swept_at >= settings.SWEEP_INTERVAL_SECONDS:
            self._swept_at = time.monotonic()
            self._sweep()
        pause = super().tick(*args, **kwargs)
        next_sweep = self._swept_at + settings.SWEEP_INTERVAL_SECONDS - time.monotonic()
        return float(max(min(pause, next_sweep, next_slot), SHORTEST_PAUSE_SECONDS))

    def _run_schedules(self) -> float:
        """Follow edits of schedules and start due slots. Returns in how many seconds the next one is due."""
        try:
            overdue = time.monotonic() - self._checked_at > settings.SCHEDULER_CHECK_INTERVAL_SECONDS
            services.follow_edits(everything=overdue)
            if overdue:
                self._checked_at = time.monotonic()
            next_slot = services.run_due_slots()
        except (DatabaseError, InterfaceError) as error:
            log.warning("schedules.failed", error=str(error))
            connection.close()
            return float(settings.SWEEP_INTERVAL_SECONDS)
        except Exception:  # as in the sweep: what nobody foresaw is told, and the beat goes on
            log.exception("schedules.failed")
            return float(settings.SWEEP_INTERVAL_SECONDS)
        return float(settings.SWEEP_INTERVAL_SECONDS) if next_slot is None else next_slot

    def _sweep(self) -> None:
        """Run each part of the sweep; what is wrong with one stops neither the others nor the schedules."""
        parts = (services.sweep_workflows, files.sweep_files, self._tell_apps, self._fold, self._prune, self._call_roll)
        for part in (*parts, health.record_beat):
            try:
                part()
            except (OperationalError, InterfaceError) as error:
                # The database is away: the next tick tries again over a new connection.
                log.warning("sweep.failed", part=part.__name__, error=str(error))
                connection.close()
                return
            except Exception:  # what a part did not foresee: it is told, and the next tick tries again
                log.exception("sweep.failed", part=part.__name__)

    def _tell_apps(self) -> None:
        swept.send(sender=Scheduler)

    def _fold(self) -> None:
        if time.monotonic() - self._folded_at > FOLD_INTERVAL_SECONDS:
            services.fold_counters()
            self._folded_at = time.monotonic()

    def _prune(self) -> None:
        """Delete a little of what is older than asked for; after a full round that rests by itself."""
        if time.monotonic() - self._pruned_at > PRUNE_INTERVAL_SECONDS:
            self._pruned_at = time.monotonic()
            services.prune_due(budget_seconds=PRUNE_SECONDS)
            files.remove_old_files(budget_seconds=PRUNE_SECONDS)

    def _call_roll(self) -> None:
        if time.monotonic() - self._rolled_at > ROLL_CALL_SECONDS:
            self._rolled_at = time.monotonic()
            for lane in Lane:
                enqueue.ring_lane(lane)


def _is_readable(task: Any) -> bool:
    """Tell whether Celery can count with a task's schedule; ValueError and lost rows are its own business."""
    try:
        _ = task.schedule
    except (OverflowError, ParseException) as error:
        log.warning("schedule.unreadable", task=task.name, error=str(error))
        return False
    except (ValueError, ObjectDoesNotExist):
        return True
    return True
