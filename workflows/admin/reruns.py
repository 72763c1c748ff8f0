"""Running executions again: the page of one, with its form, and the page that lists many before they start."""

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget

from accounts import selectors as accounts
from core.admin import JsonTextField, actor_of, label, moment_text, read_id
from core.admin.display import LONGEST_SHOWN
from core.errors import DomainError
from workflows import services
from workflows.admin.execution_panels import failed_attempt
from workflows.choices import FINAL_STATUSES, ExecutionStatus
from workflows.engine import program
from workflows.models import Execution
from workflows.services.reruns import FAILED, MOST_AT_ONCE, START

ORIGINAL, PUBLISHED = "original", "published"
MOST_STEPS = 500
MOST_REFUSALS = 10
KEPT = (
    "A new execution is started. Steps before the chosen one keep what they did; it and those after it run again. "
    "What they have done outside is not undone."
)


class RerunForm(forms.Form):
    """Where to begin, with which version, and with which input."""

    begin = forms.ChoiceField(label="Begin", widget=UnfoldAdminSelectWidget)
    version = forms.ChoiceField(label="Version", widget=UnfoldAdminSelectWidget)
    trigger_data = JsonTextField(
        label="Input", rows=12, required=False, help_text="The input of the first run, to be changed where needed."
    )

    def __init__(self, *args: Any, execution: Execution, failed: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        data = execution.trigger_data or {}
        self.initial = {"begin": FAILED if failed else START, "version": ORIGINAL, "trigger_data": data}
        self.fields["begin"].choices = _begins(execution, failed)  # type: ignore[attr-defined]
        self.fields["version"].choices = _versions(execution)  # type: ignore[attr-defined]
        if len(json.dumps(data)) > LONGEST_SHOWN:
            # No browser likes to edit it; the first run's is taken as it is.
            del self.fields["trigger_data"]

    def asked(self) -> services.Rerun:
        """Return what was asked for; an input that was not changed is not given again."""
        given = self.cleaned_data
        changed = "trigger_data" in self.changed_data
        return services.Rerun(
            begin=given["begin"],
            published=given["version"] == PUBLISHED,
            trigger_data=(given["trigger_data"] or {}) if changed else None,
        )


class BulkForm(forms.Form):
    """How many executions are run again: the same for each."""

    begin = forms.ChoiceField(
        label="Begin",
        choices=[(START, "From the start"), (FAILED, "From the step that failed")],
        widget=UnfoldAdminSelectWidget,
    )
    version = forms.ChoiceField(
        label="Version",
        choices=[(ORIGINAL, "Each with the version it ran with"), (PUBLISHED, "The published version")],
        widget=UnfoldAdminSelectWidget,
    )


def rerun_page(page: Any, request: HttpRequest, execution: Execution) -> HttpResponse:
    """Ask how to run an ended execution again, and do so."""
    if execution.status not in FINAL_STATUSES:
        page.message_user(request, f"It has not ended: it is {execution.status}.", messages.ERROR)
        return HttpResponseRedirect(page.url_of("change", execution))
    given = request.POST if request.method == "POST" else None
    failed = failed_attempt(execution)
    form = RerunForm(given, execution=execution, failed=failed.path.split("/")[0] if failed else "")
    if given is not None and form.is_valid():
        try:
            started = services.rerun_execution(execution, form.asked(), actor=actor_of(request))
        except DomainError as refusal:
            form.add_error(None, refusal.detail)
        else:
            said = "Execution {} runs again: this is the new execution {}."
            page.message_user(request, said.format(execution.pk, started.execution_id), messages.SUCCESS)
            return HttpResponseRedirect(page.change_url(started.execution_id))
    context = page.page_context(
        request, execution, form=form, title=f"Run execution {execution.pk} again", submit_text="Run again", note=KEPT
    )
    return TemplateResponse(request, "admin/core/form_page.html", context)


def bulk_page(page: Any, request: HttpRequest, keys: list[int]) -> HttpResponse:
    """List what would run again; start it once that is confirmed."""
    confirmed = "confirm" in request.POST
    form = BulkForm(request.POST if confirmed else None)
    with_completed = "with_completed" in request.POST
    found = _found(request, keys[:MOST_AT_ONCE], with_completed=with_completed)
    if confirmed and form.is_valid():
        return _run_all(page, request, found, form.cleaned_data)
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": "Run executions again",
        "form": form,
        "rows": [_listed(execution) for execution in found],
        "keys": ",".join(map(str, keys[:MOST_AT_ONCE])),
        "chosen": min(len(keys), MOST_AT_ONCE),
        "left_out": min(len(keys), MOST_AT_ONCE) - len(found),
        "most": MOST_AT_ONCE if len(keys) > MOST_AT_ONCE else 0,
        "with_completed": with_completed,
        "action_url": reverse("admin:workflows_execution_run_again"),
        "list_url": reverse("admin:workflows_execution_changelist"),
    }
    return TemplateResponse(request, "admin/workflows/execution/run_again.html", context)


def keys_of(queryset: QuerySet[Execution]) -> list[int]:
    """Return the ids of chosen rows, one more than are run again at once if there are so many."""
    return list(queryset.order_by("-pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])


def keys_in(text: str) -> list[int]:
    """Return the ids in the preview's field."""
    return [key for part in text.split(",")[:MOST_AT_ONCE] if (key := read_id(part)) is not None]


def _found(request: HttpRequest, keys: list[int], *, with_completed: bool) -> list[Execution]:
    """Return the chosen executions that did not end well, oldest first, and on wish those that did."""
    if not keys:
        return []
    principal = accounts.principal_of_user(request.user)  # type: ignore[arg-type]
    found = list(services.find_reruns(principal, services.Filter(execution_ids=tuple(keys))))
    if with_completed:
        completed = services.Filter(execution_ids=tuple(keys), status=ExecutionStatus.COMPLETED)
        found += services.find_reruns(principal, completed)
    return sorted(found, key=lambda execution: execution.pk)


def _run_all(page: Any, request: HttpRequest, found: list[Execution], given: dict[str, Any]) -> HttpResponse:
    rerun = services.Rerun(begin=given["begin"], published=given["version"] == PUBLISHED)
    started, refused = services.rerun_executions(found, rerun, actor=actor_of(request))
    back = reverse("admin:workflows_execution_changelist")
    if started:
        count = len(started)
        page.message_user(request, f"{count} execution{'' if count == 1 else 's'} run again.", messages.SUCCESS)
    for key, reason in refused[:MOST_REFUSALS]:
        page.message_user(request, f"Execution {key} does not run again: {reason}", messages.ERROR)
    if len(refused) > MOST_REFUSALS:
        text = f"{len(refused) - MOST_REFUSALS} more do not run again either."
        page.message_user(request, text, messages.ERROR)
    return HttpResponseRedirect(back)


def _listed(execution: Execution) -> dict[str, Any]:
    workflow = execution.workflow
    return {
        "row": execution,
        "status": label(execution.status),
        "created": moment_text(execution.created_at),
        "reason": execution.error_message or "",
        "refused": "" if workflow.is_executable else "its workflow cannot start now: it is disabled, paused or deleted",
    }


def _begins(execution: Execution, failed: str) -> list[tuple[str, str]]:
    again = [(FAILED, f"From the step that failed: {failed}")] if failed else []
    old, new = (_step_names(key) for key in (execution.version_id, execution.workflow.published_version_id))
    steps = [(name, f"From the step {name}") for name in old]
    steps += [(name, f"From the step {name} (published version only)") for name in new if name not in set(old)]
    return [(START, "From the start"), *again, *steps[:MOST_STEPS]]


def _step_names(version_id: int | None) -> list[str]:
    if version_id is None:
        return []
    return [node.path for node in program.of_version(version_id).nodes if node.kind == "step" and "/" not in node.path]


def _versions(execution: Execution) -> list[tuple[str, str]]:
    own, published = execution.version, execution.workflow.published_version
    found = [(ORIGINAL, f"Version {own.number}, with which it ran")]
    if published is not None and published.pk != own.pk:
        found.append((PUBLISHED, f"Version {published.number}, which is published now"))
    return found
