"""Admin pages of workflows: definition, triggers, totals, run now."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import Max, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.models import Owner
from core.admin import (
    NOTHING,
    Button,
    JsonTextField,
    Panel,
    ServiceForm,
    ServiceModelAdmin,
    actor_of,
    duration_text,
    label,
    moment_text,
)
from core.errors import DomainError
from workflows import selectors, services
from workflows.choices import TriggerType, WorkflowStatus
from workflows.models import CounterDelta, Execution, Workflow

LATEST_RUNS = 10
EXAMPLE = {"steps": [{"name": "greet", "type": "log", "config": {"message": "Hello {{trigger.name}}"}}]}


class WorkflowForm(ServiceForm):
    """What an author edits. The service reads, validates and versions it like a request to the API."""

    workflow_config = JsonTextField(
        label="Definition", help_text='JSON: {"steps": [{"name", "type", "config"}, …], "variables": {…}}'
    )
    problem_fields: ClassVar[dict[str, str]] = {
        "steps": "workflow_config",
        "variables": "workflow_config",
        "": "workflow_config",
    }

    class Meta:
        model = Workflow
        fields = (
            "owner",
            "name",
            "description",
            "workflow_config",
            "trigger_on_file_upload",
            "trigger_file_extensions",
            "is_scheduled",
            "cron_schedule",
            "max_retries",
            "timeout_seconds",
        )
        widgets: ClassVar[dict[str, Any]] = {"description": UnfoldAdminTextareaWidget({"rows": 3})}
        labels: ClassVar[dict[str, str]] = {
            "trigger_on_file_upload": "Start for uploaded files",
            "trigger_file_extensions": "Only for these extensions",
            "is_scheduled": "Start on a schedule",
            "cron_schedule": "Cron schedule",
        }
        help_texts: ClassVar[dict[str, str]] = {
            "trigger_file_extensions": "Separated by commas, e.g. pdf,csv; empty means all.",
            "cron_schedule": "Five fields, in UTC: minute, hour, day, month, weekday.",
        }

    def body(self) -> dict[str, Any]:
        """Return the request body: what was given for a new workflow, what was changed for an old one."""
        names = [name for name in self.changed_data if name != "owner"]
        return {name: "" if self.cleaned_data[name] is None else self.cleaned_data[name] for name in names}


class NewWorkflowForm(WorkflowForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("workflow_config", EXAMPLE)

    def body(self) -> dict[str, Any]:
        required = {name: self.cleaned_data[name] for name in ("name", "workflow_config")}
        return super().body() | required


class RunForm(forms.Form):
    """The input of a run: what `{{trigger.…}}` and `{{input.…}}` see."""

    trigger_data = JsonTextField(
        label="Input",
        rows=12,
        required=False,
        initial="{}",
        help_text="A JSON object; steps read it as {{trigger.name}}.",
    )


def _runs(request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
    """Return totals and the latest executions."""
    latest = Execution.objects.filter(workflow=workflow).defer("trigger_data").order_by("-id")[:LATEST_RUNS]
    version = workflow.published_version
    return {
        "facts": [
            ("Status", label(workflow.status)),
            ("Enabled", "yes" if workflow.is_enabled else "no"),
            ("Version", version.number if version else NOTHING),
            *((name.replace("_", " ").capitalize(), count) for name, count in selectors.totals(workflow).items()),
            ("Last run (UTC)", moment_text(_last_run(workflow))),
            ("Made by", workflow.created_by or NOTHING),
            ("UUID", workflow.uuid),
        ],
        "runs": [
            {
                "row": run,
                "status": label(run.status),
                "created": moment_text(run.created_at),
                "duration": duration_text(run.execution_time_ms),
            }
            for run in latest
        ],
    }


@admin.register(Workflow)
class WorkflowAdmin(ServiceModelAdmin):
    list_display = ("id", "name", "state", "triggers", "runs", "failures", "last_run", "owner")
    list_display_links = ("id", "name")
    list_filter = ("is_enabled", "status", "trigger_on_file_upload", "is_scheduled")
    list_select_related = ("owner",)
    text_search_fields = ("name",)
    search_help_text = "Id, UUID or a part of the name"
    form = WorkflowForm
    warn_unsaved_form = True
    deletion_note = "Running executions are cancelled; the workflow is hidden and starts no more."
    actions = ("enable_selected", "disable_selected")
    panels = (Panel("admin/workflows/workflow/runs.html", _runs),)
    buttons = (
        Button("run", "Run now", icon="play_arrow", variant="primary", is_link=True),
        Button("enable", "Enable", icon="toggle_on"),
        Button(
            "disable",
            "Disable",
            icon="toggle_off",
            confirm="Disable this workflow? Nothing starts it until it is enabled.",
        ),
    )

    def for_list(self, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        heavy = ("workflow_config", "trigger_config", "description")
        return _with_numbers(queryset.exclude(status=WorkflowStatus.DELETED)).defer(*heavy)

    def for_detail(self, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        return _with_numbers(queryset).select_related("owner", "published_version")

    # --- Lists ---
    @display(description="State", ordering="is_enabled")
    def state(self, workflow: Workflow) -> str:
        if workflow.status != WorkflowStatus.ACTIVE:
            return label(workflow.status)
        return label("enabled" if workflow.is_enabled else "disabled")

    @display(description="Triggers")
    def triggers(self, workflow: Workflow) -> str:
        found = [f"files: {workflow.trigger_file_extensions or 'all'}"] if workflow.trigger_on_file_upload else []
        if workflow.is_scheduled:
            found.append(f"cron: {workflow.cron_schedule or 'not set'}")
        return "; ".join(found) or "by hand"

    @display(description="Runs")
    def runs(self, workflow: Workflow) -> int:
        return selectors.totals(workflow)["total_executions"]

    @display(description="Failed")
    def failures(self, workflow: Workflow) -> int:
        return selectors.totals(workflow)["failed_executions"]

    @display(description="Last run (UTC)", ordering="last_execution_at")
    def last_run(self, workflow: Workflow) -> str:
        return moment_text(_last_run(workflow)) if _last_run(workflow) else "never"

    # --- Forms ---
    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = NewWorkflowForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ["name", "description", "workflow_config"]
        triggers = [("trigger_on_file_upload", "trigger_file_extensions"), ("is_scheduled", "cron_schedule")]
        return [
            (None, {"fields": first if obj else ["owner", *first]}),
            ("Triggers", {"fields": triggers}),
            ("Limits", {"fields": [("max_retries", "timeout_seconds")]}),
        ]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner" and not request.user.is_superuser:
            kwargs["queryset"] = Owner.objects.filter(user=request.user.pk)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_there(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_there(obj) and super().has_delete_permission(request, obj)

    def create_object(self, request: HttpRequest, instance: Workflow, form: Any) -> Workflow:
        # Whoever writes a workflow by hand is told of a mistyped name; old clients keep the contract's leniency.
        body = {"strict_expressions": True} | form.body()
        return services.create_workflow(owner=form.cleaned_data["owner"], body=body, actor=actor_of(request))

    def update_object(self, request: HttpRequest, instance: Workflow, form: Any) -> Workflow:
        return services.update_workflow(instance, body=form.body(), actor=actor_of(request))

    def delete_object(self, request: HttpRequest, instance: Workflow) -> None:
        services.delete_workflow(instance, actor=actor_of(request))

    # --- Buttons and actions ---
    def shown_buttons(self, request: HttpRequest, instance: Workflow) -> list[Button]:
        there = _is_there(instance)
        usable = {
            "run": there and instance.is_executable,
            "enable": there and not instance.is_enabled,
            "disable": there and instance.is_enabled,
        }
        return [button for button in self.buttons if usable[button.name]]

    def press_enable(self, request: HttpRequest, workflow: Workflow) -> None:
        services.set_enabled(workflow, enabled=True, actor=actor_of(request))
        self.message_user(request, f"{workflow.name} is enabled.", messages.SUCCESS)

    def press_disable(self, request: HttpRequest, workflow: Workflow) -> None:
        services.set_enabled(workflow, enabled=False, actor=actor_of(request))
        self.message_user(request, f"{workflow.name} is disabled.", messages.SUCCESS)

    @admin.action(description="Enable selected workflows", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        for workflow in queryset.order_by("pk"):
            self.press_enable(request, workflow)

    @admin.action(description="Disable selected workflows", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        for workflow in queryset.order_by("pk"):
            self.press_disable(request, workflow)

    def own_pages(self) -> dict[str, Any]:
        return {"run": self.run_page}

    def run_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the input and start an execution."""
        workflow = self.row_for_press(request, object_id)
        form = RunForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                return self._run(request, workflow, form.cleaned_data["trigger_data"] or {})
            except DomainError as refusal:
                form.add_error(None, refusal.detail)
        context = self.page_context(
            request, workflow, form=form, title=f"Run {workflow.name} now", submit_text="Run now"
        )
        return TemplateResponse(request, "admin/core/form_page.html", context)

    def _run(self, request: HttpRequest, workflow: Workflow, data: dict[str, Any]) -> HttpResponse:
        started = services.start_execution(workflow, services.Start(trigger_type=TriggerType.MANUAL, trigger_data=data))
        page = reverse("admin:workflows_execution_change", args=(started.execution_id,))
        self.message_user(request, format_html("Execution {} has started.", started.execution_id), messages.SUCCESS)
        return HttpResponseRedirect(page)


def _with_numbers(queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
    """Add the totals and the last run that were not folded into the row yet."""
    deltas = CounterDelta.objects.filter(workflow_id=OuterRef("pk")).order_by().values("workflow_id")
    latest = Subquery(deltas.annotate(latest=Max("last_execution_at")).values("latest"))
    return selectors.with_totals(queryset).annotate(pending_last_at=latest)


def _last_run(workflow: Any) -> datetime | None:
    found: datetime | None = workflow.pending_last_at or workflow.last_execution_at
    return found


def _is_there(workflow: Workflow | None) -> bool:
    return workflow is None or workflow.status != WorkflowStatus.DELETED
