"""What expressions of an execution can see, built from its claim, its program and its stored outputs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from core import clock, masking
from core.expressions import Scope
from core.masking import Needles, Source
from workflows.choices import StepStatus
from workflows.engine import spill
from workflows.engine.lease import Claim
from workflows.engine.program import Node, Program, handles_error
from workflows.engine.vault import Vault, names_secrets

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Stored:
    """The latest stored attempt of a path."""

    path: str
    attempt: int
    node: int
    status: str
    output_data: Mapping[str, Any] | None
    made_by: str
    started_at: datetime | None
    first_started_at: datetime | None
    completed_at: datetime | None
    error_code: str
    error_message: str | None
    input_data: Any
    deadline_at: datetime | None


@dataclass
class History:
    """Outputs of the steps that are done, by name for expressions and by path for the runner."""

    outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    previous: Mapping[str, Any] | None = None
    stored: dict[str, Stored] = field(default_factory=dict)

    def attempts_of(self, path: str) -> int:
        """Return how many attempts of a path earlier runs stored."""
        stored = self.stored.get(path)
        return stored.attempt if stored else 0

    def is_done(self, path: str) -> bool:
        """Tell whether an earlier run stored the path as completed."""
        stored = self.stored.get(path)
        return stored is not None and stored.status == StepStatus.COMPLETED

    def add(self, node: Node, output: Mapping[str, Any]) -> None:
        """Record a finished step."""
        self.outputs[node.name] = output
        self.previous = output

    def copied(self) -> "History":
        """Return a history of its own that begins as this one: what a loop's item sees of the steps around it."""
        return History(dict(self.outputs), self.previous, dict(self.stored))


def load_history(claim: Claim, program: Program, scopes: Sequence[str], onto: History | None = None) -> History:
    """Read what earlier slices stored in these scopes; one statement, none for a fresh start."""
    history = onto or History()
    if claim.started_at is None or not scopes:
        return history
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (path) path, attempt, node, status, output_data, made_by, started_at,"
            " min(started_at) OVER (PARTITION BY path), completed_at,"
            " error_code, error_message, CASE WHEN status IN ('running', 'waiting') THEN input_data END, deadline_at,"
            " spill_id"
            " FROM workflow_execution_steps WHERE execution_id = %s AND scope = ANY(%s) ORDER BY path, attempt DESC",
            [claim.execution_id, list(scopes)],
        )
        rows = [_stored(row) for row in cursor.fetchall()]
    # In the order in which they ended: a conditional ends after its action.
    for stored in sorted(rows, key=lambda item: (item.completed_at or _NEVER, -item.node)):
        history.stored[stored.path] = stored
        node = program.nodes[stored.node]
        if stored.status == StepStatus.COMPLETED:
            history.add(node, {} if stored.output_data is None else stored.output_data)
        elif stored.status == StepStatus.FAILED and handles_error(node.step):
            history.add(node, {"error": stored.error_message, "error_code": stored.error_code})
    return history


def scope_of(
    claim: Claim,
    program: Program,
    history: History,
    *,
    now: datetime | None = None,
    loop: dict[str, Any] | None = None,
) -> Scope:
    """Return the names that expressions of this execution may use (ENGINE 4); `loop` holds `item` and `index`."""
    trigger = claim.trigger_data or {}
    return Scope(
        {
            **(loop or {}),
            "execution_id": claim.execution_id,
            "workflow_id": claim.workflow_id,
            "trigger": trigger,
            "input": trigger,
            "variables": program.variables,
            "steps": history.outputs,
            "env": allowed_environment(),
            "secrets": vault_of(claim),
            "now": (now or clock.now()).isoformat().replace("+00:00", "Z"),
            "workflow": {"id": claim.workflow_id, "execution_uuid": str(claim.execution_uuid)},
        }
    )


@cache
def allowed_environment() -> dict[str, str]:
    """Return the environment variables that definitions may read (`WORKFLOW_ENV_ALLOWLIST`)."""
    return {name: os.environ[name] for name in settings.WORKFLOW_ENV_ALLOWLIST if name in os.environ}


@cache
def environment_needles() -> Needles:
    """Return what to mask of the environment's variables that definitions may read."""
    return masking.needles_of(_environment_secrets())


def secret_needles() -> Needles:
    """Return what to mask in whatever is stored of the execution that runs now."""
    source = masking.source()
    return source.needles() if isinstance(source, Vault) else environment_needles()


def vault_of(claim: Claim) -> Vault:
    """Return the secrets of the execution's owner: those of the slice that runs now, else a vault of its own."""
    source: Source = masking.source()
    if isinstance(source, Vault) and source.owner_id == claim.owner_id:
        return source
    is_named = names_secrets(claim.version_id)
    return Vault(claim.owner_id, is_named=is_named, others=tuple(_environment_secrets()))


def _environment_secrets() -> list[str]:
    return [value for value in allowed_environment().values() if value]


def _stored(row: tuple[Any, ...]) -> Stored:
    output = spill.output_of(_json(row[4]), row[13])
    return Stored(*(*row[:4], output, *row[5:11], _json(row[11]), row[12]))


def _json(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str | bytes) else value
