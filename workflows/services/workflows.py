"""Creating and changing workflows. Every changed definition becomes a numbered, immutable version."""

import hashlib
import json
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts import services as accounts
from accounts.models import Owner
from core import clock
from workflows.choices import LIVE_STATUSES, Dialect, StopReason, WorkflowStatus
from workflows.engine import definition, stop, validation
from workflows.errors import DefinitionInvalid, WorkflowNotFound
from workflows.models import Execution, Workflow, WorkflowVersion

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
AUDITED = ("name", "status", "is_enabled", "trigger_on_file_upload", "trigger_file_extensions", "cron_schedule")


def create_workflow(*, owner: Owner, body: dict[str, Any], actor: str) -> Workflow:
    """Create a workflow from a request body of dialect A, B or C, with its first, published version.

    Raises InvalidInput and DefinitionInvalid with every problem found.
    """
    draft = definition.read(body)
    workflow = Workflow(owner=owner, created_by=actor, dialect=draft.dialect)
    _apply(workflow, draft)
    canonical = _validated(workflow, draft)
    with transaction.atomic():
        workflow.save()
        _publish(workflow, canonical, source=draft.source, actor=actor)
        accounts.record_audit(
            actor=actor, owner=owner, action="workflow.created", target=workflow, after=_audited(workflow)
        )
    return workflow


def update_workflow(workflow: Workflow, *, body: dict[str, Any], actor: str) -> Workflow:
    """Change the fields that `body` holds (null leaves a field as it is) and publish a new version if needed."""
    with transaction.atomic():
        # The lock orders concurrent saves, so that version numbers and definitions belong together.
        locked = (
            Workflow.objects.select_for_update(of=("self",)).select_related("published_version").get(pk=workflow.pk)
        )
        if locked.status == WorkflowStatus.DELETED:
            raise WorkflowNotFound
        before = _audited(locked)
        draft = definition.read(body, current=locked)
        changed = _apply(locked, draft)
        canonical = _validated(locked, draft)
        locked.updated_at = clock.now()
        locked.save(update_fields=[*changed, "updated_at"])
        if locked.published_version is None or locked.published_version.definition != canonical:
            _publish(locked, canonical, source=draft.source, actor=actor)
        accounts.record_audit(
            actor=actor,
            owner=locked.owner,
            action="workflow.updated",
            target=locked,
            before=before,
            after=_audited(locked),
        )
    return locked


def save_draft(workflow: Workflow, *, body: dict[str, Any], actor: str) -> WorkflowVersion:
    """Keep a definition as a numbered version that triggers do not use yet. Raises DefinitionInvalid."""
    with transaction.atomic():
        locked = Workflow.objects.select_for_update(of=("self",)).get(pk=workflow.pk)
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
        live = list(Execution.objects.filter(workflow=workflow, status__in=LIVE_STATUSES).values_list("pk", flat=True))
        Execution.objects.filter(pk__in=live).update(stop_requested=StopReason.CANCEL, updated_at=clock.now())
        accounts.record_audit(
            actor=actor, owner=workflow.owner, action="workflow.deleted", target=workflow, before=_audited(workflow)
        )
    for execution_id in live:
        stop.end_unclaimed(execution_id)


def set_enabled(workflow: Workflow, *, enabled: bool, actor: str) -> Workflow:
    """Switch a workflow on or off."""
    return update_workflow(workflow, body={"is_enabled": enabled}, actor=actor)


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


def _audited(workflow: Workflow) -> dict[str, Any]:
    return {name: getattr(workflow, name) for name in AUDITED}
