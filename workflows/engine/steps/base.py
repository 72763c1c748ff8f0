"""The one protocol of step types, used by the built-in steps and by anybody's own.

A step type is a subclass of `Step` with a pydantic model of its config. It is registered by name with
`registry.register`, from an installed app, a module named in `STEP_MODULES`, or the entry-point group
`pyairtable_automation.steps`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from core.expressions import Scope
from workflows.choices import Effect, Lane, WaitingOn

if TYPE_CHECKING:
    from workflows.engine.checkpoint import Ended


class StepConfig(BaseModel):
    """Base of config models; unknown keys are ignored, as the contract wants."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


ConfigT = TypeVar("ConfigT", bound=StepConfig)
# A name of its own, since `type` is the name of a step type inside `Step`.
ConfigModel = type[StepConfig]


class StepError(Exception):
    """A step failed. `retryable` says whether another attempt may help.

    `effect_happened` is False only where the outside world was certainly not touched; a `once` step is
    repeated in no other case. `retry_after_seconds` comes from the other side (Retry-After).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = True,
        effect_happened: bool | None = None,
        retry_after_seconds: float | None = None,
        output: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.effect_happened = effect_happened
        self.retry_after_seconds = retry_after_seconds
        self.output = output


@dataclass(frozen=True)
class Output:
    """The step is done; `data` is what `{{steps.<name>}}` gives."""

    data: dict[str, Any]


@dataclass(frozen=True)
class Wait:
    """The step waits; the worker is free meanwhile, then `resume` is called.

    A timer waits until a time. Whatever else is waited for wakes the branch when it comes, at `until` at the
    latest if that is given. `begin(branch id)` is called in the transaction that stores the wait: rows that wake
    the branch are made there, so that nothing can come before the wait is there. It may raise StepError: the wait
    is not stored then, and the attempt has failed.
    """

    until: datetime | None
    reason: str
    on: WaitingOn = WaitingOn.TIMER
    begin: Callable[[int], None] | None = None


@dataclass(frozen=True)
class Choose:
    """A control step chose one of its branches ("true" or "false"); `data` is its output so far."""

    branch: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Spawn:
    """The step's lists run in branches of their own; the worker is free until all have ended, then `resume`.

    Of a loop, `count` items with at most `at_once` in flight.
    """

    reason: str
    count: int | None = None
    at_once: int = 1


@dataclass(frozen=True)
class Stop:
    """The execution ends here: completed, or failed with a message."""

    data: dict[str, Any]
    failed: bool
    message: str


Outcome = Output | Wait | Choose | Spawn | Stop


class Children(Protocol):
    """What the branches that a step began came to."""

    @property
    def ended(self) -> list["Ended"]:
        """Return the children's ends; of a loop the failed items only."""

    def outputs(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the output of the last step of each child named; None where it was skipped or failed."""


@dataclass
class StepContext:
    """What a step may know and use while it runs.

    `idempotency_key` is the same over retries and recovery; `deadline` is when the attempt times out.
    """

    execution_id: int
    execution_uuid: UUID
    workflow_id: int
    version_id: int
    owner_id: int
    path: str
    attempt: int
    idempotency_key: str
    effect: Effect
    deadline: datetime
    scope: Scope
    trigger: dict[str, Any]
    cause_chain: tuple[int, ...]
    previous_output: Mapping[str, Any] | None
    strict: bool
    correlation_id: str
    cancel_requested: Callable[[], bool]
    children: Children
    lines: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    output_file_ids: list[int] = field(default_factory=list)

    def log(self, message: str, *, level: str = "info") -> None:
        """Add a line to the step's own log, shown with the step."""
        self.lines.append({"level": level, "message": message})


class Step(ABC, Generic[ConfigT]):
    """A kind of step. One instance serves all executions of a process: keep no state on it."""

    type: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    title: ClassVar[str] = ""
    config_model: ClassVar[ConfigModel]
    output_keys: ClassVar[tuple[str, ...]] = ()
    # What repeating the step does outside; the author of a workflow may choose another with `effect`.
    effect: ClassVar[Effect] = Effect.IDEMPOTENT
    # None: cheap and bounded, runs on whatever lane the branch is on.
    lane: ClassVar[Lane | None] = Lane.FLOW
    # Config keys that hold definitions of other steps, not expressions of this one.
    raw_keys: ClassVar[frozenset[str]] = frozenset()
    # Config keys of which the stored input holds the length only, where they are long: outputs hold them already.
    counted_keys: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def run(self, config: ConfigT, context: StepContext) -> Outcome:
        """Do the work once. Raises StepError."""

    def resume(self, config: ConfigT, context: StepContext) -> Outcome:
        """Continue after the wait that `run` asked for."""
        return self.run(config, context)
