"""django-celery-beat's pages in the product's theme, with writes through services."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from core.admin import NOTHING, ServiceForm, ServiceModelAdmin, actor_of, moment_text
from workflows.services import schedules as services

if TYPE_CHECKING:
    from django.contrib.admin import TabularInline
else:
    from unfold.admin import TabularInline

for model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(model)


class TaskSelectWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):  # type: ignore[misc]
    """The registered tasks, in the theme's looks."""


class PeriodicTaskForm(beat.PeriodicTaskForm, ServiceForm):  # type: ignore[misc]
    """The library's form (it checks the JSON and the task's name) in the theme's looks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "regtask" in self.fields:
            self.fields["regtask"].widget = TaskSelectWidget()
            self.fields["task"].widget = UnfoldAdminTextInputWidget()


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


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BeatAdmin):
    list_display = ("name", "enabled", "slots", "task", "last_run", "one_off")
    list_filter = ("enabled", "one_off")
    list_select_related = ("interval", "crontab", "solar", "clocked")
    text_search_fields = ("name", "task")
    form = PeriodicTaskForm
    fieldsets = beat.PeriodicTaskAdmin.fieldsets
    readonly_fields = ("last_run_at", "crontab_translation")
    actions = ("enable_tasks", "disable_tasks")
    deletion_note = "It does not run again. This cannot be undone."

    @display(description="Schedule")
    def slots(self, task: Any) -> str:
        return str(task.scheduler)

    @display(description="Last run (UTC)", ordering="last_run_at")
    def last_run(self, task: Any) -> str:
        return moment_text(task.last_run_at) if task.last_run_at else "never"

    @display(description="In words")
    def crontab_translation(self, task: Any) -> str:
        return str(task.crontab.human_readable) if task.crontab else NOTHING

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
    list_display = ("__str__", "human_readable")
    fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")


admin.site.register([IntervalSchedule, ClockedSchedule, SolarSchedule], ScheduleAdmin)
