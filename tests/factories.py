"""Makes rows for tests, through the product's own services."""

from typing import Any

from django.db import connection

from accounts.choices import OwnerKind
from accounts.models import Owner
from workflows import services
from workflows.choices import Lane, TriggerType
from workflows.engine import lease
from workflows.engine.drain import drain
from workflows.models import Branch, Execution, StepAttempt, Workflow


def make_owner(name: str = "Ada") -> Owner:
    return Owner.objects.create(name=name, kind=OwnerKind.TEAM)


def make_workflow(
    steps: list[dict[str, Any]], *, owner: Owner | None = None, config: dict[str, Any] | None = None, **fields: Any
) -> Workflow:
    """Make a workflow in dialect A with these steps; `fields` go beside `workflow_config`."""
    body = {"name": "A workflow", "workflow_config": {"steps": steps, **(config or {})}, **fields}
    return services.create_workflow(owner=owner or make_owner(), body=body, actor="test")


def start(workflow: Workflow, data: dict[str, Any] | None = None, **fields: Any) -> Execution:
    """Start an execution and return its row; nothing runs yet."""
    begun = services.start_execution(
        workflow, services.Start(trigger_type=TriggerType.MANUAL, trigger_data=data or {}, **fields)
    )
    return Execution.objects.get(pk=begun.execution_id)


def run(workflow: Workflow, data: dict[str, Any] | None = None) -> Execution:
    """Start an execution and drain every lane until nothing is due."""
    execution = start(workflow, data)
    drain_all()
    execution.refresh_from_db()
    return execution


def drain_all() -> None:
    while sum(drain(lane) for lane in Lane):
        pass


def outputs(execution: Execution) -> dict[str, Any]:
    """Return output by path of the completed attempts."""
    rows = StepAttempt.objects.filter(execution=execution, status="completed")
    return {row.path: row.output_data for row in rows}


def statuses(execution: Execution) -> list[tuple[str, int, str]]:
    """Return (path, attempt, status) of all attempts in order."""
    rows = StepAttempt.objects.filter(execution=execution).order_by("node", "attempt")
    return [(row.path, row.attempt, row.status) for row in rows]


def claim_one(lane: Lane = Lane.FLOW) -> lease.Claim:
    """Claim exactly one branch, as a worker would."""
    [claim] = lease.claim(lane, limit=1)
    return claim


def expire_leases() -> None:
    """Let every lease run out, as if its holder had died."""
    Branch.objects.exclude(claimed_by="").update(lease_until="2020-01-01T00:00:00Z")


def multiply(execution: Execution, count: int) -> None:
    """Make `count` further executions that wait like this one, in two statements."""
    with connection.cursor() as cursor:
        for table, where, changed in (
            ("workflow_executions", "id = %(id)s", {"uuid": "gen_random_uuid()"}),
            ("workflow_branches", "execution_id = %(id)s", {"execution_id": "%(first)s + n"}),
        ):
            cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
            columns = [name for (name,) in cursor.fetchall() if name != "id"]
            values = [changed.get(name, name) for name in columns]
            cursor.execute("SELECT max(id) FROM workflow_executions")
            [last] = cursor.fetchone()
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table},"
                f" generate_series(1, %(count)s) n WHERE {where}",
                {"id": execution.pk, "count": count, "first": last - count},
            )


def left_by(attempt: StepAttempt) -> float:
    """Return how many seconds of the execution's time limit a waiting attempt left."""
    assert attempt.deadline_at is not None
    assert attempt.started_at is not None
    return (attempt.deadline_at - attempt.started_at).total_seconds()
