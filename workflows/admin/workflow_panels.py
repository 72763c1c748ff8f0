"""What stands under a workflow's form: totals, latest runs, versions, and whether it would have taken a file."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from core.admin import NOTHING, Button, duration_text, label, moment_text
from core.errors import DomainError
from files.choices import FileStatus
from files.models import File
from workflows import selectors, services
from workflows.admin.workflow_forms import FileForm
from workflows.models import Execution, Workflow, WorkflowVersion

LATEST_RUNS = 10
LATEST_VERSIONS = 20
LATEST_FILES = 20
MOST_LINES = 5000
RESTORE = Button(
    "restore",
    "Restore",
    icon="history",
    confirm="Publish this version again? The present definition stays in the list.",
)


def runs(request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
    """Return totals, and the latest executions to whoever may see executions."""
    may_view = request.user.has_perm("workflows.view_execution")
    latest = Execution.objects.filter(workflow=workflow).defer("trigger_data").order_by("-id")[:LATEST_RUNS]
    version = workflow.published_version
    return {
        "facts": [
            ("Status", label(workflow.status)),
            ("Enabled", "yes" if workflow.is_enabled else "no"),
            ("Version", version.number if version else NOTHING),
            *((name.replace("_", " ").capitalize(), count) for name, count in selectors.totals(workflow).items()),
            ("Last run (UTC)", moment_text(selectors.last_execution_at(workflow))),
            ("Made by", workflow.created_by or NOTHING),
            ("UUID", workflow.uuid),
        ],
        "may_view": may_view,
        "runs": [
            {
                "row": run,
                "status": label(run.status),
                "created": moment_text(run.created_at),
                "duration": duration_text(run.execution_time_ms),
            }
            for run in (latest if may_view else ())
        ],
    }


def versions(request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
    """Return the latest versions with who and when, and what can be done with each."""
    latest = workflow.versions.defer("source", "definition").order_by("-number")[: LATEST_VERSIONS + 1]
    return {
        "versions": [_shown(version, workflow) for version in latest[:LATEST_VERSIONS]],
        "is_cut": len(latest) > LATEST_VERSIONS,
        "has_draft": has_draft(workflow),
        "press_url": reverse("admin:workflows_workflow_press", args=(workflow.pk, "restore")),
        "restore": RESTORE,
        "may_press": request.user.has_perm("workflows.change_workflow"),
    }


def has_draft(workflow: Workflow) -> bool:
    """Tell whether a draft is kept that triggers do not use yet."""
    return workflow.draft_version_id is not None and workflow.draft_version_id != workflow.published_version_id


def _shown(version: WorkflowVersion, workflow: Workflow) -> dict[str, Any]:
    page, change = (reverse(f"admin:workflows_workflow_{name}", args=(workflow.pk,)) for name in ("version", "change"))
    is_published = version.pk == workflow.published_version_id
    is_draft = version.pk == workflow.draft_version_id and not is_published
    return {
        "row": version,
        "state": label("published") if is_published else label("draft") if is_draft else "",
        "made": moment_text(version.created_at),
        "url": f"{page}?number={version.number}",
        "edit_url": f"{change}?version={version.number}",
        "is_published": is_published,
        "may_restore": not is_published and not is_draft,
        "hidden": {"number": version.number},
    }


def match(request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
    """Return the question "would this have matched?", with its answer if a file was named."""
    asked = "file_id" in request.GET
    form = FileForm(request.GET if asked else None, files=latest_files(request, workflow), prefix=None)
    found = {"form": form, "match_url": reverse("admin:workflows_workflow_match", args=(workflow.pk,))}
    if asked and form.is_valid():
        found |= _verdict(workflow, form.cleaned_data["file_id"])
    return found


def _verdict(workflow: Workflow, file_id: int) -> dict[str, Any]:
    try:
        reason = services.reason_against_file(workflow, file_id)
    except DomainError as refusal:
        return {"sentence": refusal.detail, "answer": label("unknown")}
    if reason:
        return {"sentence": f"File {file_id} would not start it: {reason}.", "answer": label("no")}
    return {"sentence": f"File {file_id} would start it.", "answer": label("matched", "yes")}


def latest_files(request: HttpRequest, workflow: Workflow) -> list[tuple[int, str]]:
    """Return (id, name) of the owner's latest files, to whoever may see files."""
    if not request.user.has_perm("files.view_file"):
        return []
    live = File.objects.filter(owner=workflow.owner_id).exclude(status=FileStatus.DELETED)
    return list(live.order_by("-pk").values_list("pk", "original_filename")[:LATEST_FILES])


@dataclass(frozen=True)
class DiffLine:
    """One line of a comparison; `sign` is "+", "-", a blank, or nothing before a place in the text."""

    sign: str
    text: str

    @property
    def kind(self) -> str:
        """Return the class of its looks, beside the sign."""
        return {"+": "added", "-": "removed", "": "place"}.get(self.sign, "same")


def differences(old: WorkflowVersion, new: WorkflowVersion) -> list[DiffLine]:
    """Return what changed from one version to another, line by line; empty if nothing did."""
    before, after = _lines(old), _lines(new)
    changes = difflib.unified_diff(before, after, lineterm="", n=3)
    next(changes, None), next(changes, None)  # the names of files, which these are not
    return [DiffLine("", line) if line.startswith("@") else DiffLine(line[0], line[1:]) for line in changes]


def _lines(version: WorkflowVersion) -> list[str]:
    """Return a version as text; past 5000 lines, comparing would hold up the process."""
    return json.dumps(version.definition, indent=2, ensure_ascii=False).splitlines()[:MOST_LINES]
