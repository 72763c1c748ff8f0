"""Workflows, executions and steps as the contract's JSON (sections 5 and 6).

Plain functions over rows that selectors have read: no query happens here.
"""

from collections.abc import Iterable
from typing import Any

from core import health
from core.api.renderers import dumps
from workflows.choices import FINAL_STATUSES, ExecutionStatus, StepStatus
from workflows.engine.definition import canonical_step
from workflows.engine.steps.base import Step
from workflows.explanations import shown_status, why
from workflows.models import Branch, Execution, StepAttempt, Workflow, WorkflowInstance, WorkflowVersion
from workflows.selectors import MOST_LISTED_BYTES, last_execution_at, next_slot_at, totals
from workflows.services import Started, open_entries


def workflow_json(workflow: Workflow) -> dict[str, Any]:
    """Return the superset that every dialect finds its own fields in."""
    config = workflow.workflow_config
    steps = config.get("steps") if isinstance(config.get("steps"), list) else []
    return {
        "id": workflow.pk,
        "uuid": workflow.uuid,
        "name": workflow.name,
        "description": workflow.description,
        "workflow_config": config,
        "trigger_config": workflow.trigger_config,
        "cron_schedule": workflow.cron_schedule,
        "is_scheduled": workflow.is_scheduled,
        "trigger_on_file_upload": workflow.trigger_on_file_upload,
        "trigger_file_extensions": workflow.trigger_file_extensions,
        "status": workflow.status,
        "is_enabled": workflow.is_enabled,
        "max_retries": workflow.max_retries,
        "timeout_seconds": workflow.timeout_seconds,
        "retention_days": workflow.retention_days,
        "retention_failed_days": workflow.retention_failed_days,
        "retention_count": workflow.retention_count,
        **totals(workflow),
        "last_execution_at": last_execution_at(workflow),
        "created_at": workflow.created_at,
        "updated_at": workflow.updated_at,
        "trigger_type": workflow.trigger_type or trigger_type_of(workflow),
        "steps": [_dialect_b_step(step, index) for index, step in enumerate(steps or [])],
        "enabled": workflow.is_enabled,
        "template_id": workflow.template_id,
        "next_run_at": next_slot_at(workflow),
    }


def trigger_type_of(workflow: Workflow) -> str:
    """Return dialect B's trigger type for a workflow that was made in another dialect."""
    if workflow.is_scheduled:
        return "scheduled"
    if workflow.trigger_on_file_upload:
        return "event"
    wanted = (workflow.trigger_config or {}).get("type")
    return wanted if isinstance(wanted, str) and wanted in {"webhook", "event"} else "manual"


def execution_json(
    execution: Execution, attempts: Iterable[StepAttempt], branches: Iterable[Branch], *, whole: bool
) -> dict[str, Any]:
    """Return an execution; `whole` false cuts its outputs at 64 KiB, as lists do."""
    attempts = list(attempts)
    result, truncated = _result(attempts, whole=whole)
    answer = {
        "id": execution.pk,
        "uuid": execution.uuid,
        "workflow_id": execution.workflow_id,
        "trigger_type": execution.trigger_type,
        "trigger_data": execution.trigger_data,
        "status": execution.status,
        "result_data": result or (None if execution.status not in FINAL_STATUSES else {}),
        "error_message": execution.error_message,
        "error_code": execution.error_code or None,
        "retry_count": execution.retry_count,
        "execution_time_ms": execution.execution_time_ms,
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "input_file_ids": execution.input_file_ids,
        "output_file_ids": execution.output_file_ids,
        "log_output": [_log_entry(attempt, result) for attempt in attempts],
        "saga_id": execution.saga_id or str(execution.uuid),
        "correlation_id": execution.correlation_id or None,
        **why(execution, branches, served=health.is_served if whole else None),
    }
    return answer | ({"result_truncated": True} if truncated else {})


def step_json(attempt: StepAttempt, branches: Iterable[Branch], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the contract's Step: the latest attempt of a path, under the id of its first."""
    return {
        "id": getattr(attempt, "first_id", attempt.pk),
        "execution_id": attempt.execution_id,
        "step_order": attempt.step_order,
        "step_name": attempt.step_name,
        "step_type": attempt.step_type,
        "status": shown_status(attempt, branches),
        "execution_time_ms": attempt.execution_time_ms,
        "started_at": attempt.started_at,
        "completed_at": attempt.completed_at,
        "input_data": attempt.input_data,
        "output_data": attempt.output_data,
        "error_message": attempt.error_message,
        "error_code": attempt.error_code or None,
        "retry_count": attempt.attempt - 1,
        "max_retries": settings.get("max_retries", 0),
        "warnings": attempt.warnings,
        **({"output_truncated": True} if is_left_out(attempt) else {}),
    }


def is_left_out(attempt: StepAttempt) -> bool:
    """Tell whether an attempt has an output that was not read: in the storage, or too large for a list."""
    return getattr(attempt, "left_out", False) or (attempt.spill_id is not None and attempt.output_data is None)


def saga_json(saga: WorkflowInstance) -> dict[str, Any]:
    """Return what an execution undoes: every step with what became of it, and the paths still open."""
    shown = ("path", "status", "error", "note")
    return {
        "saga_id": saga.uuid,
        "status": saga.status,
        "open": [entry["path"] for entry in open_entries(saga)],
        "steps": [{key: entry[key] for key in shown} for entry in saga.steps_data],
    }


def started_json(started: Started, workflow_id: int) -> dict[str, Any]:
    """Return ExecuteOut. A saga is the execution itself, so they share their id."""
    return {
        "message": "Workflow execution started",
        "execution_id": started.execution_id,
        "workflow_id": workflow_id,
        "status": "pending",
        "execution_uuid": started.execution_uuid,
        "saga_id": str(started.execution_uuid),
        "task_id": str(started.execution_uuid),
    }


def version_json(version: WorkflowVersion) -> dict[str, Any]:
    """Return a version of a workflow: its number, the document as received, and the canonical form."""
    return {
        "workflow_id": version.workflow_id,
        "number": version.number,
        "source": version.source,
        "definition": version.definition,
        "sha256": version.sha256,
        "created_by": version.created_by,
        "created_at": version.created_at,
    }


def step_type_json(kind: Step[Any]) -> dict[str, Any]:
    """Return a step type as editors and documentation use it."""
    return {
        "type": kind.type,
        "aliases": list(kind.aliases),
        "title": kind.title or kind.type,
        "version": kind.version,
        "effect": kind.effect,
        "lane": kind.lane,
        "output_keys": list(kind.output_keys),
        "config_schema": kind.config_model.model_json_schema(),
    }


def _result(attempts: list[StepAttempt], *, whole: bool) -> tuple[dict[str, Any], bool]:
    result: dict[str, Any] = {}
    left = MOST_LISTED_BYTES
    truncated = False
    for attempt in attempts:
        if attempt.status != StepStatus.COMPLETED:
            continue
        if is_left_out(attempt):
            truncated = True
            continue
        if not whole:
            # Numbers over 64 bits come out of jsonb as integers, which orjson alone refuses.
            left -= len(dumps(attempt.output_data))
            if left < 0:
                return result, True
        result[attempt.step_name] = attempt.output_data
    return result, truncated


def _log_entry(attempt: StepAttempt, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": attempt.completed_at or attempt.started_at,
        "step": attempt.step_name,
        "status": attempt.status,
        "result": result.get(attempt.step_name) if attempt.status == ExecutionStatus.COMPLETED else None,
    }


def _dialect_b_step(step: Any, index: int) -> Any:
    if not isinstance(step, dict):
        return step
    made = canonical_step(step, index)
    return {"id": step.get("id") or made["name"], "name": made["name"], "type": made["type"], "config": made["config"]}
