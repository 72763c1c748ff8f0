"""Running an ended execution again, as a new one: from the start, the failed step or any step (ENGINE 5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import services as accounts
from accounts.principal import Principal
from core.errors import DomainError, InvalidInput, Problem
from workflows import selectors
from workflows.choices import FINAL_STATUSES, CompensationStatus, ExecutionStatus, Priority, StepStatus, TriggerType
from workflows.engine import launch, program
from workflows.engine.launch import Start
from workflows.engine.program import GRAPH, STOP, Node, Program
from workflows.errors import ExecutionNotFinished, StepsUndone, WorkflowNotExecutable
from workflows.models import Execution, StepAttempt, WorkflowInstance
from workflows.services.executions import Started

START = "start"
FAILED = "failed"
MOST_AT_ONCE = 1000
UNDONE = (CompensationStatus.COMPENSATED, CompensationStatus.BY_HAND)

_COPY = """
INSERT INTO workflow_execution_steps (execution_id, path, scope, attempt, node, step_order, step_name, step_type,
  effect, status, input_data, output_data, spill_id, error_code, error_message, warnings, log, made_by,
  execution_time_ms, deadline_at, started_at, completed_at)
SELECT %(new)s, path, scope, attempt, nodes.new, step_order, step_name, step_type, effect,
  CASE WHEN step_type = 'stop' AND scope = '' AND status = 'completed' THEN 'skipped' ELSE status END, input_data,
  output_data, spill_id, error_code, error_message, warnings, log, made_by, execution_time_ms, deadline_at,
  started_at, completed_at
FROM workflow_execution_steps s JOIN unnest(%(from)s::int[], %(to)s::int[]) AS nodes(old, new) ON s.node = nodes.old
WHERE s.execution_id = %(old)s AND split_part(s.path, '/', 1) = ANY(%(names)s)
  AND s.status IN ('completed', 'skipped', 'failed')
"""


@dataclass(frozen=True)
class Rerun:
    """What to run again: `begin` is "start", "failed" or a step's name; `published` takes today's version."""

    begin: str = START
    published: bool = False
    trigger_data: dict[str, Any] | None = None


@dataclass(frozen=True)
class Filter:
    """Which ended executions to run again; None leaves a part of the filter out, an empty list of ids means none."""

    workflow_id: int | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    execution_ids: tuple[int, ...] | None = None


def rerun_execution(execution: Execution, rerun: Rerun, *, actor: str) -> Started:
    """Run an ended execution again as a new one, linked by `rerun_of`.

    Completed steps before the point where it begins are copied, so that those after it see their outputs.
    Raises ExecutionNotFinished, WorkflowNotExecutable; InvalidInput for a step that does not exist; StepsUndone
    where a step to be copied was undone.
    """
    if execution.status not in FINAL_STATUSES:
        raise ExecutionNotFinished(execution.status)
    workflow = execution.workflow
    if not workflow.is_executable or workflow.published_version_id is None:
        raise WorkflowNotExecutable(workflow.status, enabled=workflow.is_enabled)
    version_id = workflow.published_version_id if rerun.published else execution.version_id
    compiled = program.of_version(version_id)
    name = _name_of(execution, rerun.begin)
    node = _point(compiled, name) if name else None
    kept = _names_before(compiled, node, name) if node is not None and name is not None else []
    if name is not None:
        _refuse_undone(execution, name, kept)
    if node is not None and name is not None and node.type == GRAPH:
        kept = _without_stops(execution, node, name, kept)
    start = Start(
        trigger_type=TriggerType.MANUAL,
        trigger_data=(execution.trigger_data or {}) if rerun.trigger_data is None else rerun.trigger_data,
        priority=Priority(execution.priority),
        input_file_ids=execution.input_file_ids,
        correlation_id=execution.correlation_id,
        rerun_of=execution.pk,
        cursor=node.index if node else None,
    )
    with transaction.atomic():
        made = launch.insert_execution(workflow, version_id, start)
        assert made is not None  # noqa: S101  (a re-run has no idempotency key)
        if kept:
            _copy_steps(execution, made[0], compiled, kept)
        accounts.record_audit(
            actor=actor,
            owner=execution.owner,
            action="execution.rerun",
            target=execution,
            after={"execution_id": made[0], "from": rerun.begin, "published": rerun.published},
        )
    return Started(*made, created=True)


def find_reruns(principal: Principal, wanted: Filter) -> QuerySet[Execution]:
    """Return the ended executions that a filter means, oldest first, at most MOST_AT_ONCE: the dry run's list."""
    found = selectors.list_executions(principal, workflow_id=wanted.workflow_id, status=wanted.status)
    if wanted.status is None:
        found = found.filter(status__in=(ExecutionStatus.FAILED, ExecutionStatus.TIMEOUT, ExecutionStatus.CANCELLED))
    if wanted.execution_ids is not None:
        found = found.filter(pk__in=wanted.execution_ids)
    if wanted.since:
        found = found.filter(created_at__gte=wanted.since)
    if wanted.until:
        found = found.filter(created_at__lte=wanted.until)
    return found.filter(status__in=FINAL_STATUSES).select_related("workflow", "owner").order_by("pk")[:MOST_AT_ONCE]


def rerun_executions(
    executions: Iterable[Execution], rerun: Rerun, *, actor: str
) -> tuple[list[tuple[int, Started]], list[tuple[int, str]]]:
    """Run each again, each in its own transaction. Returns what was started and, with its reason, what was not."""
    started: list[tuple[int, Started]] = []
    refused: list[tuple[int, str]] = []
    for execution in executions:
        try:
            started.append((execution.pk, rerun_execution(execution, rerun, actor=actor)))
        except DomainError as error:
            refused.append((execution.pk, error.detail))
    return started, refused


def _name_of(execution: Execution, begin: str) -> str | None:
    """Return the name of the top-level step where the re-run begins; None for the start. Raises InvalidInput."""
    if begin == START:
        return None
    if begin != FAILED:
        return begin.split("/", maxsplit=1)[0]
    undoing = program.of_version(execution.version_id).compensations
    latest = execution.attempts.exclude(node__in=undoing).order_by("path", "-attempt").distinct("path")
    ends = (StepStatus.FAILED, StepStatus.CANCELLED)
    failed = StepAttempt.objects.filter(pk__in=latest.values("pk"), status__in=ends).order_by("node").first()
    if failed is None:
        raise _no_such("no step of this execution failed")
    return str(failed.path.split("/")[0])


def _point(compiled: Program, name: str) -> Node:
    """Return the node where the top-level step `name` begins: the graph around it, if it stands in one."""
    found = next((node for node in compiled.nodes if node.path == name and node.kind == "step"), None)
    if found is None:
        raise _no_such(f"no step is called {name!r}")
    return (compiled.spawners_of(found) or [found])[0]


def _no_such(message: str) -> InvalidInput:
    return InvalidInput(message, problems=[Problem(("body", "from"), message)])


def _names_before(compiled: Program, node: Node, name: str) -> list[str]:
    """Return the top-level steps that keep what they did: those above, or in a graph all that do not need `name`."""
    if node.type != GRAPH:
        return [item.name for item in compiled.nodes if item.path == item.name and item.index < node.index]
    again = {name}
    for child in node.children:  # in topological order
        if child.needs & again:
            again.add(child.name)
    return [child.name for child in node.children if child.name not in again]


def _without_stops(execution: Execution, graph: Node, name: str, kept: list[str]) -> list[str]:
    """Leave out what ended the graph beside `name`, so that it does so again; what ended it before has had its say."""
    needs = {child.name: child.needs for child in graph.children}
    above: set[str] = set()
    beyond = set(needs.get(name, ()))
    while beyond:
        above |= beyond
        beyond = {earlier for each in beyond for earlier in needs[each]} - above
    stops = execution.attempts.filter(step_type=STOP, scope="", status=StepStatus.COMPLETED)
    stopping = {path.split("/")[0] for path in stops.values_list("path", flat=True)} - above
    return [each for each in kept if each not in stopping]


def _refuse_undone(execution: Execution, begin: str, kept: list[str]) -> None:
    """Refuse to keep what a compensation, or an operator by hand, has undone. Raises StepsUndone."""
    saga = WorkflowInstance.objects.filter(execution=execution).first()
    entries = saga.steps_data if saga else []
    undone = {entry["path"].split("/")[0] for entry in entries if entry["status"] in UNDONE}
    if names := [name for name in kept if name in undone]:
        raise StepsUndone(begin, names)


def _copy_steps(old: Execution, new_id: int, compiled: Program, names: list[str]) -> None:
    """Copy what the top-level steps `names` did; attempts at undoing them stay with the saga they are of."""
    places = {item.path: item.index for item in compiled.nodes if item.kind == "step"}
    before = program.of_version(old.version_id)
    steps = [item for item in before.nodes if item.kind == "step" and item.index not in before.compensations]
    pairs = [(item.index, places[item.path]) for item in steps if item.path in places]
    with connection.cursor() as cursor:
        cursor.execute(
            _COPY,
            {
                "new": new_id,
                "old": old.pk,
                "names": names,
                "from": [pair[0] for pair in pairs],
                "to": [pair[1] for pair in pairs],
            },
        )
