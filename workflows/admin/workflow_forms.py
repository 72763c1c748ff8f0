"""Forms of workflows: what an author edits, the input of a run, and the definition's editor."""

import json
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from core.admin import JsonTextField, ServiceForm, json_text
from core.errors import DomainError, InvalidInput
from workflows import services
from workflows.admin.places import lines_of
from workflows.admin.step_reference import step_reference
from workflows.choices import ConcurrencyPolicy, TriggerType
from workflows.engine.definition import CLEARED_BY_ZERO
from workflows.models import Workflow

RETENTION = ("retention_days", "retention_failed_days", "retention_count")
EXAMPLE = {"steps": [{"name": "greet", "type": "log", "config": {"message": "Hello {{trigger.name}}"}}]}


class DefinitionWidget(UnfoldAdminTextareaWidget):  # type: ignore[misc]
    """A text area that a script turns into an editor with problems at their lines, beside the step types."""

    template_name = "admin/workflows/widgets/definition.html"

    class Media:
        css: ClassVar[dict[str, Any]] = {"all": ["workflows/workflows.css"]}
        js: ClassVar[list[Any]] = [forms.Script("workflows/definition_editor.js", defer=True)]

    def __init__(self) -> None:
        # The class is the one of the product's other JSON fields.
        super().__init__({"rows": 24, "class": "json-editor", "spellcheck": "false", "autocomplete": "off"})

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        more = {"check_url": reverse("admin:workflows_workflow_check"), "step_types": step_reference()}
        found: dict[str, Any] = super().get_context(name, value, attrs)
        return found | more


class WorkflowForm(ServiceForm):
    """What an author edits. The service reads, validates and versions it like a request to the API."""

    workflow_config = JsonTextField(
        label="Definition",
        widget=DefinitionWidget(),
        help_text='JSON: {"steps": [{"name", "type", "config"}, …], "variables": {…}}',
    )
    problem_fields: ClassVar[dict[str, str]] = {
        "steps": "workflow_config",
        "variables": "workflow_config",
        "": "workflow_config",
    }

    concurrency_policy = forms.ChoiceField(
        label="A start beyond the limit",
        choices=ConcurrencyPolicy.choices,
        initial=ConcurrencyPolicy.QUEUE,
        required=False,
        widget=UnfoldAdminSelectWidget,
    )

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
            "concurrency_limit",
            "concurrency_key",
            "concurrency_policy",
            *RETENTION,
        )
        widgets: ClassVar[dict[str, Any]] = {"description": UnfoldAdminTextareaWidget({"rows": 3})}
        labels: ClassVar[dict[str, str]] = {
            "trigger_on_file_upload": "Start for uploaded files",
            "trigger_file_extensions": "Only for these extensions",
            "is_scheduled": "Start on a schedule",
            "cron_schedule": "Cron schedule",
            "concurrency_limit": "At most so many at a time",
            "concurrency_key": "Counted for each",
            "retention_days": "Keep ended ones (days)",
            "retention_failed_days": "Keep failed ones (days)",
            "retention_count": "Keep at most (ended ones)",
        }
        help_texts: ClassVar[dict[str, str]] = {
            "trigger_file_extensions": "Separated by commas, e.g. pdf,csv; empty means all.",
            "cron_schedule": "Five fields, in UTC: minute, hour, day, month, weekday.",
            "concurrency_limit": "Empty: no limit.",
            "concurrency_key": "An expression such as {{trigger.customer}}: each value has a limit of its own.",
            **dict.fromkeys(RETENTION, "Empty: as the product is set."),
        }

    def get_initial_for_field(self, field: forms.Field, field_name: str) -> Any:
        """Show the definition of an older version where the page was asked for it; saved, it is a change."""
        if field_name == "workflow_config" and (shown := getattr(self.instance, "shown_config", None)) is not None:
            return shown
        return super().get_initial_for_field(field, field_name)

    def body(self) -> dict[str, Any]:
        """Return the request body: what was given for a new workflow, what was changed for an old one."""
        # The empty choice of a policy leaves the one there is.
        left = {"owner"} | ({"concurrency_policy"} if not self.cleaned_data.get("concurrency_policy") else set())
        names = [name for name in self.changed_data if name not in left]
        return {name: self._given(name) for name in names}

    def _given(self, name: str) -> Any:
        value = self.cleaned_data[name]
        if value is None:
            return 0 if name in CLEARED_BY_ZERO else ""
        return value

    def draft_body(self) -> dict[str, Any]:
        """Return what a draft keeps of the form: the definition, and limits that were changed."""
        kept = {name: value for name, value in self.body().items() if name in ("max_retries", "timeout_seconds")}
        return kept | {"workflow_config": self.cleaned_data["workflow_config"]}


class NewWorkflowForm(WorkflowForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("workflow_config", EXAMPLE)

    def body(self) -> dict[str, Any]:
        required = {name: self.cleaned_data[name] for name in ("name", "workflow_config")}
        return super().body() | required


class FileChoiceWidget(UnfoldAdminTextInputWidget):  # type: ignore[misc]
    """A box for a file's id that offers the latest files by name."""

    template_name = "admin/workflows/widgets/file_choice.html"

    def __init__(self, choices: list[tuple[int, str]]) -> None:
        super().__init__({"inputmode": "numeric", "autocomplete": "off"})
        self.choices = choices

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_context(name, value, attrs)
        return found | {"choices": self.choices, "list_id": f"files_for_{name}"}


class FileForm(forms.Form):
    """Which past file to hold against a workflow."""

    file_id = forms.IntegerField(label="File", min_value=1, max_value=2**63 - 1)

    def __init__(self, *args: Any, files: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file_id"].widget = FileChoiceWidget(files)


class RunForm(FileForm):
    """The input of a run: what `{{trigger.…}}` and `{{input.…}}` see."""

    trigger_data = JsonTextField(
        label="Input",
        rows=12,
        required=False,
        initial="{}",
        help_text="A JSON object; steps read it as {{trigger.name}}.",
    )
    file_id = forms.IntegerField(
        label="Past file as input",
        required=False,
        min_value=1,
        max_value=2**63 - 1,
        help_text="The id of a file, or empty. What a file trigger tells of it (file_id, filename, …) is added to the "
        "input; a key that stands in both is refused.",
    )
    field_order = ("trigger_data", "file_id")

    def asked_of(self, workflow: Workflow) -> services.Start:
        """Return the start that was asked for, a file's facts beside what was typed.

        Raises FileNotFound; InvalidInput if a key was typed that the file gives another value.
        """
        data, file_id = self.cleaned_data["trigger_data"] or {}, self.cleaned_data["file_id"]
        if file_id is None:
            return services.Start(trigger_type=TriggerType.MANUAL, trigger_data=data)
        facts = services.facts_of_file(workflow, file_id)
        if both := [key for key in data if key in facts and data[key] != facts[key]]:
            said = ", ".join(f"{key} ({json.dumps(facts[key], ensure_ascii=False)})" for key in both)
            raise InvalidInput(f"The file gives {said} too: take it out of the input, or leave the file empty.")
        return services.Start(trigger_type=TriggerType.MANUAL, trigger_data=data | facts, input_file_ids=[file_id])


def problems_in(text: str) -> list[dict[str, Any]]:
    """Return the problems of a definition being typed: [{line, column, pointer, message, code, severity}].

    Line and column count from 1; the order is the text's. Nothing is saved.
    """
    try:
        typed = json_text.read(text)
    except json.JSONDecodeError as error:
        return [_problem(error.lineno, error.msg, code="json_syntax", column=error.colno)]
    except (RecursionError, ValueError) as error:
        return [_problem(1, f"This cannot be stored: {error}", code="not_json")]
    if typed.losses:
        return _at_lines(text, [(loss, "cannot_be_kept", "error") for loss in typed.losses])
    doubled = _at_lines(text, [(key, "doubled_key", "warning") for key in typed.doubled])
    return sorted([*_definition_problems(text), *doubled], key=lambda problem: problem["line"])


def _definition_problems(text: str) -> list[dict[str, Any]]:
    try:
        config = JsonTextField().clean(text)
        found = services.check_definition(config)
    except ValidationError as error:
        return [_problem(1, message, code="not_an_object") for message in error.messages]
    except DomainError as refusal:
        return [_problem(1, problem.msg, code=problem.type) for problem in refusal.problems]
    return _at_lines(text, [(item, item.code, item.severity) for item in found])


def _at_lines(text: str, found: list[tuple[Any, str, str]]) -> list[dict[str, Any]]:
    """Return the problems of (pointer and message, code, severity) with the lines of their places."""
    lines = lines_of(text, [item.pointer for item, _, _ in found])
    return [
        _problem(line, item.message, code=code, pointer=item.pointer, severity=severity)
        for line, (item, code, severity) in zip(lines, found, strict=True)
    ]


def _problem(
    line: int, message: str, *, code: str, column: int = 1, pointer: str = "", severity: str = "error"
) -> dict[str, Any]:
    return {
        "line": line,
        "column": column,
        "pointer": pointer,
        "message": message,
        "code": code,
        "severity": severity,
    }
