"""Admin pages of workflows, executions, approvals, evaluations and schedules."""

from workflows.admin import approvals, evaluations, executions, schedules, workflows

__all__ = ["approvals", "evaluations", "executions", "schedules", "workflows"]
