"""Tables of workflows: what operators edit, what runs, what triggers."""

from workflows.models.execution import Branch, CounterDelta, Execution, StepAttempt, WorkflowInstance
from workflows.models.spill import Spill
from workflows.models.trigger import Evaluation, ScheduleSlot, WorkflowSchedule
from workflows.models.wait import Approval, EventWait
from workflows.models.workflow import Workflow, WorkflowVersion

__all__ = [
    "Approval",
    "Branch",
    "CounterDelta",
    "Evaluation",
    "EventWait",
    "Execution",
    "ScheduleSlot",
    "Spill",
    "StepAttempt",
    "Workflow",
    "WorkflowInstance",
    "WorkflowSchedule",
    "WorkflowVersion",
]
