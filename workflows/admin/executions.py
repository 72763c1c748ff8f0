"""Admin pages of executions: what runs, what waits and why, what failed and why."""

from collections import Counter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from core.admin import NOTHING, Button, Panel, ServiceModelAdmin, duration_text, label, moment_text, pretty_json
from workflows import services
from workflows.explanations import shown_status, why
from workflows.choices import FINAL_STATUSES, ExecutionStatus, StepStatus
from workflows.models import Branch, Execution, StepAttempt

MOST_ATTEMPTS = 500


def _reason(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    branches = list(execution.branches.order_by("pk"))
    found = why(execution, branches)
    sentence = found["why"] or {
        ExecutionStatus.COMPLETED: "Every step that was to run has completed.",
        ExecutionStatus.CANCELLED: "It was cancelled.",
    }.get(ExecutionStatus(execution.status), "")
    return {"status": label(execution.status), "sentence": sentence, "waits": found["waiting_on"]}


def _facts(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    workflow = reverse("admin:workflows_workflow_change", args=(execution.workflow_id,))
    facts = [
        ("Workflow", format_html('<a href="{}">{}</a>', workflow, execution.workflow)),
        ("Version", execution.version.number),
        ("Trigger", execution.get_trigger_type_display()),
        ("Input files", _file_links(execution.input_file_ids)),
        ("Owner", execution.owner),
        ("Priority", execution.get_priority_display()),
        ("Retries", execution.retry_count),
        ("Created (UTC)", moment_text(execution.created_at)),
        ("Started (UTC)", moment_text(execution.started_at)),
        ("Ended (UTC)", moment_text(execution.completed_at)),
        ("Duration", duration_text(execution.execution_time_ms)),
        ("UUID", execution.uuid),
        ("Correlation id", execution.correlation_id or NOTHING),
    ]
    return {"facts": facts}


def _file_links(file_ids: list[int]) -> str:
    links = [format_html('<a href="{}">{}</a>', reverse("admin:files_file_change", args=(pk,)), pk) for pk in file_ids]
    return format_html(", ".join(["{}"] * len(links)), *links) if links else NOTHING


def _steps(request: HttpRequest, execution: Execution) -> dict[str, Any]:
    attempts = list(execution.attempts.order_by("node", "attempt")[: MOST_ATTEMPTS + 1])
    branches = list(execution.branches.all())
    tries = Counter(attempt.path for attempt in attempts)
    latest = {attempt.path: attempt.pk for attempt in attempts}
    return {
        "attempts": [
            _shown(attempt, branches, of=tries[attempt.path], retryable=_is_retryable(execution, attempt, latest))
            for attempt in attempts[:MOST_ATTEMPTS]
        ],
        "is_cut": len(attempts) > MOST_ATTEMPTS,
        "trigger_data": pretty_json(execution.trigger_data),
        "retry_url": reverse("admin:workflows_execution_press", args=(execution.pk, "retry_step")),
        "retry": Button("retry_step", "Retry from here", icon="replay"),
        "may_press": request.user.has_perm("workflows.change_execution"),
    }


def _is_retryable(execution: Execution, attempt: StepAttempt, latest: dict[str, int]) -> bool:
    """Tell whether the service would retry the step: its latest attempt failed, and all has ended (contract 6)."""
    failed = attempt.status == StepStatus.FAILED and latest[attempt.path] == attempt.pk
    return failed and execution.status in FINAL_STATUSES


def _shown(attempt: StepAttempt, branches: list[Branch], *, of: int, retryable: bool) -> dict[str, Any]:
    return {
        "row": attempt,
        "status": label(shown_status(attempt, branches)),
        "count": f"{attempt.attempt} of {of}",
        "started": moment_text(attempt.started_at),
        "duration": duration_text(attempt.execution_time_ms),
        "input": pretty_json(attempt.input_data),
        "output": _output_text(attempt),
        "log": attempt.log,
        "retryable": retryable,
        "hidden": {"attempt": attempt.pk},
    }


def _output_text(attempt: StepAttempt) -> str | None:
    if attempt.spill_id is not None:
        return "Too large to show here: it is in the storage, and the API gives it with the execution's steps."
    return None if attempt.output_data is None else pretty_json(attempt.output_data)


@admin.register(Execution)
class ExecutionAdmin(ServiceModelAdmin):
    list_display = ("id", "workflow_name", "state", "trigger_type", "reason", "started", "duration")
    list_display_links = ("id", "workflow_name")
    list_filter = ("status", "trigger_type")
    list_select_related = ("workflow",)
    # Any other order would sort the whole table.
    sortable_by = ("id", "started")
    search_help_text = "Id or UUID"
    shows_only_panels = True
    panels = (
        Panel("admin/workflows/execution/reason.html", _reason),
        Panel("admin/core/facts.html", _facts),
        Panel("admin/workflows/execution/steps.html", _steps),
    )
    buttons = (
        Button(
            "cancel",
            "Cancel",
            icon="cancel",
            variant="danger",
            confirm="Cancel this execution? What its steps have done so far stays done.",
        ),
        # Drawn beside each step that failed.
        Button("retry_step", "Retry from here"),
    )

    def for_list(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        waiting = Branch.objects.filter(execution=OuterRef("pk")).exclude(waiting_on="").order_by("pk")
        heavy = ("trigger_data", "execution_config", "input_file_ids", "output_file_ids", "cause_chain")
        reason = Subquery(waiting.values("waiting_reason")[:1])
        return queryset.annotate(waiting_reason=reason).defer(*heavy, "workflow__workflow_config")

    def for_detail(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset.select_related("workflow", "version", "owner")

    @display(description="Workflow")
    def workflow_name(self, execution: Execution) -> str:
        return execution.workflow.name

    @display(description="Status")
    def state(self, execution: Execution) -> str:
        return label(execution.status)

    @display(description="Why")
    def reason(self, execution: Any) -> str:
        if execution.status in FINAL_STATUSES:
            return _short(execution.error_message or "")
        return _short(execution.waiting_reason or "")

    @display(description="Started (UTC)", ordering="id")
    def started(self, execution: Execution) -> str:
        return moment_text(execution.started_at)

    @display(description="Duration")
    def duration(self, execution: Execution) -> str:
        return duration_text(execution.execution_time_ms)

    def shown_buttons(self, request: HttpRequest, instance: Execution) -> list[Button]:
        return [] if instance.status in FINAL_STATUSES else [self.buttons[0]]

    def press_cancel(self, request: HttpRequest, execution: Execution) -> None:
        services.cancel_execution(execution)
        self.message_user(request, "The execution was asked to stop.", messages.SUCCESS)

    def press_retry_step(self, request: HttpRequest, execution: Execution) -> HttpResponse | None:
        wanted = request.POST.get("attempt", "")
        attempt = execution.attempts.filter(pk=int(wanted)).first() if wanted.isdecimal() else None
        if attempt is None:
            raise Http404
        services.retry_step(attempt)
        self.message_user(request, f"Step {attempt.step_name} runs again, and the steps after it.", messages.SUCCESS)
        return None


def _short(text: str) -> str:
    longest = 90
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
