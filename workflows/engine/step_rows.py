"""Rows of step attempts: every try of a step has one, written inside the checkpoint's transaction."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from core.db import hot_cursor
from workflows.engine import spill
from workflows.engine.lease import Claim


@dataclass
class Attempt:
    """A step attempt on its way into `workflow_execution_steps`; names are the table's columns."""

    path: str
    attempt: int
    node: int
    step_order: int
    step_name: str
    step_type: str
    effect: str
    status: str
    input_data: Any = None
    output_data: Any = None
    spill_id: int | None = None
    error_code: str = ""
    error_message: str | None = None
    warnings: list[str] = field(default_factory=list)
    log: list[dict[str, str]] = field(default_factory=list)
    made_by: str = ""
    execution_time_ms: int | None = None
    deadline_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    scope: str = ""


_COLUMNS = {
    "path": "text",
    "scope": "text",
    "attempt": "int",
    "node": "int",
    "step_order": "int",
    "step_name": "text",
    "step_type": "text",
    "effect": "text",
    "status": "text",
    "input_data": "jsonb",
    "output_data": "jsonb",
    "spill_id": "bigint",
    "error_code": "text",
    "error_message": "text",
    "warnings": "jsonb",
    "log": "jsonb",
    "made_by": "text",
    "execution_time_ms": "bigint",
    "deadline_at": "timestamptz",
    "started_at": "timestamptz",
    "completed_at": "timestamptz",
}
_KEY = ("path", "attempt")
_UPSERT_ATTEMPTS = (
    f"INSERT INTO workflow_execution_steps (execution_id, {', '.join(_COLUMNS)})"  # noqa: S608  (constants)
    f" SELECT %s, {', '.join(f'r.{name}' for name in _COLUMNS)}"
    f" FROM jsonb_to_recordset(%s::jsonb) AS r({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})"
    " ON CONFLICT (execution_id, path, attempt) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in _COLUMNS if name not in _KEY)
    # The maker's late word, should it have come between our read and this write, is the truth.
    + " WHERE NOT (workflow_execution_steps.status = 'completed' AND EXCLUDED.error_code = 'outcome_unknown')"
)
_CLOSE = """
UPDATE workflow_execution_steps SET completed_at = %(now)s,
  status = CASE WHEN effect = 'once' AND status = 'running' THEN 'failed' ELSE 'cancelled' END,
  error_code = CASE WHEN effect = 'once' AND status = 'running' THEN 'outcome_unknown' ELSE error_code END,
  error_message = CASE WHEN effect = 'once' AND status = 'running'
    THEN 'it is not known whether the step took effect' ELSE error_message END
WHERE execution_id = %(execution)s AND status IN ('pending', 'running', 'waiting')
"""


def write_attempts(cursor: Any, execution_id: int, attempts: list[Attempt]) -> None:
    """Insert attempts, or write what became of them, in the caller's transaction."""
    if attempts:
        cursor.execute(_UPSERT_ATTEMPTS, [execution_id, orjson.dumps(attempts).decode()])


def close_open_attempts(cursor: Any, execution_id: int, now: datetime) -> None:
    """End what an execution leaves open: cancelled, but for a `once` attempt under way nobody knows the outcome."""
    cursor.execute(_CLOSE, {"execution": execution_id, "now": now})


def fill_late_outcome(claim: Claim, attempt: Attempt) -> bool:
    """Fill the still empty outcome of an attempt that this process made, even without a lease (ENGINE 1).

    It resolves `outcome_unknown`: the one who caused the effect knows best what came of it.
    """
    [stored] = spill.put_aside([attempt])
    with hot_cursor() as cursor:
        cursor.execute(
            "UPDATE workflow_execution_steps SET status = %s, output_data = %s::jsonb, spill_id = %s, error_code = %s,"
            " error_message = %s, completed_at = %s, execution_time_ms = %s"
            " WHERE execution_id = %s AND path = %s AND attempt = %s AND made_by = %s"
            " AND (completed_at IS NULL OR error_code = 'outcome_unknown')",
            [
                attempt.status,
                orjson.dumps(stored.output_data).decode(),
                stored.spill_id,
                attempt.error_code,
                attempt.error_message,
                attempt.completed_at,
                attempt.execution_time_ms,
                claim.execution_id,
                attempt.path,
                attempt.attempt,
                attempt.made_by,
            ],
        )
        return bool(cursor.rowcount)
