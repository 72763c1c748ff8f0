"""Admin pages of executions: what runs, what waits and why, what failed and why."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.forms import Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect

from core.admin import Button, Panel, ServiceModelAdmin, actor_of, duration_text, label, moment_text, read_id
from workflows import services
from workflows.admin.compensation_panel import BY_HAND, RETRY_COMPENSATION
from workflows.admin.execution_panels import CANCEL, MOST_CHILDREN, RETRY, live
from workflows.admin.reruns import bulk_page, keys_in, keys_of, rerun_page
from workflows.choices import FINAL_STATUSES
from workflows.models import Branch, Execution, Workflow, WorkflowInstance

LONGEST_REASON = 1000
VERSIONS = ("version", "workflow__published_version")
LIVE = Panel("admin/workflows/execution/live.html", live)


class OfWorkflow(SimpleListFilter):
    """One workflow's executions: shown once an address names it, since nobody picks from thousands of names."""

    title = "workflow"
    parameter_name = "workflow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        key = self._key()
        found = Workflow.objects.filter(pk=key).values_list("pk", "name") if key is not None else []
        return [(str(pk), name) for pk, name in found]

    def has_output(self) -> bool:
        return self._key() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        return queryset if self.value() is None else queryset.filter(workflow=self._key())

    def _key(self) -> int | None:
        return read_id(str(self.used_parameters.get(self.parameter_name, "")))


@admin.register(Execution)
class ExecutionAdmin(ServiceModelAdmin):
    list_display = ("id", "workflow_name", "state", "trigger", "reason", "started", "duration")
    list_display_links = ("id", "workflow_name")
    list_filter = (OfWorkflow, "status", "trigger_type")
    list_select_related = ("workflow",)
    # Any other order would sort the whole table.
    sortable_by = ("id", "started")
    search_help_text = "Id or UUID"
    nothing_yet = "Open a workflow and press Run now, or upload a file that starts one."
    shows_only_panels = True
    panels = (LIVE,)
    # Drawn by the panel, which is renewed while the execution runs.
    buttons = (CANCEL, RETRY, RETRY_COMPENSATION, BY_HAND)
    actions = ("run_again",)

    class Media:
        css: ClassVar[dict[str, Any]] = {"all": ["workflows/workflows.css"]}
        js: ClassVar[list[Any]] = [
            Script("workflows/execution_live.js", defer=True),
            Script("core/copy.js", defer=True),
        ]

    def for_list(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        waiting = Branch.objects.filter(execution=OuterRef("pk")).exclude(waiting_on="").order_by("pk")
        heavy = ("trigger_data", "execution_config", "input_file_ids", "output_file_ids", "cause_chain")
        reason = Subquery(waiting.values("waiting_reason")[:1])
        return queryset.annotate(waiting_reason=reason).defer(*heavy, "workflow__workflow_config")

    def for_detail(self, queryset: QuerySet[Execution]) -> QuerySet[Execution]:
        children = Execution.objects.filter(parent=OuterRef("pk")).order_by("pk").values("pk")[:MOST_CHILDREN]
        heavy = [f"{name}__{column}" for name in VERSIONS for column in ("definition", "source")]
        heavy += ["workflow__workflow_config", "execution_config"]
        reruns = Execution.objects.filter(rerun_of=OuterRef("pk")).order_by("pk").values("pk")[:MOST_CHILDREN]
        found = queryset.select_related("workflow__published_version", "version", "owner").defer(*heavy)
        undone = Exists(WorkflowInstance.objects.filter(execution=OuterRef("pk")))
        return found.annotate(child_ids=ArraySubquery(children), rerun_ids=ArraySubquery(reruns), is_undone=undone)

    @display(description="Workflow")
    def workflow_name(self, execution: Execution) -> str:
        return execution.workflow.name

    @display(description="Status")
    def state(self, execution: Execution) -> str:
        return label(execution.status)

    @display(description="Trigger")
    def trigger(self, execution: Execution) -> str:
        return execution.get_trigger_type_display()

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
        return {"live": self.live_page, "rerun": self.rerun_page}

    def get_urls(self) -> list[Any]:
        again = path("run-again/", self._guarded(self.run_again_page), name="workflows_execution_run_again")
        return [again, *super().get_urls()]

    def rerun_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask where to begin, with which version and input, and run an ended execution again."""
        return rerun_page(self, request, self.row_for_press(request, object_id))

    @method_decorator(csrf_protect)
    def run_again_page(self, request: HttpRequest) -> HttpResponse:
        """List what would run again, and start it once that is confirmed."""
        if not self.may_press(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return bulk_page(self, request, keys_in(request.POST.get("keys", "")))

    @admin.action(description="Run selected executions again…", permissions=["press"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Execution]) -> HttpResponse:
        """Show what would run again; nothing is started yet."""
        return bulk_page(self, request, keys_of(queryset))

    def has_press_permission(self, request: HttpRequest) -> bool:
        return self.may_press(request)

    def change_url(self, execution_id: int) -> str:
        """Return the address of an execution's page."""
        return reverse("admin:workflows_execution_change", args=(execution_id,))

    def live_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer the page of a running execution with what has changed (htmx asks every 2 seconds)."""
        execution = self.row_for_view(request, object_id)
        context = {"object": execution, **live(request, execution, seen=request.GET.get("seen", "none"))}
        return TemplateResponse(request, LIVE.template, context)

    def press_cancel(self, request: HttpRequest, execution: Execution) -> None:
        services.cancel_execution(execution)
        self.message_user(request, "The execution was asked to stop.", messages.SUCCESS)

    def press_retry_compensation(self, request: HttpRequest, execution: Execution) -> None:
        services.retry_compensation(execution, actor=actor_of(request))
        self.message_user(request, "The open steps are tried once more.", messages.SUCCESS)

    def press_compensate_by_hand(self, request: HttpRequest, execution: Execution) -> None:
        step, reason = request.POST.get("path", ""), request.POST.get("reason", "").replace("\x00", "")
        services.compensate_by_hand(execution, path=step, reason=reason[:LONGEST_REASON], actor=actor_of(request))
        self.message_user(request, f"It is noted that {step} was undone by hand.", messages.SUCCESS)

    def press_retry_step(self, request: HttpRequest, execution: Execution) -> HttpResponse | None:
        key = read_id(request.POST.get("attempt", ""))
        attempt = execution.attempts.filter(pk=key).first() if key is not None else None
        if attempt is None:
            raise Http404
        services.retry_step(attempt)
        self.message_user(request, f"Step {attempt.step_name} runs again, and the steps after it.", messages.SUCCESS)
        return None


def _short(text: str) -> str:
    longest = 90
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
