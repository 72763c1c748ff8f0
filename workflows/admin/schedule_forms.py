"""The form of a schedule: when, which workflow with which input, or else a Celery task."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db.models import Model
from django_celery_beat import admin as beat
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.models import User
from accounts.selectors import principal_of_user
from core.admin import JsonTextField, ServiceForm, read_id
from workflows import timetables
from workflows.choices import MissedPolicy, OverlapPolicy, WorkflowStatus
from workflows.models import Workflow, WorkflowSchedule
from workflows.schedule import LONGEST_CRON, Cron
from workflows.selectors import visible_to
from workflows.services import schedules as services

ZONES = [str(zone) for zone, _ in CrontabSchedule._meta.get_field("timezone").choices]
NO_WORKFLOWS = Workflow.objects.none()


class TaskSelectWidget(UnfoldAdminSelectWidget, beat.TaskSelectWidget):  # type: ignore[misc]
    """The registered tasks, in the theme's looks."""


class WorkflowSelect(AutocompleteSelect):
    """Completes the name of a workflow; a key that no row can have is not shown again."""

    def optgroups(self, name: str, value: Sequence[str], attr: dict[str, Any] | None = None) -> Any:
        return super().optgroups(name, [key for key in value if read_id(str(key)) is not None], attr)


class WorkflowField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A workflow of those that the viewer may see."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value and read_id(value) is None:
            raise ValidationError(self.error_messages["invalid_choice"], code="invalid_choice")
        return super().to_python(value)


class ScheduleForm(ServiceForm):
    """A periodic task in the product's words: a typed cron expression, and a workflow to start."""

    # Whose workflows are offered; the admin's page sets it.
    viewer: ClassVar[User | None] = None
    problem_fields: ClassVar[dict[str, str]] = {"crontab": "cron", "cron_schedule": "cron"}

    workflow = WorkflowField(
        NO_WORKFLOWS,
        required=False,
        help_text="What the schedule starts. It cannot be changed later.",
        widget=WorkflowSelect(WorkflowSchedule._meta.get_field("workflow"), admin.site),
    )
    cron = forms.CharField(
        required=False,
        max_length=LONGEST_CRON,
        help_text="Minute, hour, day, month, weekday: 30 9 * * MON-FRI.",
        widget=UnfoldAdminTextInputWidget({"spellcheck": "false", "autocomplete": "off"}),
    )
    zone = forms.ChoiceField(
        label="Time zone",
        required=False,
        initial="UTC",
        help_text="On whose clocks cron is read.",
        widget=UnfoldAdminSelect2Widget(),
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
        help_text="How far back “all” reaches; a day has 86,400 seconds.",
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
    regtask = beat.TaskChoiceField(label="Task", required=False, help_text="A Celery task of this server.")
    task = forms.CharField(
        label="Task by name",
        required=False,
        max_length=200,
        help_text="Where the list does not hold it.",
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = PeriodicTask
        exclude = ("crontab",)
        widgets: ClassVar[dict[str, Any]] = {
            name: UnfoldAdminTextareaWidget({"rows": 2}) for name in ("description", "args", "kwargs", "headers")
        }
        labels: ClassVar[dict[str, str]] = {
            "interval": "Interval",
            "clocked": "Single moment",
            "solar": "Sun",
            "start_time": "Not before",
            "expires": "Ends at",
            "one_off": "Once only",
            "last_run_at": "Last run",
            "args": "Positional arguments",
            "kwargs": "Keyword arguments",
            "queue": "Queue",
            "exchange": "Exchange",
            "routing_key": "Routing key",
            "headers": "Message headers",
            "priority": "Priority",
            "expire_seconds": "Expires after seconds",
        }
        help_texts: ClassVar[dict[str, str]] = {
            "name": "How lists and the first page call this schedule.",
            "enabled": "No slot comes while it is switched off.",
            "description": "",
            "interval": "Instead of a cron expression: every so often.",
            "clocked": "Instead of a cron expression: once, at this moment.",
            "solar": "Instead of a cron expression: by the sun. For Celery tasks only.",
            "start_time": "UTC. No slot comes before it, and an interval counts from it.",
            "expires": "UTC. No slot comes from this moment on.",
            "one_off": "Switches itself off after its first run.",
            "last_run_at": "",
            "args": 'A JSON list, e.g. ["first", 2].',
            "kwargs": 'A JSON object, e.g. {"name": "value"}.',
            "queue": "Empty: where the task belongs.",
            "exchange": "Empty unless the broker is AMQP.",
            "routing_key": "Empty unless the broker is AMQP.",
            "headers": "A JSON object.",
            "priority": "0 to 255; on Redis and Valkey 0 is the highest.",
            "expire_seconds": "A message that waited longer is thrown away.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["regtask"].widget = TaskSelectWidget()
        self._offer_workflows()
        task: PeriodicTask = self.instance
        schedule = schedule_of(task)
        zone = timetables.zone_of(task)
        self.fields["zone"].choices = [(name, name) for name in dict.fromkeys(["UTC", zone, *ZONES])]  # type: ignore[attr-defined]
        self.initial["zone"] = zone
        if task.crontab:
            typed = timetables.cron_of(schedule) if schedule else None
            self.initial["cron"] = typed or " ".join(timetables.cron_fields(task.crontab))
        if schedule is not None:
            self.fields["workflow"].disabled = True
            self.initial["workflow"] = schedule.workflow_id
            self.initial.update({name: getattr(schedule, name) for name in services.Policy.__dataclass_fields__})

    def _offer_workflows(self) -> None:
        if self.viewer is not None:
            present = Workflow.objects.exclude(status=WorkflowStatus.DELETED)
            offered = visible_to(principal_of_user(self.viewer), present)
            self.fields["workflow"].queryset = offered  # type: ignore[attr-defined]

    def clean_args(self) -> str:
        return self._json("args", list, "A JSON list is needed: [ … ]")

    def clean_kwargs(self) -> str:
        return self._json("kwargs", dict, "A JSON object is needed: { … }")

    def clean_headers(self) -> str:
        return self._json("headers", dict, "A JSON object is needed: { … }")

    def _json(self, name: str, kind: type, sentence: str) -> str:
        """Return JSON as it was typed: Celery's clock reads it again."""
        text: str = self.cleaned_data[name] or ""
        try:
            if text and not isinstance(json.loads(text), kind):
                raise ValidationError(sentence)
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"This is no JSON: {error}") from error
        return text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("workflow"):
            return cleaned | {"task": services.RUN_TASK, "regtask": ""}
        cleaned["task"] = cleaned.get("regtask") or cleaned.get("task") or ""
        if not cleaned["task"] and not {"workflow", "task"} & set(self.errors):
            self.add_error("workflow", "Choose the workflow to start; or, further down, a Celery task.")
        return cleaned

    def validate_unique(self) -> None:
        """Look at the name alone: whether the row says when is the service's question."""
        try:
            Model.validate_unique(self.instance, exclude=self._get_validation_exclusions())  # type: ignore[attr-defined]
        except ValidationError as error:
            self._update_errors(error)  # type: ignore[attr-defined]

    def policy(self) -> services.Policy | None:
        """Return what was chosen for the workflow; None for a task that starts none."""
        if not self.cleaned_data.get("workflow"):
            return None
        given = {name: self.cleaned_data.get(name) for name in services.Policy.__dataclass_fields__}
        return services.Policy(**{name: value for name, value in given.items() if value not in (None, "")})

    def timing(self) -> Cron | None:
        """Return the cron expression that was typed, with its zone; None if the schedule goes by something else."""
        text = self.cleaned_data["cron"]
        return Cron(text, self.cleaned_data["zone"] or "UTC") if text else None


class CrontabForm(ServiceForm):
    """A shared cron expression, field by field."""

    class Meta:
        model = CrontabSchedule
        fields = (*timetables.CRON_FIELDS, "timezone")
        labels: ClassVar[dict[str, str]] = {
            "minute": "Minute",
            "hour": "Hour",
            "day_of_month": "Day of month",
            "month_of_year": "Month",
            "day_of_week": "Day of week",
            "timezone": "Time zone",
        }
        help_texts: ClassVar[dict[str, str]] = {
            **dict.fromkeys(labels, ""),
            "minute": "* is every minute; 0,30 is the full and the half hour; */5 is every fifth minute.",
            "day_of_month": "If both days are given, either of them counts.",
            "day_of_week": "0 and 7 are Sunday; MON-FRI is Monday to Friday.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The copy of a default that Django hides beside a field is read without a check.
        self.fields["timezone"].show_hidden_initial = False


class IntervalForm(ServiceForm):
    """A shared interval."""

    class Meta:
        model = IntervalSchedule
        fields = ("every", "period")
        labels: ClassVar[dict[str, str]] = {"every": "Every", "period": "Unit"}
        help_texts: ClassVar[dict[str, str]] = {
            "every": "",
            "period": "A workflow can be started once a second at most.",
        }


class MomentForm(ServiceForm):
    """A shared single moment."""

    class Meta:
        model = ClockedSchedule
        fields = ("clocked_time",)
        labels: ClassVar[dict[str, str]] = {"clocked_time": "Moment"}
        help_texts: ClassVar[dict[str, str]] = {"clocked_time": "UTC."}


def schedule_of(task: PeriodicTask) -> WorkflowSchedule | None:
    """Return what a periodic task starts of ours, or None for a plain Celery task."""
    found: WorkflowSchedule | None = getattr(task, "workflow_schedule", None)
    return found
