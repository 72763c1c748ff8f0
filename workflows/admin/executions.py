"""Admin pages of executions: what runs, what waits and why, what failed and why."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet, Subquery
from django.forms import Script
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from core.admin import Button, Panel, ServiceModelAdmin, duration_text, label, moment_text
from workflows import services
from workflows.admin.execution_panels import CANCEL, MOST_CHILDREN, RETRY, live
from workflows.choices import FINAL_STATUSES
from workflows.models import Branch, Execution

LIVE = Panel("admin/workflows/execution/live.html", live)


@admin.register(Execution)
class ExecutionAdmin(ServiceModelAdmin):
    list_display = ("id", "workflow_name", "state", "trigger_type", "reason", "started", "duration")
    list_display_links = ("id", "workflow_name")
    list_filter = ("status", "trigger_type")
    list_select_related = ("workflow",)
    # Any other order would sort the whole table.
    sortable_by = ("id", "started")
    search_help_text = "Id or UUID"
    nothing_yet = "Open a workflow and press Run now, or upload a file that starts one."
    shows_only_panels = True
    panels = (LIVE,)
    # Drawn by the panel, which is renewed while the execution runs.
    buttons = (CANCEL, RETRY)

    class Media:
        css: ClassVar[dict[str, Any]] = {"all": ["workflows/workflows.css"]}
        js: ClassVar[list[Any]] = [Script("workflows/execution_live.js", defer=True)]

    def for_list(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        waiting = Branch.objects.filter(execution=OuterRef("pk")).exclude(waiting_on="").order_by("pk")
        heavy = ("trigger_data", "execution_config", "input_file_ids", "output_file_ids", "cause_chain")
        reason = Subquery(waiting.values("waiting_reason")[:1])
        return queryset.annotate(waiting_reason=reason).defer(*heavy, "workflow__workflow_config")

    def for_detail(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        children = Execution.objects.filter(parent=OuterRef("pk")).order_by("pk").values("pk")[:MOST_CHILDREN]
        heavy = ("workflow__workflow_config", "version__definition", "version__source", "execution_config")
        found = queryset.select_related("workflow", "version", "owner").defer(*heavy)
        return found.annotate(child_ids=ArraySubquery(children))

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
        return []

    def own_pages(self) -> dict[str, Any]:
        return {"live": self.live_page}

    def live_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer the page of a running execution with what has changed (htmx asks every 2 seconds)."""
        execution = self.row_for_view(request, object_id)
        context = {"object": execution, **live(request, execution, seen=request.GET.get("seen", "none"))}
        return TemplateResponse(request, LIVE.template, context)

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
