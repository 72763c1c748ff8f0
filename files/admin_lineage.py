"""The admin's panel of a file's lineage: what it was made from and by, and what was made from it."""

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from core.admin import NOTHING, label, size_text
from files.choices import FileStatus
from files.models import File

MOST_OUTPUTS = 100


def lineage(request: HttpRequest, file: File) -> dict[str, Any]:
    """Return {facts, outputs, more}; the panel shows nothing where a file has no relations."""
    fields = ("pk", "original_filename", "made_by_action", "made_by_execution_id", "file_size", "status")
    found = list(File.objects.filter(source_file=file.pk).order_by("pk").only(*fields)[: MOST_OUTPUTS + 1])
    return {
        "facts": _origin(file) if file.source_file_id or file.made_by_action else [],
        "outputs": [_output(output) for output in found[:MOST_OUTPUTS]],
        "most": MOST_OUTPUTS if len(found) > MOST_OUTPUTS else None,
    }


def _origin(file: File) -> list[tuple[str, Any]]:
    return [
        ("Made from", _file_link(file.source_file) if file.source_file else "a file that is no longer there"),
        ("Made by", file.made_by_action or NOTHING),
        ("In execution", _execution_link(file.made_by_execution_id)),
        ("At step", file.made_by_step or NOTHING),
        ("Workflow version", file.made_by_version_id or NOTHING),
    ]


def _output(output: File) -> dict[str, Any]:
    return {
        "link": _file_link(output),
        "action": output.made_by_action,
        "execution": _execution_link(output.made_by_execution_id),
        "size": size_text(output.file_size),
        "status": label(output.status),
    }


def _file_link(file: File) -> str:
    note = " (deleted)" if file.status == FileStatus.DELETED else ""
    address = reverse("admin:files_file_change", args=(file.pk,))
    return format_html('<a class="link" href="{}">{} (#{})</a>{}', address, file.original_filename, file.pk, note)


def _execution_link(execution_id: int | None) -> str:
    if execution_id is None:
        return NOTHING
    try:
        # By name: this app knows nothing of workflows, and runs without their pages.
        address = reverse("admin:workflows_execution_change", args=(execution_id,))
    except NoReverseMatch:
        return str(execution_id)
    return format_html('<a class="link" href="{}">{}</a>', address, execution_id)
