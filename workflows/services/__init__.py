"""What can be done with workflows. Views, the admin and tasks translate to these calls."""

from workflows.engine.launch import Start
from workflows.services.counters import fold_counters
from workflows.services.executions import (
    Started,
    cancel_execution,
    drain_lane,
    retry_step,
    run_draft,
    start_execution,
    sweep_workflows,
)
from workflows.services.reruns import Filter, Rerun, find_reruns, rerun_execution, rerun_executions
from workflows.services.retention import prune_due
from workflows.services.sagas import compensate_by_hand, open_entries, retry_compensation
from workflows.services.schedules import follow_edits
from workflows.services.slots import run_due_slots, run_overdue_slots
from workflows.services.triggers import evaluate_due_files, facts_of_file, reason_against_file, request_evaluation
from workflows.services.workflows import (
    check_definition,
    create_workflow,
    delete_workflow,
    document_of,
    duplicate_workflow,
    publish_draft,
    restore_version,
    save_draft,
    set_enabled,
    set_paused,
    update_workflow,
)

__all__ = [
    "Filter",
    "Rerun",
    "Start",
    "Started",
    "cancel_execution",
    "check_definition",
    "compensate_by_hand",
    "create_workflow",
    "delete_workflow",
    "document_of",
    "drain_lane",
    "duplicate_workflow",
    "evaluate_due_files",
    "facts_of_file",
    "find_reruns",
    "fold_counters",
    "follow_edits",
    "open_entries",
    "prune_due",
    "publish_draft",
    "reason_against_file",
    "request_evaluation",
    "rerun_execution",
    "rerun_executions",
    "restore_version",
    "retry_compensation",
    "retry_step",
    "run_draft",
    "run_due_slots",
    "run_overdue_slots",
    "save_draft",
    "set_enabled",
    "set_paused",
    "start_execution",
    "sweep_workflows",
    "update_workflow",
]
