"""Admin pages of workflows, executions, evaluations and schedules."""

from workflows.admin import evaluations, executions, schedules, workflows

__all__ = ["evaluations", "executions", "schedules", "workflows"]
