"""Creating and changing workflows. Every changed definition becomes a numbered, immutable version."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts import services as accounts
from accounts.models import Owner
from core import clock
from workflows.choices import LIVE_STATUSES, Dialect, StopReason, WorkflowStatus
from workflows.engine import definition, stop, unknown_keys, validation
from workflows.errors import DefinitionInvalid, WorkflowNotFound
from workflows.models import Execution, Workflow, WorkflowVersion
from workflows.services import schedules
from workflows.services.audit import workflow_values

# What a save may change on the workflow itself; everything else belongs to the definition.
PLAIN_FIELDS = (
    "name",
    "description",
    "trigger_config",
    "trigger_type",
    "cron_schedule",
    "is_scheduled",
    "trigger_on_file_upload",
    "trigger_file_extensions",
    "status",
    "is_enabled",
)
# What a copy takes over; totals, history and the link to a template stay with the original.
COPIED_FIELDS = (
    "description",
    "workflow_config",
    "trigger_config",
    "dialect",
    "trigger_type",
    "cron_schedule",
    "is_scheduled",
    "trigger_on_file_upload",
    "trigger_file_extensions",
    "status",
    "max_retries",
    "timeout_seconds",
    "timeout_is_explicit",
    "strict_expressions",
    "concurrency_limit",
    "concurrency_key",
    "concurrency_policy",
    "tenant_id",
    "retention_days",
    "retention_failed_days",
    "retention_count",
)
COPY_SUFFIX = " (copy)"
LONGEST_NAME = 255


def create_workflow(*, owner: Owner, body: dict[str, Any], actor: str) -> Workflow:
    """Create a workflow from a request body of dialect A, B or C, with its first, published version.

    Raises InvalidInput and DefinitionInvalid with every problem found.
    """
    draft = definition.read(body)
    workflow = Workflow(owner=owner, created_by=actor, dialect=draft.dialect)
    _apply(workflow, draft)
    return _insert(workflow, _validated(workflow, draft), source=draft.source, actor=actor)


def _insert(workflow: Workflow, canonical: dict[str, Any], *, source: str, actor: str) -> Workflow:
    """Store a new workflow with its first, published version."""
    with transaction.atomic():
        workflow.save()
        _publish(workflow, canonical, source=source, actor=actor)
        schedules.follow_workflow(workflow, actor=actor)
        accounts.record_audit(
            actor=actor,
            owner=workflow.owner,
            action="workflow.created",
            target=workflow,
            after=workflow_values(workflow),
        )
    return workflow


def update_workflow(workflow: Workflow, *, body: dict[str, Any], actor: str) -> Workflow:
    """Change the fields that `body` holds (null leaves a field as it is) and publish a new version if needed."""
    return _change(workflow, lambda locked: definition.read(body, current=locked), actor=actor)


def _change(workflow: Workflow, read: Callable[[Workflow], definition.Draft], *, actor: str) -> Workflow:
    with transaction.atomic():
        # The lock orders concurrent saves, so that version numbers and definitions belong together.
        locked = (
            # Not the strongest lock: executions that start meanwhile refer to the row by its key.
            Workflow.objects.select_for_update(of=("self",), no_key=True)
            .select_related("published_version", "owner")
            .get(pk=workflow.pk)
        )
        if locked.status == WorkflowStatus.DELETED:
            raise WorkflowNotFound
        before = workflow_values(locked)
        draft = read(locked)
        changed = _apply(locked, draft)
        canonical = _validated(locked, draft)
        locked.updated_at = clock.now()
        locked.save(update_fields=[*changed, "updated_at"])
        if locked.published_version is None or locked.published_version.definition != canonical:
            _publish(locked, canonical, source=draft.source, actor=actor)
        schedules.follow_workflow(locked, actor=actor)
        accounts.record_audit(
            actor=actor,
            owner=locked.owner,
            action="workflow.updated",
            target=locked,
            before=before,
            after=workflow_values(locked),
        )
    return locked


def save_draft(workflow: Workflow, *, body: dict[str, Any], actor: str) -> WorkflowVersion:
    """Keep a definition as a numbered version that triggers do not use yet. Raises DefinitionInvalid."""
    with transaction.atomic():
        locked = Workflow.objects.select_for_update(of=("self",), no_key=True).get(pk=workflow.pk)
        draft = definition.read(body, current=locked)
        _apply(locked, draft)
        version = _add_version(locked, _validated(locked, draft), source=draft.source, actor=actor)
        Workflow.objects.filter(pk=workflow.pk).update(draft_version=version, updated_at=clock.now())
        accounts.record_audit(
            actor=actor,
            owner=workflow.owner,
            action="workflow.draft_saved",
            target=workflow,
            after={"version": version.number},
        )
    return version


def publish_draft(workflow: Workflow, *, actor: str) -> Workflow:
    """Make the draft what triggers use, as if its document had been saved now."""
    draft = workflow.draft_version
    if draft is None or draft.pk == workflow.published_version_id:
        return workflow
    return update_workflow(workflow, body=json.loads(draft.source), actor=actor)


def delete_workflow(workflow: Workflow, *, actor: str) -> None:
    """Delete softly: hidden from reads, running executions cancelled (contract 5). Raises WorkflowNotFound."""
    with transaction.atomic():
        changed = (
            Workflow.objects.filter(pk=workflow.pk)
            .exclude(status=WorkflowStatus.DELETED)
            .update(status=WorkflowStatus.DELETED, is_enabled=False, deleted_at=clock.now(), updated_at=clock.now())
        )
        if not changed:
            raise WorkflowNotFound
        schedules.stop_schedules(workflow, actor=actor)
        # In the order in which the sweep locks them: neither waits for the other.
        locked = Execution.objects.select_for_update(no_key=True).filter(workflow=workflow, status__in=LIVE_STATUSES)
        live = list(locked.order_by("pk").values_list("pk", flat=True))
        running = Execution.objects.filter(pk__in=live, ends_as="")
        running.update(stop_requested=StopReason.CANCEL, updated_at=clock.now())
        accounts.record_audit(
            actor=actor,
            owner=workflow.owner,
            action="workflow.deleted",
            target=workflow,
            before=workflow_values(workflow),
        )
    for execution_id in live:
        stop.end_unclaimed(execution_id)


def set_enabled(workflow: Workflow, *, enabled: bool, actor: str) -> Workflow:
    """Switch a workflow on or off."""
    return update_workflow(workflow, body={"is_enabled": enabled}, actor=actor)


def set_paused(workflow: Workflow, *, paused: bool, actor: str) -> Workflow:
    """Pause a workflow, so that nothing starts it while it stays enabled, or make it active again."""
    status = WorkflowStatus.PAUSED if paused else WorkflowStatus.ACTIVE
    return update_workflow(workflow, body={"status": status.value}, actor=actor)


def duplicate_workflow(workflow: Workflow, *, actor: str) -> Workflow:
    """Create a disabled copy called "<name> (copy)" of the same owner: columns and definition, no history.

    Raises DefinitionInvalid if the definition would be refused by today's rules.
    """
    copied = {name: copy.deepcopy(getattr(workflow, name)) for name in COPIED_FIELDS}
    name = workflow.name[: LONGEST_NAME - len(COPY_SUFFIX)] + COPY_SUFFIX
    made = Workflow(owner=workflow.owner, name=name, is_enabled=False, created_by=actor, **copied)
    source = json.dumps({"workflow_config": made.workflow_config}, ensure_ascii=False)
    canonical = _validated(made, definition.Draft(dialect=Dialect(made.dialect), fields={}, source=source))
    return _insert(made, canonical, source=source, actor=actor)


def restore_version(workflow: Workflow, *, version: WorkflowVersion, actor: str) -> Workflow:
    """Publish the definition of an earlier version again, as a new version; name and triggers stay.

    Raises WorkflowNotFound, DefinitionInvalid.
    """
    return _change(workflow, lambda locked: _draft_of(version), actor=actor)


def check_definition(config: dict[str, Any]) -> list[definition.DefinitionProblem]:
    """Return what saving a `workflow_config` would meet, warnings included. Nothing is saved.

    Raises InvalidInput for what is no definition at all.
    """
    draft = definition.read({"name": "unnamed", "workflow_config": config})
    workflow = Workflow(dialect=draft.dialect)
    _apply(workflow, draft)
    found = [*draft.problems, *validation.problems_of(definition.canonical(workflow))]
    return [*found, *unknown_keys.problems_of(config)]


def _draft_of(version: WorkflowVersion) -> definition.Draft:
    """Return an update that brings back a version's definition and limits, and nothing else."""
    limits = version.settings
    names = ("max_retries", "timeout_seconds", "timeout_is_explicit", "strict_expressions")
    fields = {name: limits[name] for name in names if name in limits}
    fields |= {"workflow_config": document_of(version), "dialect": version.dialect}
    return definition.Draft(dialect=Dialect(version.dialect), fields=fields, source=version.source)


def document_of(version: WorkflowVersion) -> dict[str, Any]:
    """Return the `workflow_config` of a version as its author wrote it, where the stored body holds it.

    A body that changed only limits does not, and one of dialect B holds no more than the steps: the canonical form
    stands for the rest.
    """
    body = json.loads(version.source)
    key = {Dialect.A: "workflow_config", Dialect.C: "config"}.get(Dialect(version.dialect), "")
    if body.get(key):
        return dict(body[key])
    document = {
        name: version.definition[name] for name in ("steps", "finally", "variables") if name in version.definition
    }
    if error_workflow_id := version.settings.get("error_workflow_id"):
        document["error_workflow_id"] = error_workflow_id
    return document | ({"steps": body["steps"]} if body.get("steps") else {})


def _apply(workflow: Workflow, draft: definition.Draft) -> list[str]:
    """Copy the draft's fields onto the workflow; return the names of the columns it sets."""
    for name, value in draft.fields.items():
        setattr(workflow, name, value)
    return list(draft.fields)


def _validated(workflow: Workflow, draft: definition.Draft) -> dict[str, Any]:
    canonical = definition.canonical(workflow)
    problems = [*draft.problems, *validation.problems_of(canonical)]
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise DefinitionInvalid(errors)
    return canonical


def _publish(workflow: Workflow, canonical: dict[str, Any], *, source: str, actor: str) -> None:
    version = _add_version(workflow, canonical, source=source, actor=actor)
    workflow.published_version = workflow.draft_version = version
    workflow.save(update_fields=["published_version", "draft_version"])


def _add_version(workflow: Workflow, canonical: dict[str, Any], *, source: str, actor: str) -> WorkflowVersion:
    highest = workflow.versions.aggregate(highest=Max("number"))["highest"] or 0
    return WorkflowVersion.objects.create(
        workflow=workflow,
        number=highest + 1,
        dialect=Dialect(workflow.dialect),
        source=source,
        definition=canonical,
        sha256=hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest(),
        created_by=actor,
    )
