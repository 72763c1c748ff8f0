"""Where the admin's pages of schedules are, and what a browser posts there."""

from typing import Any

TASKS = "/admin/django_celery_beat/periodictask/"
CRONTABS = "/admin/django_celery_beat/crontabschedule/"


def form_of(**changes: Any) -> dict[str, Any]:
    """Return what a browser posts for a periodic task."""
    given = {
        "name": "every morning",
        "task": "",
        "enabled": "on",
        "args": "[]",
        "kwargs": "{}",
        "headers": "{}",
        "input_data": "",
        "missed_policy": "latest",
        "missed_window_seconds": "86400",
        "overlap_policy": "skip",
    }
    return {name: value for name, value in (given | changes).items() if value is not None}
