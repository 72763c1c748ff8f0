"""What an execution undid after it failed, and what is left to people (ENGINE 6)."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from core.admin import NOTHING, Button, label
from workflows import services
from workflows.choices import FINAL_STATUSES, CompensationStatus, SagaStatus
from workflows.models import Execution, WorkflowInstance

RETRY_COMPENSATION = Button(
    "retry_compensation",
    "Try again",
    icon="undo",
    confirm="Try to undo the open steps again? Each may reach the outside world once more.",
)
BY_HAND = Button("compensate_by_hand", "Undone by hand")
COLOURS = {
    CompensationStatus.OPEN: ("waiting", "still to be undone"),
    CompensationStatus.COMPENSATED: ("completed", "undone"),
    CompensationStatus.FAILED: ("failed", "not undone"),
    CompensationStatus.BY_HAND: ("completed", "undone by hand"),
}


def compensation(request: HttpRequest, execution: Execution) -> dict[str, Any] | None:
    """Return what the panel shows, in the order of undoing; None for an execution that undoes nothing."""
    saga = WorkflowInstance.objects.filter(execution=execution).only("status", "steps_data").first()
    if saga is None:
        return None
    left = services.open_entries(saga)
    is_over = execution.status in FINAL_STATUSES and saga.status == SagaStatus.FAILED
    return {
        "status": label({"compensated": "completed", "failed": "failed"}.get(saga.status, "running"), saga.status),
        "sentence": _sentence(saga, len(left)),
        "entries": [_entry(entry) for entry in saga.steps_data],
        "may_mend": is_over and bool(left) and request.user.has_perm("workflows.change_execution"),
        "retry": RETRY_COMPENSATION,
        "retry_url": reverse("admin:workflows_execution_press", args=(execution.pk, RETRY_COMPENSATION.name)),
        "by_hand_url": reverse("admin:workflows_execution_press", args=(execution.pk, BY_HAND.name)),
    }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    state = CompensationStatus(entry["status"])
    return {
        "path": entry["path"],
        "state": label(*COLOURS[state]),
        "why": entry["note"] or entry["error"] or NOTHING,
        "is_open": state in (CompensationStatus.OPEN, CompensationStatus.FAILED),
    }


def _sentence(saga: WorkflowInstance, left: int) -> str:
    count = len(saga.steps_data)
    if not left:
        return f"Everything that {count} step{'' if count == 1 else 's'} had done was undone."
    if saga.status == SagaStatus.FAILED:
        return f"{left} of {count} steps could not be undone: try again, or undo them yourself and say how."
    return f"{count - left} of {count} steps are undone so far."
