"""Forms of workflows: what an author edits, the input of a run, and the definition's editor."""

import json
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from core.admin import JsonTextField, ServiceForm
from core.errors import DomainError
from workflows import services
from workflows.admin.places import lines_of
from workflows.admin.step_reference import step_reference
from workflows.choices import TriggerType
from workflows.models import Workflow

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
        help_text="The id of a file; what a file trigger tells (file_id, filename, …) is then put into the input.",
    )
    field_order = ("trigger_data", "file_id")

    def asked_of(self, workflow: Workflow) -> services.Start:
        """Return the start that was asked for. A file's facts win over typed ones. Raises FileNotFound."""
        data, file_id = self.cleaned_data["trigger_data"] or {}, self.cleaned_data["file_id"]
        if file_id is None:
            return services.Start(trigger_type=TriggerType.MANUAL, trigger_data=data)
        facts = services.facts_of_file(workflow, file_id)
        return services.Start(trigger_type=TriggerType.MANUAL, trigger_data=data | facts, input_file_ids=[file_id])


def problems_in(text: str) -> list[dict[str, Any]]:
    """Return the problems of a definition being typed: [{line, column, pointer, message, code, severity}].

    Line and column count from 1; the order is the text's. Nothing is saved.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return [_problem(error.lineno, error.msg, code="json_syntax", column=error.colno)]
    except (RecursionError, ValueError) as error:
        return [_problem(1, f"This cannot be stored: {error}", code="not_json")]
    try:
        config = JsonTextField().clean(text)
        found = services.check_definition(config)
    except ValidationError as error:
        return [_problem(1, message, code="not_an_object") for message in error.messages]
    except DomainError as refusal:
        return [_problem(1, problem.msg, code=problem.type) for problem in refusal.problems]
    lines = lines_of(text, [problem.pointer for problem in found])
    shown = [
        _problem(line, item.message, code=item.code, pointer=item.pointer, severity=item.severity)
        for line, item in zip(lines, found, strict=True)
    ]
    return sorted(shown, key=lambda problem: problem["line"])


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
