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
from workflows.services.triggers import evaluate_due_files, request_evaluation
from workflows.services.workflows import (
    create_workflow,
    delete_workflow,
    publish_draft,
    save_draft,
    set_enabled,
    update_workflow,
)

__all__ = [
    "Filter",
    "Rerun",
    "Start",
    "Started",
    "cancel_execution",
    "compensate_by_hand",
    "create_workflow",
    "delete_workflow",
    "drain_lane",
    "evaluate_due_files",
    "find_reruns",
    "fold_counters",
    "open_entries",
    "prune_due",
    "publish_draft",
    "request_evaluation",
    "rerun_execution",
    "rerun_executions",
    "retry_compensation",
    "retry_step",
    "run_draft",
    "save_draft",
    "set_enabled",
    "start_execution",
    "sweep_workflows",
    "update_workflow",
]
