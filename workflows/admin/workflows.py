"""Admin pages of workflows: definition, triggers, versions, totals, run now."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.csrf import csrf_protect
from unfold.decorators import action

from accounts import services as accounts
from accounts.models import Owner
from core.admin import Button, Panel, ServiceModelAdmin, actor_of, label, moment_text, pretty_json
from core.errors import DomainError
from workflows import selectors, services
from workflows.admin.workflow_forms import RETENTION, NewWorkflowForm, RunForm, WorkflowForm, problems_in
from workflows.admin.workflow_panels import RESTORE, differences, has_draft, latest_files, match, runs, versions
from workflows.choices import TriggerType, WorkflowStatus
from workflows.models import Execution, Workflow, WorkflowVersion

LONGEST_NUMBER = 9
CONCURRENCY = (("concurrency_limit", "concurrency_policy"), "concurrency_key")
# The theme names its buttons so.
DRAFT_BUTTON = "workflows_workflow_save_as_draft"
MATCH = Panel("admin/workflows/workflow/match.html", match)


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
    actions = (
        "enable_selected",
        "disable_selected",
        "pause_selected",
        "resume_selected",
        "run_selected",
        "duplicate_selected",
    )
    actions_submit_line = ("save_as_draft",)
    panels = (
        Panel("admin/workflows/workflow/runs.html", runs),
        Panel("admin/workflows/workflow/versions.html", versions),
        MATCH,
    )
    buttons = (
        Button("run", "Run now", icon="play_arrow", variant="primary", is_link=True),
        Button("enable", "Enable", icon="toggle_on"),
        Button(
            "disable",
            "Disable",
            icon="toggle_off",
            confirm="Disable this workflow? Nothing starts it until it is enabled.",
        ),
        Button("pause", "Pause", icon="pause", confirm="Pause this workflow? Nothing starts it until it is resumed."),
        Button("resume", "Resume", icon="resume"),
        Button("duplicate", "Duplicate", icon="content_copy"),
        Button("run_draft", "Run draft", icon="science", is_link=True),
        Button(
            "publish",
            "Publish draft",
            icon="publish",
            confirm="Publish the draft? Triggers use it from now on; the present definition stays in the list.",
        ),
        # Drawn beside each version.
        RESTORE,
    )

    def for_list(self, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        heavy = ("workflow_config", "trigger_config", "description")
        return selectors.with_totals(queryset.exclude(status=WorkflowStatus.DELETED)).defer(*heavy)

    def for_detail(self, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        return selectors.with_totals(queryset).select_related("owner", "published_version", "draft_version")

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
        return moment_text(selectors.last_execution_at(workflow)) if selectors.last_execution_at(workflow) else "never"

    # --- Forms ---
    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Workflow | None:
        """Return the row; on the form's first showing, `?version=4` puts that version's definition into it."""
        workflow: Workflow | None = super().get_object(request, object_id, from_field)
        if workflow is not None and request.method == "GET" and "version" in request.GET:
            version = _version_of(workflow, request.GET["version"])
            workflow.shown_config = services.document_of(version)  # type: ignore[attr-defined]
            text = f"The editor holds version {version.number}. Nothing has changed until you save."
            self.message_user(request, text, messages.INFO)
        return workflow

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
            ("Limits", {"fields": [("max_retries", "timeout_seconds"), *CONCURRENCY]}),
            ("History", {"fields": [RETENTION[:2], RETENTION[2]]}),
        ]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner":
            kwargs["initial"] = accounts.owner_of_user(request.user)  # type: ignore[arg-type]
            if not request.user.is_superuser:
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

    def update_object(self, request: HttpRequest, instance: Workflow, form: Any) -> Workflow | WorkflowVersion:
        if DRAFT_BUTTON in request.POST:
            return services.save_draft(instance, body=form.draft_body(), actor=actor_of(request))
        return services.update_workflow(instance, body=form.body(), actor=actor_of(request))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.has_change_permission(request, kwargs.get("obj")):
            context["actions_submit_line"] = []
        return super().render_change_form(request, context, *args, **kwargs)

    @action(description="Save as draft")  # type: ignore[untyped-decorator]
    def save_as_draft(self, request: HttpRequest, instance: Workflow) -> None:
        """Stand for the button in the form's last row; `update_object` does what it says."""

    def response_change(self, request: HttpRequest, obj: Workflow) -> HttpResponse:
        if DRAFT_BUTTON not in request.POST:
            return super().response_change(request, obj)
        text = "The definition is kept as a draft. Triggers use the published version until you publish the draft."
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.url_of("change", obj))

    def delete_object(self, request: HttpRequest, instance: Workflow) -> None:
        services.delete_workflow(instance, actor=actor_of(request))

    # --- Buttons and actions ---
    def shown_buttons(self, request: HttpRequest, instance: Workflow) -> list[Button]:
        there, draft = _is_there(instance), has_draft(instance)
        usable = {
            "run": there and instance.is_executable,
            "run_draft": there and draft,
            "publish": there and draft,
            "enable": there and not instance.is_enabled,
            "disable": there and instance.is_enabled,
            "pause": there and instance.status == WorkflowStatus.ACTIVE,
            "resume": there and instance.status != WorkflowStatus.ACTIVE,
            "duplicate": True,
        }
        return [button for button in self.buttons if usable.get(button.name)]

    def note(self, request: HttpRequest, instance: Workflow) -> str:
        if not _is_there(instance):
            return "The workflow is deleted: nothing starts it any more."
        if instance.is_executable:
            return ""
        if instance.status != WorkflowStatus.ACTIVE:
            return f"Nothing can start it, also not by hand: it is {instance.status}. Resume it to run it."
        return "Nothing can start it, also not by hand: it is disabled. Enable it to run it."

    def press_enable(self, request: HttpRequest, workflow: Workflow) -> None:
        services.set_enabled(workflow, enabled=True, actor=actor_of(request))
        self.message_user(request, f"{workflow.name} is enabled.", messages.SUCCESS)

    def press_disable(self, request: HttpRequest, workflow: Workflow) -> None:
        services.set_enabled(workflow, enabled=False, actor=actor_of(request))
        self.message_user(request, f"{workflow.name} is disabled.", messages.SUCCESS)

    def press_pause(self, request: HttpRequest, workflow: Workflow) -> None:
        services.set_paused(workflow, paused=True, actor=actor_of(request))
        self.message_user(request, f"{workflow.name} is paused.", messages.SUCCESS)

    def press_resume(self, request: HttpRequest, workflow: Workflow) -> None:
        services.set_paused(workflow, paused=False, actor=actor_of(request))
        self.message_user(request, f"{workflow.name} is active again.", messages.SUCCESS)

    def press_duplicate(self, request: HttpRequest, workflow: Workflow) -> HttpResponse:
        made = services.duplicate_workflow(workflow, actor=actor_of(request))
        self.message_user(request, f"{made.name} was made; it is disabled.", messages.SUCCESS)
        return HttpResponseRedirect(self.url_of("change", made))

    def press_publish(self, request: HttpRequest, workflow: Workflow) -> None:
        services.publish_draft(workflow, actor=actor_of(request))
        self.message_user(request, "Triggers use the draft from now on.", messages.SUCCESS)

    def press_restore(self, request: HttpRequest, workflow: Workflow) -> None:
        version = _version_of(workflow, request.POST.get("number", ""))
        services.restore_version(workflow, version=version, actor=actor_of(request))
        self.message_user(request, f"The definition of version {version.number} is published again.", messages.SUCCESS)

    @admin.action(description="Enable selected workflows", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        self._press_each(request, queryset, self.press_enable)

    @admin.action(description="Disable selected workflows", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        self._press_each(request, queryset, self.press_disable)

    @admin.action(description="Pause selected workflows", permissions=["change"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        self._press_each(request, queryset, self.press_pause)

    @admin.action(description="Resume selected workflows", permissions=["change"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        self._press_each(request, queryset, self.press_resume)

    @admin.action(description="Run selected workflows now, with an empty input", permissions=["change"])
    def run_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        def run(request: HttpRequest, workflow: Workflow) -> HttpResponse:
            started = services.start_execution(workflow, services.Start(trigger_type=TriggerType.MANUAL))
            return self._started(request, workflow, started)

        self._press_each(request, queryset, run)

    @admin.action(description="Duplicate selected workflows", permissions=["change"])
    def duplicate_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> None:
        self._press_each(request, queryset, self.press_duplicate)

    def _press_each(
        self, request: HttpRequest, queryset: QuerySet[Workflow], press: Callable[[HttpRequest, Workflow], object]
    ) -> None:
        """Do to each row what its button does; one that is refused says so and does not stop the others."""
        # Lists leave out the columns that a copy needs.
        for workflow in Workflow.objects.filter(pk__in=queryset).select_related("owner").order_by("pk"):
            try:
                press(request, workflow)
            except DomainError as refusal:
                self.message_user(request, f"{workflow.name}: {refusal.detail}", messages.ERROR)

    # --- Own pages ---
    def get_urls(self) -> list[Any]:
        check = path("check/", self._guarded(self.check_page), name="workflows_workflow_check")
        return [check, *super().get_urls()]

    def own_pages(self) -> dict[str, Any]:
        return {
            "run": self.run_page,
            "run_draft": self.run_draft_page,
            "version": self.version_page,
            "match": self.match_page,
        }

    @method_decorator(csrf_protect)
    def check_page(self, request: HttpRequest) -> HttpResponse:
        """Answer the editor: the problems of a definition that is being typed. Nothing is saved."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        # Browsers send a form's line ends as CR LF.
        text = request.POST.get("text", "").replace("\r\n", "\n")
        return JsonResponse({"problems": problems_in(text)})

    def run_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the input and start an execution."""
        workflow = self.row_for_press(request, object_id)
        return self._run_page(request, workflow, f"Run {workflow.name} now", "Run now", services.start_execution)

    def run_draft_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the input and start a test run of the draft."""
        workflow = self.row_for_press(request, object_id)
        if not has_draft(workflow):
            text = f"{workflow.name} has no draft: nothing was started. Run now starts the published version."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(self.url_of("change", workflow))
        return self._run_page(request, workflow, f"Run the draft of {workflow.name}", "Run draft", services.run_draft)

    def _run_page(
        self,
        request: HttpRequest,
        workflow: Workflow,
        title: str,
        submit_text: str,
        start: Callable[[Workflow, services.Start], services.Started],
    ) -> HttpResponse:
        given = request.POST if request.method == "POST" else None
        files, initial = latest_files(request, workflow), None if given else _last_input(request, workflow)
        form = RunForm(given, files=files, initial=initial)
        if given and form.is_valid():
            try:
                return self._started(request, workflow, start(workflow, form.asked_of(workflow)))
            except DomainError as refusal:
                form.add_error(None, refusal.detail)
        context = self.page_context(request, workflow, form=form, title=title, submit_text=submit_text)
        return TemplateResponse(request, "admin/core/form_page.html", context)

    def _started(self, request: HttpRequest, workflow: Workflow, started: services.Started) -> HttpResponse:
        page = reverse("admin:workflows_execution_change", args=(started.execution_id,))
        said = '<a href="{}">Execution {}</a> of {} has started.'
        link = format_html(said, page, started.execution_id, workflow)
        self.message_user(request, link, messages.SUCCESS)
        return HttpResponseRedirect(page)

    def version_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a version and what changed from it to the published one."""
        workflow = self.row_for_view(request, object_id)
        version = _version_of(workflow, request.GET.get("number", ""))
        published = workflow.published_version or version
        context = self.page_context(
            request,
            workflow,
            title=f"{workflow.name}: version {version.number}",
            version=version,
            made=moment_text(version.created_at),
            published=published,
            lines=differences(version, published),
            source=pretty_json(services.document_of(version)),
            restore=RESTORE,
            press_url=reverse("admin:workflows_workflow_press", args=(workflow.pk, "restore")),
            hidden={"number": version.number},
            may_press=self.may_press(request) and _is_there(workflow),
        )
        return TemplateResponse(request, "admin/workflows/workflow/version.html", context)

    def match_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say whether a past file would have started the workflow, and why not."""
        workflow = self.row_for_view(request, object_id)
        title = f"{workflow.name}: would this have matched?"
        context = self.page_context(request, workflow, title=title, panel=MATCH.render(request, workflow))
        return TemplateResponse(request, "admin/workflows/workflow/match_page.html", context)


def _last_input(request: HttpRequest, workflow: Workflow) -> dict[str, Any]:
    """Return the form's values for a run like the last one: a file it had, and the input beside that file's facts."""
    found = Execution.objects.filter(workflow=workflow).order_by("-id").only("trigger_data", "input_file_ids")
    last = found.first() if request.user.has_perm("workflows.view_execution") else None
    if last is None:
        return {"trigger_data": {}}
    data, file_id = last.trigger_data or {}, next(iter(last.input_file_ids), None)
    try:
        facts = services.facts_of_file(workflow, file_id) if file_id is not None else {}
    except DomainError:
        return {"trigger_data": data}
    typed = {key: value for key, value in data.items() if key not in facts}
    return {"trigger_data": typed, "file_id": file_id}


def _version_of(workflow: Workflow, number: str) -> WorkflowVersion:
    wanted = number.isascii() and number.isdecimal() and len(number) <= LONGEST_NUMBER
    version = workflow.versions.filter(number=int(number)).first() if wanted else None
    if version is None:
        raise Http404
    return version


def _is_there(workflow: Workflow | None) -> bool:
    return workflow is None or workflow.status != WorkflowStatus.DELETED
