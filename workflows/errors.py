"""Coded errors of workflows."""

from collections.abc import Sequence
from typing import Any

from core.errors import DomainError, Forbidden, InvalidInput, InvalidState, NotFound, Problem


class WorkflowNotFound(NotFound):
    code = "WORKFLOW_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("Workflow not found")


class ExecutionNotFound(NotFound):
    code = "EXECUTION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("Execution not found")


class StepNotFound(NotFound):
    code = "STEP_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("Step not found")


class SagaNotFound(NotFound):
    code = "SAGA_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("SAGA not found")


class DefinitionInvalid(InvalidInput):
    """The definition has problems; each names its place as a JSON pointer."""

    def __init__(self, problems: Sequence[Any]) -> None:
        places = [
            Problem(loc=("body", *problem.pointer.strip("/").split("/")), msg=problem.message, type=problem.code)
            for problem in problems
        ]
        summary = "; ".join(f"{problem.pointer}: {problem.message}" for problem in problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""  # noqa: PLR2004
        super().__init__(f"Invalid workflow definition: {summary}{more}", problems=places)


class WorkflowNotExecutable(InvalidState):
    def __init__(self, status: str, *, enabled: bool) -> None:
        super().__init__(f"Workflow cannot be executed (status: {status}, enabled: {enabled!s})")


class ExecutionFinished(InvalidState):
    def __init__(self, status: str) -> None:
        super().__init__(f"Execution has already finished (status: {status})")


class ExecutionEnding(InvalidState):
    """The execution has been stopped, or has failed: it undoes steps or runs those that always run."""

    def __init__(self, ends_as: str) -> None:
        super().__init__(f"Execution is already ending ({ends_as}): it runs its last steps")


class ExecutionNotFinished(InvalidState):
    def __init__(self, status: str) -> None:
        super().__init__(f"Execution has not finished yet (status: {status})")


class StepNotFailed(InvalidState):
    def __init__(self, status: str) -> None:
        super().__init__(f"Step cannot be retried (status: {status})")


class NothingToCompensate(InvalidState):
    """No step of the execution waits for an operator to be undone."""

    def __init__(self, status: str | None) -> None:
        super().__init__(f"Nothing is open to be compensated (saga: {status or 'none'})")


class CompensationBegun(InvalidState):
    """A step cannot be retried once others have been undone."""

    def __init__(self) -> None:
        super().__init__("Step cannot be retried: compensation has begun")


class StepsUndone(InvalidState):
    """A re-run would build on steps that were undone; `undone` names them, the first first."""

    def __init__(self, begin: str, undone: Sequence[str]) -> None:
        super().__init__(
            f"Execution cannot be re-run from step '{begin}': steps before it were undone ({', '.join(undone)});"
            f" re-run it from '{undone[0]}' or from the start"
        )


class SlotsTaken(InvalidState):
    """As many executions run as the workflow allows, and its policy is to skip the rest."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Skipped: {limit} executions run already, which is the workflow's limit")


class ConcurrencyKeyInvalid(InvalidInput):
    """The workflow's concurrency key cannot be made from this input."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The workflow's concurrency key cannot be made: {problem}")


class IdempotencyKeyInvalid(InvalidInput):
    """The key expression of the workflow's trigger cannot be made from this input."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"The trigger's idempotency key cannot be made: {problem}")


class CauseRefused(DomainError):
    """A chain of causes is too deep or runs in a circle (ENGINE 7)."""

    code = "CAUSE_CHAIN_REFUSED"


class ApprovalNotFound(NotFound):
    code = "APPROVAL_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("Approval not found")


class ApprovalNotYours(Forbidden):
    def __init__(self, assignee: str) -> None:
        super().__init__(f"Only {assignee} or a superuser may decide this approval")


class ApprovalNotPending(InvalidState):
    """It was decided, its deadline has come, or its execution was stopped."""
