"""Why did it (not) fire? The verdicts on processed files, also shown on the files' own pages."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest

from core.admin import Panel, ServiceModelAdmin, add_panel, duration_text, label, moment_text, pretty_json
from files.models import File
from workflows import statistics
from workflows.models import Evaluation

MOST_SHOWN = 20


def verdicts_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the stored verdicts, without what is none: one damaged row must not cost the page of all."""
    stored = evaluation.verdicts if isinstance(evaluation.verdicts, list) else []
    return [verdict for verdict in stored if isinstance(verdict, dict) and verdict.get("workflow_id")]


def _shown(evaluation: Evaluation) -> dict[str, Any]:
    return {"row": evaluation, "verdicts": verdicts_of(evaluation)}


def _of_file(request: HttpRequest, file: File) -> dict[str, Any]:
    found = Evaluation.objects.filter(file_id=file.pk).order_by("-id")[:MOST_SHOWN]
    return {"evaluations": [_shown(evaluation) for evaluation in found]}


def _lineage(request: HttpRequest, file: File) -> dict[str, Any]:
    """Return the latest executions that were given the file."""
    found = list(statistics.list_executions_of_file(file.pk, owner_id=file.owner_id)[: MOST_SHOWN + 1])
    return {
        "executions": [
            {
                "row": execution,
                "status": label(execution.status),
                "created": moment_text(execution.created_at),
                "duration": duration_text(execution.execution_time_ms),
            }
            for execution in found[:MOST_SHOWN]
        ],
        "most": MOST_SHOWN if len(found) > MOST_SHOWN else 0,
        "may_view": request.user.has_perm("workflows.view_execution"),
    }


def _verdicts(request: HttpRequest, evaluation: Evaluation) -> dict[str, Any]:
    return {"evaluations": [_shown(evaluation)], "request_json": pretty_json(evaluation.request)}


add_panel("files.File", Panel("admin/workflows/evaluation/verdicts.html", _of_file))
add_panel("files.File", Panel("admin/workflows/evaluation/lineage.html", _lineage))


@admin.register(Evaluation)
class EvaluationAdmin(ServiceModelAdmin):
    list_display = ("id", "document", "file_id", "processing_number", "fired", "made", "evaluated")
    # Any other order would sort the whole table.
    sortable_by = ("id", "file_id", "made")
    nothing_yet = "Upload a file: after its extraction, the verdict of each workflow stands here."
    search_help_text = "Id of the evaluation or of the file"
    fields = ("file_id", "processing_number", "owner", "correlation_id", "made", "evaluated")
    readonly_fields = fields
    panels = (Panel("admin/workflows/evaluation/verdicts.html", _verdicts),)

    def for_detail(self, queryset: QuerySet[Evaluation]) -> QuerySet[Evaluation]:
        return queryset.select_related("owner")

    @display(description="Document")
    def document(self, evaluation: Evaluation) -> str:
        facts = evaluation.request if isinstance(evaluation.request, dict) else {}
        return str(facts.get("original_filename", ""))

    @display(description="Fired")
    def fired(self, evaluation: Evaluation) -> str:
        if evaluation.evaluated_at is None:
            return "not evaluated yet"
        verdicts = verdicts_of(evaluation)
        return f"{sum(bool(verdict.get('fired')) for verdict in verdicts)} of {len(verdicts)}"

    @display(description="Asked (UTC)", ordering="id")
    def made(self, evaluation: Evaluation) -> str:
        return moment_text(evaluation.created_at)

    @display(description="Evaluated (UTC)")
    def evaluated(self, evaluation: Evaluation) -> str:
        return moment_text(evaluation.evaluated_at)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Evaluation], search_term: str
    ) -> tuple[QuerySet[Evaluation], bool]:
        found, distinct = super().get_search_results(request, queryset, search_term)
        ids = [key["pk"] for key in self._keys(search_term.strip()) if "pk" in key]
        return (found | queryset.filter(file_id__in=ids) if ids else found), distinct
