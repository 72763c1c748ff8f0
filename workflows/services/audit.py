"""What audit rows hold of a workflow: the same, whichever way it was changed."""

from typing import Any

from workflows.models import Workflow

AUDITED = (
    "name",
    "status",
    "is_enabled",
    "trigger_on_file_upload",
    "trigger_file_extensions",
    "cron_schedule",
    "is_scheduled",
)


def workflow_values(workflow: Workflow) -> dict[str, Any]:
    """Return the audited columns of a workflow."""
    return {name: getattr(workflow, name) for name in AUDITED}
