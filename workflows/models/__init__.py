"""Tables of workflows: what operators edit, what runs, what triggers."""

from workflows.models.execution import Branch, CounterDelta, Execution, StepAttempt, WorkflowInstance
from workflows.models.trigger import Evaluation, ScheduleSlot, WorkflowSchedule
from workflows.models.workflow import Workflow, WorkflowVersion

__all__ = [
    "Branch",
    "CounterDelta",
    "Evaluation",
    "Execution",
    "ScheduleSlot",
    "StepAttempt",
    "Workflow",
    "WorkflowInstance",
    "WorkflowSchedule",
    "WorkflowVersion",
]
