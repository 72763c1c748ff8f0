"""django-celery-beat's pages in the product's words and looks, with writes through services; superusers only."""

from itertools import islice
from typing import Any, ClassVar

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from core import clock
from core.admin import NOTHING, Button, Panel, ServiceModelAdmin, actor_of, label, moment_text
from workflows import timetables
from workflows.admin.schedule_forms import CrontabForm, IntervalForm, MomentForm, ScheduleForm, schedule_of
from workflows.choices import WorkflowStatus
from workflows.models import ScheduleSlot, WorkflowSchedule
from workflows.schedule import in_words
from workflows.services import schedules as services
from workflows.services import slots

NEXT_SLOTS = 50
PAST_SLOTS = 100
SLOTS_AT_ONCE = 5
MOST_USERS = 100
OUTCOME_LOOKS = {"ran": "completed", "missed": "failed", "skipped": "skipped", "queued": "waiting"}

for model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(model)

# Titles and messages take their words from the library's models; `original_attrs`, which migrations read, stay.
apps.get_app_config("django_celery_beat").verbose_name = "Scheduling"
PeriodicTask._meta.verbose_name, PeriodicTask._meta.verbose_name_plural = "schedule", "schedules"
PeriodicTask.__str__ = lambda task: task.name


class BeatAdmin(ServiceModelAdmin):
    """What the pages of all schedule tables share. They belong to no owner: superusers only."""

    user_lookup = ""
    deletion_note = "Schedules that use it are deleted with it."

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser) and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_view_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser) and super().has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser) and super().has_delete_permission(request, obj)

    def may_press(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser) and super().may_press(request)

    def create_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        return services.save_schedule(instance, actor=actor_of(request))

    def update_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        return services.save_schedule(instance, actor=actor_of(request))

    def delete_object(self, request: HttpRequest, instance: Any) -> None:
        services.delete_schedule(instance, actor=actor_of(request))


def of_present_workflows(tasks: QuerySet[Any]) -> QuerySet[Any]:
    """Leave out the tasks of deleted workflows: like these they stay for the record, and nobody sees them."""
    return tasks.exclude(workflow_schedule__workflow__status=WorkflowStatus.DELETED)


def _next(request: HttpRequest, task: PeriodicTask) -> dict[str, Any]:
    """Return the coming slots of a task that starts a workflow, or why there are none."""
    schedule = schedule_of(task)
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
    schedule = schedule_of(task)
    if schedule is None:
        return {}
    rows = list(ScheduleSlot.objects.filter(schedule=schedule).order_by("-slot_at")[: PAST_SLOTS + 1])
    shown = [
        {"row": row, "at": moment_text(row.slot_at), "outcome": label(OUTCOME_LOOKS[row.outcome], row.outcome)}
        for row in rows[:PAST_SLOTS]
    ]
    return {
        "schedule": schedule,
        "first": shown[:SLOTS_AT_ONCE],
        "further": shown[SLOTS_AT_ONCE:],
        "is_cut": len(rows) > PAST_SLOTS,
    }


NAMES = ("name", "workflow", "enabled", "description")
TIMES = (("cron", "zone"), ("interval", "clocked"), "start_time", "expires", "one_off")
INPUT = {"fields": ("input_data", ("missed_policy", "missed_window_seconds"), "overlap_policy")}
OF_WORKFLOW: list[Any] = [(None, {"fields": NAMES}), ("When", {"fields": TIMES}), ("Workflow", INPUT)]
TASK = {"fields": ("regtask", "task", ("args", "kwargs"))}
SENDING = {
    "fields": (("expire_seconds", "priority"), "queue", ("exchange", "routing_key"), "headers"),
    "classes": ("collapse",),
}


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BeatAdmin):
    list_display = ("name", "enabled", "workflow", "schedule", "zone", "next_slot", "last_run")
    list_filter = ("enabled", "one_off")
    list_select_related = ("interval", "crontab", "solar", "clocked", "workflow_schedule__workflow")
    text_search_fields = ("name", "task", "workflow_schedule__workflow__name")
    form = ScheduleForm
    change_form_template = "admin/workflows/schedule/change_form.html"
    actions = ("enable_tasks", "disable_tasks")
    deletion_note = "It does not run again, and the record of its past slots is lost. This cannot be undone."
    panels = (
        Panel("admin/workflows/schedule/next.html", _next),
        Panel("admin/workflows/schedule/ledger.html", _ledger),
    )
    buttons = (Button("run", "Run now", icon="play_arrow", variant="primary"),)

    class Media:
        css: ClassVar[dict[str, Any]] = {"all": ["workflows/schedules.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return of_present_workflows(super().get_queryset(request))

    def for_detail(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.select_related(*self.list_select_related)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change, **kwargs)
        return type(made.__name__, (made,), {"viewer": request.user})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what the schedule of a workflow needs, or a Celery task; a new one may become either."""
        if obj is None:
            closed = {} if request.method == "POST" else {"classes": ("collapse",)}
            task = {"fields": ("solar", *TASK["fields"])} | closed
            return [*OF_WORKFLOW, ("Celery task", task), ("How the task is sent", SENDING)]
        if schedule_of(obj):
            return OF_WORKFLOW
        names = tuple(name for name in NAMES if name != "workflow")
        return [
            (None, {"fields": names}),
            ("When", {"fields": (*TIMES, "solar")}),
            ("Celery task", TASK),
            ("How the task is sent", SENDING),
        ]

    def create_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        return self.update_object(request, instance, form)

    def update_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        cron = form.timing()
        if cron is None:
            instance.crontab = None
        return services.save_schedule(
            instance,
            actor=actor_of(request),
            workflow=form.cleaned_data.get("workflow"),
            policy=form.policy(),
            cron=cron,
        )

    def shown_buttons(self, request: HttpRequest, instance: Any) -> list[Button]:
        schedule = schedule_of(instance)
        return list(self.buttons) if schedule and schedule.workflow.is_executable else []

    def press_run(self, request: HttpRequest, task: Any) -> HttpResponse | None:
        schedule = schedule_of(task)
        if schedule is None:
            self.message_user(request, "This schedule starts no workflow.", messages.ERROR)
            return None
        started = slots.run_now(schedule)
        self.message_user(request, f"Execution {started.execution_id} has started.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:workflows_execution_change", args=(started.execution_id,)))

    @display(description="Workflow", ordering="workflow_schedule__workflow__name")
    def workflow(self, task: Any) -> str:
        schedule = schedule_of(task)
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
        schedule = schedule_of(task)
        return moment_text(schedule.next_slot_at) if schedule else NOTHING

    @display(description="Last run (UTC)", ordering="last_run_at")
    def last_run(self, task: Any) -> str:
        return moment_text(task.last_run_at) if task.last_run_at else "never"

    @admin.action(description="Enable selected schedules", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._set_enabled(request, queryset, enabled=True)

    @admin.action(description="Disable selected schedules", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._set_enabled(request, queryset, enabled=False)

    def _set_enabled(self, request: HttpRequest, queryset: QuerySet[Any], *, enabled: bool) -> None:
        changed = services.set_tasks_enabled(queryset, enabled=enabled, actor=actor_of(request))
        word = "Enabled" if enabled else "Disabled"
        self.message_user(request, f"{word} {changed} of {len(queryset)} schedules.", messages.SUCCESS)


def _users(request: HttpRequest, row: Any) -> dict[str, Any]:
    """Return the first schedules that go by a shared row, by name, and whether there are more."""
    found = of_present_workflows(row.periodictask_set.only("name", "enabled")).order_by("name", "pk")
    users = list(found[: MOST_USERS + 1])
    return {"users": users[:MOST_USERS], "is_cut": len(users) > MOST_USERS}


class ScheduleAdmin(BeatAdmin):
    # No inline: its form would carry two fields for each of a thousand schedules, more than a request may have.
    panels = (Panel("admin/workflows/schedule/users.html", _users),)

    def note(self, request: HttpRequest, instance: Any) -> str:
        return "It is shared: a change is a change of every schedule that uses it."


@admin.register(CrontabSchedule)
class CrontabScheduleAdmin(ScheduleAdmin):
    list_display = ("__str__", "in_words", "timezone")
    form = CrontabForm

    @display(description="In words")
    def in_words(self, crontab: Any) -> str:
        return in_words(" ".join(timetables.cron_fields(crontab)))


@admin.register(IntervalSchedule)
class IntervalScheduleAdmin(ScheduleAdmin):
    form = IntervalForm


@admin.register(ClockedSchedule)
class ClockedScheduleAdmin(ScheduleAdmin):
    form = MomentForm


admin.site.register(SolarSchedule, ScheduleAdmin)
