"""django-celery-beat's pages in the product's theme, with writes through services, and what workflows need there."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from core import clock
from core.admin import (
    NOTHING,
    Button,
    JsonTextField,
    Panel,
    ServiceForm,
    ServiceModelAdmin,
    actor_of,
    label,
    moment_text,
)
from workflows import timetables
from workflows.choices import MissedPolicy, OverlapPolicy, WorkflowStatus
from workflows.models import ScheduleSlot, Workflow, WorkflowSchedule
from workflows.schedule import in_words
from workflows.services import schedules as services
from workflows.services import slots

if TYPE_CHECKING:
    from django.contrib.admin import TabularInline
else:
    from unfold.admin import TabularInline

NEXT_SLOTS = 50
SLOTS_AT_ONCE = 10
PAST_SLOTS = 100
OUTCOME_LOOKS = {"ran": "completed", "missed": "failed", "skipped": "skipped", "queued": "waiting"}

for model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(model)


class TaskSelectWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):  # type: ignore[misc]
    """The registered tasks, in the theme's looks."""


class PeriodicTaskForm(beat.PeriodicTaskForm, ServiceForm):  # type: ignore[misc]
    """The library's form (it checks the JSON and the task's name) in the theme's looks, and a workflow to start."""

    workflow = forms.ModelChoiceField(
        Workflow.objects.exclude(status=WorkflowStatus.DELETED),
        required=False,
        help_text="Start this workflow; “Task” is then not used. A task keeps its workflow.",
        widget=AutocompleteSelect(WorkflowSchedule._meta.get_field("workflow"), admin.site),
    )
    input_data = JsonTextField(
        label="Input", rows=6, required=False, help_text="A JSON object; steps read it as {{input.name}}."
    )
    missed_policy = forms.ChoiceField(
        label="Missed slots",
        required=False,
        choices=MissedPolicy.choices,
        initial=MissedPolicy.LATEST,
        help_text="What happens to slots that passed while nothing was running.",
        widget=UnfoldAdminSelectWidget(),
    )
    missed_window_seconds = forms.IntegerField(
        label="Window in seconds",
        required=False,
        initial=86_400,
        min_value=1,
        max_value=366 * 86_400,
        help_text="How far back “all” reaches.",
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    overlap_policy = forms.ChoiceField(
        label="Overlap",
        required=False,
        choices=OverlapPolicy.choices,
        initial=OverlapPolicy.SKIP,
        help_text="What happens to a slot while an execution of the workflow is still running.",
        widget=UnfoldAdminSelectWidget(),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "regtask" in self.fields:
            self.fields["regtask"].widget = TaskSelectWidget()
            self.fields["task"].widget = UnfoldAdminTextInputWidget()
        schedule = _schedule_of(self.instance)
        if schedule is not None and "workflow" in self.fields:
            self.fields["workflow"].disabled = True
            self.initial["workflow"] = schedule.workflow_id
            self.initial.update({name: getattr(schedule, name) for name in services.Policy.__dataclass_fields__})

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("workflow"):
            self.cleaned_data |= {"task": services.RUN_TASK, "regtask": ""}
        cleaned: dict[str, Any] = super().clean()
        return cleaned

    def policy(self) -> services.Policy | None:
        """Return what was chosen for the workflow; None for a task that starts none."""
        if not self.cleaned_data.get("workflow"):
            return None
        given = {name: self.cleaned_data.get(name) for name in services.Policy.__dataclass_fields__}
        return services.Policy(**{name: value for name, value in given.items() if value not in (None, "")})


class BeatAdmin(ServiceModelAdmin):
    """What the pages of all schedule tables share. They belong to no owner: superusers only."""

    user_lookup = ""
    deletion_note = "Periodic tasks that use it are deleted with it."

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser) and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_view_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_change_permission(request, obj)

    def create_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        return services.save_schedule(instance, actor=actor_of(request))

    def update_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        return services.save_schedule(instance, actor=actor_of(request))

    def delete_object(self, request: HttpRequest, instance: Any) -> None:
        services.delete_schedule(instance, actor=actor_of(request))


def _schedule_of(task: PeriodicTask) -> WorkflowSchedule | None:
    found: WorkflowSchedule | None = getattr(task, "workflow_schedule", None)
    return found


def _next(request: HttpRequest, task: PeriodicTask) -> dict[str, Any]:
    """Return the coming slots of a task that starts a workflow, or why there are none."""
    schedule = _schedule_of(task)
    if schedule is None:
        return {}
    timetable = timetables.find_timetable(schedule)
    zone = task.crontab.timezone if task.crontab else None
    found = islice(timetable.slots(clock.now()), NEXT_SLOTS) if timetable and task.enabled else ()
    shown = [
        {"number": number, "utc": moment_text(slot), "local": f"{slot.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}"}
        for number, slot in enumerate(found, start=1)
    ]
    return {
        "schedule": schedule,
        "words": timetables.words_of(task),
        "zone": timetables.zone_of(task),
        "note": _note(schedule),
        "first": shown[:SLOTS_AT_ONCE],
        "further": shown[SLOTS_AT_ONCE:],
    }


def _note(schedule: WorkflowSchedule) -> str:
    """Return what keeps the schedule from starting its workflow, as a sentence; empty if nothing does."""
    if trouble := timetables.trouble_with(schedule):
        return trouble
    if not schedule.periodic_task.enabled:
        return "It is switched off: no slot comes until it is enabled."
    if reason := slots.reason_against(schedule.workflow):
        return f"Slots are skipped now: {reason}."
    return ""


def _ledger(request: HttpRequest, task: PeriodicTask) -> dict[str, Any]:
    """Return the latest past slots and what became of them."""
    schedule = _schedule_of(task)
    if schedule is None:
        return {}
    rows = list(ScheduleSlot.objects.filter(schedule=schedule).order_by("-slot_at")[: PAST_SLOTS + 1])
    return {
        "schedule": schedule,
        "slots": [
            {"row": row, "at": moment_text(row.slot_at), "outcome": label(OUTCOME_LOOKS[row.outcome], row.outcome)}
            for row in rows[:PAST_SLOTS]
        ],
        "is_cut": len(rows) > PAST_SLOTS,
    }


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BeatAdmin):
    list_display = ("name", "enabled", "workflow", "schedule", "zone", "next_slot", "task", "last_run")
    list_filter = ("enabled", "one_off")
    list_select_related = ("interval", "crontab", "solar", "clocked", "workflow_schedule__workflow")
    text_search_fields = ("name", "task")
    form = PeriodicTaskForm
    fieldsets = (
        beat.PeriodicTaskAdmin.fieldsets[0],
        (
            "Workflow",
            {
                "fields": (
                    "workflow",
                    "input_data",
                    ("missed_policy", "missed_window_seconds"),
                    "overlap_policy",
                )
            },
        ),
        *beat.PeriodicTaskAdmin.fieldsets[1:],
    )
    readonly_fields = ("last_run_at", "crontab_translation")
    actions = ("enable_tasks", "disable_tasks")
    deletion_note = "It does not run again, and the record of its past slots is lost. This cannot be undone."
    panels = (
        Panel("admin/workflows/schedule/next.html", _next),
        Panel("admin/workflows/schedule/ledger.html", _ledger),
    )
    buttons = (Button("run", "Run now", icon="play_arrow", variant="primary"),)

    def for_detail(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.select_related(*self.list_select_related)

    def create_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        return self.update_object(request, instance, form)

    def update_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        workflow = form.cleaned_data.get("workflow")
        return services.save_schedule(instance, actor=actor_of(request), workflow=workflow, policy=form.policy())

    def shown_buttons(self, request: HttpRequest, instance: Any) -> list[Button]:
        schedule = _schedule_of(instance)
        return list(self.buttons) if schedule and schedule.workflow.is_executable else []

    def press_run(self, request: HttpRequest, task: Any) -> HttpResponse | None:
        schedule = _schedule_of(task)
        if schedule is None:
            self.message_user(request, "This task starts no workflow.", messages.ERROR)
            return None
        started = slots.run_now(schedule)
        self.message_user(request, f"Execution {started.execution_id} has started.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:workflows_execution_change", args=(started.execution_id,)))

    @display(description="Workflow", ordering="workflow_schedule__workflow__name")
    def workflow(self, task: Any) -> str:
        schedule = _schedule_of(task)
        if schedule is None:
            return NOTHING
        page = reverse("admin:workflows_workflow_change", args=(schedule.workflow_id,))
        return format_html('<a href="{}">{}</a>', page, schedule.workflow)

    @display(description="Schedule")
    def schedule(self, task: Any) -> str:
        return timetables.words_of(task)

    @display(description="Time zone")
    def zone(self, task: Any) -> str:
        return timetables.zone_of(task)

    @display(description="Next slot (UTC)", ordering="workflow_schedule__next_slot_at")
    def next_slot(self, task: Any) -> str:
        schedule = _schedule_of(task)
        return moment_text(schedule.next_slot_at) if schedule else NOTHING

    @display(description="Last run (UTC)", ordering="last_run_at")
    def last_run(self, task: Any) -> str:
        return moment_text(task.last_run_at) if task.last_run_at else "never"

    @display(description="In words")
    def crontab_translation(self, task: Any) -> str:
        return timetables.words_of(task) if task.crontab else NOTHING

    @admin.action(description="Enable selected tasks", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._set_enabled(request, queryset, enabled=True)

    @admin.action(description="Disable selected tasks", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._set_enabled(request, queryset, enabled=False)

    def _set_enabled(self, request: HttpRequest, queryset: QuerySet[Any], *, enabled: bool) -> None:
        changed = services.set_tasks_enabled(queryset, enabled=enabled, actor=actor_of(request))
        word = "Enabled" if enabled else "Disabled"
        self.message_user(request, f"{word} {changed} of {len(queryset)} tasks.", messages.SUCCESS)


class PeriodicTaskInline(TabularInline):  # type: ignore[type-arg]
    """The tasks of a schedule, to look at."""

    model = PeriodicTask
    fields = ("name", "task", "args", "kwargs")
    readonly_fields = fields
    can_delete = False
    extra = 0
    show_change_link = True
    verbose_name_plural = "Periodic tasks that use this schedule"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ScheduleAdmin(BeatAdmin):
    inlines = (PeriodicTaskInline,)


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(ScheduleAdmin):
    list_display = ("__str__", "in_words", "timezone")
    fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")

    @display(description="In words")
    def in_words(self, crontab: Any) -> str:
        return in_words(" ".join(timetables.cron_fields(crontab)))


admin.site.register([IntervalSchedule, ClockedSchedule, SolarSchedule], ScheduleAdmin)
