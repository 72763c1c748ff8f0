"""Enumerations of workflows."""

from django.db.models import IntegerChoices, TextChoices


class WorkflowStatus(TextChoices):
    ACTIVE = "active"
    INACTIVE = "inactive"
    PAUSED = "paused"
    DELETED = "deleted"


class Dialect(TextChoices):
    """Who wrote the definition (contract 1.1 and 5.1); answers are given in the dialect that was asked."""

    A = "A", "workflow_config (documents 0 and 4)"
    B = "B", "steps and trigger_type (document 1)"
    C = "C", "config and triggers (the older sibling)"
    PLATFORM = "P", "nodes and edges (document 2)"


class ExecutionStatus(TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


FINAL_STATUSES = frozenset(
    {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.TIMEOUT}
)
LIVE_STATUSES = frozenset({ExecutionStatus.PENDING, ExecutionStatus.RUNNING})


class StepStatus(TextChoices):
    """States of a step attempt. The API shows `waiting` as retrying or running (ENGINE 5)."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"


class TriggerType(TextChoices):
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    FILE_UPLOAD = "file_upload"
    FILE_PROCESSED = "file_processed"
    WEBHOOK = "webhook"
    EVENT = "event"
    AUTOMATION = "automation"
    WORKFLOW = "workflow"


class Priority(IntegerChoices):
    """Claimed in this order within a lane; stored as numbers so that an index can sort by them."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class Lane(TextChoices):
    """Which kind of worker runs a step: prefork, threads, or prefork with extraction children."""

    FLOW = "flow"
    IO = "io"
    FILES = "files"


class Effect(TextChoices):
    """What repeating a step would do to the outside world (ENGINE 5, checkpoint rule)."""

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    ONCE = "once"


class BranchKind(TextChoices):
    ROOT = "root"
    PARALLEL = "parallel"
    FOREACH_CHUNK = "foreach_chunk"
    COMPENSATION = "compensation"
    FINALLY = "finally"


class WaitingOn(TextChoices):
    """Why a branch is not due. An empty value means that it is."""

    TIMER = "timer"
    RETRY = "retry"
    APPROVAL = "approval"
    EVENT = "event"
    CHILDREN = "children"
    SLOT = "slot"


class StopReason(TextChoices):
    """Why an execution was asked to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"


class SagaStatus(TextChoices):
    """States of a saga: of an execution with compensations, or started by a caller (ENGINE 6)."""

    INITIALIZING = "initializing"
    RUNNING = "running"
    COMPLETED = "completed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CompensationStatus(TextChoices):
    """What became of one step that is to be undone."""

    OPEN = "open"
    COMPENSATED = "compensated"
    FAILED = "failed"
    BY_HAND = "by_hand", "compensated by hand"


class ConcurrencyPolicy(TextChoices):
    """What happens to a start while as many executions run as the workflow allows."""

    QUEUE = "queue", "queue: it waits for a slot"
    SKIP = "skip", "skip: it is refused"
    CANCEL_RUNNING = "cancel_running", "cancel_running: the oldest is cancelled for it"


class SlotOutcome(TextChoices):
    """What became of a slot. A queued one waits for earlier executions and becomes ran, or skipped."""

    RAN = "ran"
    SKIPPED = "skipped"
    MISSED = "missed"
    QUEUED = "queued"


class MissedPolicy(TextChoices):
    """What happens to slots that passed while nobody looked."""

    SKIP = "skip", "skip: run none of them"
    LATEST = "latest", "latest: run the newest of them"
    ALL = "all", "all: run those inside the window"


class OverlapPolicy(TextChoices):
    """What happens to a slot while an execution of its workflow is still live."""

    SKIP = "skip", "skip: do not run the slot"
    ALLOW = "allow", "allow: run side by side"
    QUEUE = "queue", "queue: run the slot after it"
    CANCEL_RUNNING = "cancel_running", "cancel_running: cancel it, then run the slot"


class EventWaitStatus(TextChoices):
    """What became of a step's wait for an event."""

    OPEN = "open"
    MATCHED = "matched"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ApprovalStatus(TextChoices):
    """What became of a step's question to people. Only `pending` can be decided."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
