"""Admin pages of files: what came in, what was read from it, and why not."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from core.admin import NOTHING, Button, Panel, ServiceModelAdmin, label, moment_text, pretty_json, size_text
from core.admin.display import cut_text
from files import services
from files.choices import FileStatus
from files.models import File, FileContent

MOST_TABLES = 20
MOST_ROWS = 100


def _error(request: HttpRequest, file: File) -> dict[str, Any]:
    return {"status": label(file.status)}


def _facts(request: HttpRequest, file: File) -> dict[str, Any]:
    facts = [
        ("Name", file.original_filename),
        ("Status", label(file.status)),
        ("Type", file.mime_type),
        ("Size", size_text(file.file_size)),
        ("Owner", file.owner),
        ("Uploaded by", file.uploaded_by or NOTHING),
        ("Uploaded (UTC)", moment_text(file.created_at)),
        ("Processed (UTC)", moment_text(file.processed_at)),
        ("Extractions begun", file.processing_number),
        ("SHA-256", file.file_hash),
        ("UUID", file.uuid),
        ("Correlation id", file.correlation_id or NOTHING),
    ]
    return {"facts": facts}


def _content(request: HttpRequest, file: File) -> dict[str, Any]:
    content = FileContent.objects.filter(file=file).defer("search").first()
    tables = content.tables if content else []
    return {
        "has_content": content is not None,
        "text": cut_text(content.text) if content else "",
        "characters": len(content.text) if content else 0,
        "tables": [
            {
                "name": table.get("name") or f"Table {index}",
                "rows": table["rows"][:MOST_ROWS],
                "count": len(table["rows"]),
            }
            for index, table in enumerate(tables[:MOST_TABLES], 1)
        ],
        "table_count": len(tables),
        "metadata": pretty_json(file.extraction_metadata) if file.extraction_metadata else "",
    }


@admin.register(File)
class FileAdmin(ServiceModelAdmin):
    list_display = ("id", "original_filename", "state", "error_code", "mime_type", "size", "owner", "uploaded")
    list_display_links = ("id", "original_filename")
    list_filter = ("status",)
    list_select_related = ("owner",)
    text_search_fields = ("original_filename",)
    search_help_text = "Id, UUID or a part of the name"
    shows_only_panels = True
    deletion_note = "The file's bytes and text are gone for good; executions that used it keep their results."
    panels = (
        Panel("admin/files/file/error.html", _error),
        Panel("admin/core/facts.html", _facts),
        Panel("admin/files/file/content.html", _content),
    )
    buttons = (
        Button(
            "extract_again",
            "Extract again",
            icon="refresh",
            confirm="Read the file again? Its present text is replaced. Workflows are not started again.",
        ),
    )

    def for_list(self, queryset: QuerySet[File]) -> QuerySet[File]:
        return queryset.exclude(status=FileStatus.DELETED).defer("extraction_metadata", "triggered_workflows")

    def for_detail(self, queryset: QuerySet[File]) -> QuerySet[File]:
        return queryset.select_related("owner")

    @display(description="Status", ordering="status")
    def state(self, file: File) -> str:
        return label(file.status)

    @display(description="Size", ordering="file_size")
    def size(self, file: File) -> str:
        return size_text(file.file_size)

    @display(description="Uploaded (UTC)", ordering="id")
    def uploaded(self, file: File) -> str:
        return moment_text(file.created_at)

    def delete_object(self, request: HttpRequest, instance: File) -> None:
        services.delete_file(instance)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.status != FileStatus.DELETED) and super().has_delete_permission(request, obj)

    def shown_buttons(self, request: HttpRequest, instance: File) -> list[Button]:
        ended = instance.status in {FileStatus.PROCESSED, FileStatus.FAILED}
        return list(self.buttons) if ended else []

    def press_extract_again(self, request: HttpRequest, file: File) -> HttpResponse:
        services.process_file(file, force=True)
        self.message_user(request, "The file is read again; reload to see the result.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:files_file_change", args=(file.pk,)))
