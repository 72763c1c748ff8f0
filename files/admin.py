"""Admin pages of files: what came in, what was read from it, and why not."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from accounts import services as accounts
from accounts.admin import owners_for
from accounts.models import Owner
from core.admin import (
    NOTHING,
    Button,
    Panel,
    ServiceModelAdmin,
    actor_of,
    label,
    moment_text,
    pretty_json,
    read_id,
    size_text,
)
from core.admin.display import cut_text
from core.errors import DomainError
from files import services, text_search
from files.admin_lineage import lineage
from files.api import uploads
from files.api.downloads import file_response
from files.choices import FileStatus
from files.errors import FileNotFound, StorageUnavailable, UploadRefused
from files.models import File, FileContent
from files.reextraction_page import chosen_before, chosen_in, reextraction_page
from files.text_search import LONGEST_SEARCH

MOST_TABLES = 20
MOST_ROWS = 100
# Who has more owners to choose from uploads over the API, or signs in as the owner.
MOST_OWNERS = 200
CREATED = 201


def _error(request: HttpRequest, file: File) -> dict[str, Any]:
    return {"status": label(file.status)}


def _facts(request: HttpRequest, file: File) -> dict[str, Any]:
    facts = [
        ("Name", file.original_filename),
        ("Status", label(file.status)),
        ("Type", file.mime_type),
        ("Size", _size(file)),
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


def _size(file: File) -> str:
    if file.status == FileStatus.DELETED:
        return size_text(file.file_size)
    address = reverse("admin:files_file_download", args=(file.pk,))
    return format_html('{} · <a class="link" href="{}">Download</a>', size_text(file.file_size), address)


def _content(request: HttpRequest, file: File) -> dict[str, Any]:
    content = FileContent.objects.filter(file=file).defer("search").first()
    tables = _tables_of(content) if content else []
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


def _tables_of(content: FileContent) -> list[dict[str, Any]]:
    """Return the stored tables with their rows, without what is none: a damaged one must not cost the page."""
    stored = content.tables if isinstance(content.tables, list) else []
    found = [table for table in stored if isinstance(table, dict) and isinstance(table.get("rows"), list)]
    return [table | {"rows": [row for row in table["rows"] if isinstance(row, list)]} for table in found]


@admin.register(File)
class FileAdmin(ServiceModelAdmin):
    list_display = ("id", "name", "state", "problem", "kind", "size", "owner", "uploaded")
    list_display_links = ("id", "name")
    list_filter = ("status",)
    list_select_related = ("owner",)
    search_help_text = 'Id, UUID, parts of the name, or the text: words, "a phrase", -not, or'
    nothing_yet = "Drop files into the box above, or send them to /files/upload."
    shows_only_panels = True
    deletion_note = "The file's bytes and text are gone for good; executions that used it keep their results."
    panels = (
        Panel("admin/files/file/error.html", _error),
        Panel("admin/core/facts.html", _facts),
        Panel("admin/files/file/lineage.html", lineage),
        Panel("admin/files/file/content.html", _content),
    )
    list_before_template = "admin/files/file/upload.html"
    # Any other order would sort the whole table.
    sortable_by = ("id", "uploaded")
    actions = ("extract_many",)
    buttons = (
        Button("download", "Download", icon="download", is_link=True),
        Button(
            "extract_again",
            "Extract again",
            icon="refresh",
            confirm="Read the file again? Its present text is replaced. No workflow is started by it.",
        ),
        Button(
            "extract_and_run",
            "Extract again and run workflows",
            icon="play_arrow",
            confirm="Read the file again? Its present text is replaced, and every workflow that matches it runs again.",
        ),
    )

    def for_list(self, queryset: QuerySet[File]) -> QuerySet[File]:
        return queryset.exclude(status=FileStatus.DELETED).defer("extraction_metadata", "triggered_workflows")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[File], search_term: str
    ) -> tuple[QuerySet[File], bool]:
        """Find by id or UUID, by parts of the name, and by the words of the text."""
        term = search_term.strip()[:LONGEST_SEARCH]
        if not term:
            return queryset, False
        wanted = text_search.matches(term)
        for key in self._keys(term):
            wanted |= Q(**key)
        return queryset.filter(wanted), False

    def for_detail(self, queryset: QuerySet[File]) -> QuerySet[File]:
        return queryset.select_related("owner", "source_file")

    @display(description="Name")
    def name(self, file: File) -> str:
        return file.original_filename

    @display(description="Error")
    def problem(self, file: File) -> str:
        return file.error_code or NOTHING

    @display(description="Type")
    def kind(self, file: File) -> str:
        return file.mime_type

    @display(description="Status", ordering="status")
    def state(self, file: File) -> str:
        return label(file.status)

    @display(description="Size", ordering="file_size")
    def size(self, file: File) -> str:
        return size_text(file.file_size)

    @display(description="Uploaded (UTC)", ordering="id")
    def uploaded(self, file: File) -> str:
        return moment_text(file.created_at)

    # --- Writes: each one service call -----------------------------------------------------------
    def delete_object(self, request: HttpRequest, instance: File) -> None:
        services.delete_file(instance, actor=actor_of(request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.status != FileStatus.DELETED) and super().has_delete_permission(request, obj)

    def shown_buttons(self, request: HttpRequest, instance: File) -> list[Button]:
        download, *extract = self.buttons
        if instance.status == FileStatus.DELETED:
            return []
        ended = instance.status in {FileStatus.PROCESSED, FileStatus.FAILED}
        return [download, *extract] if ended else [download]

    def press_extract_again(self, request: HttpRequest, file: File) -> None:
        services.process_file(file, actor=actor_of(request), force=True, trigger_workflows=False)
        self.message_user(request, "The file is read again; reload to see the result.", messages.SUCCESS)

    def press_extract_and_run(self, request: HttpRequest, file: File) -> None:
        services.process_file(file, actor=actor_of(request), force=True, trigger_workflows=True)
        message = "The file is read again, then held against the workflows; reload to see the result."
        self.message_user(request, message, messages.SUCCESS)

    # --- Many at once ----------------------------------------------------------------------------
    @admin.action(description="Extract again…", permissions=["press"])
    def extract_many(self, request: HttpRequest, queryset: QuerySet[File]) -> HttpResponse:
        """Show what would be extracted again, chosen files or all that match; nothing is queued yet."""
        return reextraction_page(self, request, chosen_in(request, queryset))

    def has_press_permission(self, request: HttpRequest) -> bool:
        return self.may_press(request)

    @method_decorator(csrf_protect)
    def extract_many_page(self, request: HttpRequest) -> HttpResponse:
        """Show it again under another filter, or queue it once that is confirmed."""
        if not self.may_press(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return reextraction_page(self, request, chosen_before(request))

    # --- Download --------------------------------------------------------------------------------
    def own_pages(self) -> dict[str, Any]:
        return {"download": self.download_page}

    def download_page(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Give the bytes as an attachment under the original name; never shown inline by a browser."""
        file: File = self.row_for_view(request, object_id)
        if file.status == FileStatus.DELETED:
            raise Http404
        try:
            return file_response(request, file)
        except FileNotFound:
            self.message_user(request, "The stored bytes of this file are missing.", messages.ERROR)
        except StorageUnavailable as outage:
            self.message_user(request, f"{outage.detail}.", messages.ERROR)
        return HttpResponseRedirect(self.url_of("change", file))

    # --- Upload ----------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        upload = path("upload/", self._guarded(self.upload_view), name=self._url_name("upload"))
        many = path("extract-again/", self._guarded(self.extract_many_page), name=self._url_name("extract_many"))
        return [upload, many, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context = {"upload": self._upload_context(request)} if self._may_upload(request) else {}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # The middleware's check would read the whole body before the size limit stands in its way.
    @method_decorator(csrf_exempt)
    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """Take one file of a multipart form; answers `{id, name, url}`, or a refusal as `{code, detail}`."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may_upload(request):
            raise PermissionDenied
        uploads.limit_upload(request)
        try:
            return self._take(request)
        except DomainError as refusal:
            return JsonResponse({"code": refusal.code, "detail": refusal.detail}, status=refusal.status)
        finally:
            uploads.close_upload(request)

    @method_decorator(csrf_protect)
    def _take(self, request: HttpRequest) -> HttpResponse:
        given = request.FILES.get("file")
        if given is None:
            raise UploadRefused("No filename provided")
        file = services.upload_file(
            self._owner(request),
            actor=actor_of(request),
            stream=given.file,  # type: ignore[arg-type]
            filename=given.name or "",
            correlation_id=getattr(request, "correlation_id", ""),
        )
        answer = {"id": file.pk, "name": file.original_filename, "url": self.url_of("change", file)}
        return JsonResponse(answer, status=CREATED)

    def _owner(self, request: HttpRequest) -> Owner:
        """Return the owner that was chosen among those the user may act for; the user's own by default."""
        wanted = request.POST.get("owner", "")
        if not wanted:
            return accounts.owner_of_user(request.user)  # type: ignore[arg-type]
        key = read_id(wanted)
        owner = owners_for(request).filter(pk=key).first() if key is not None else None
        if owner is None:
            raise PermissionDenied
        return owner

    def _may_upload(self, request: HttpRequest) -> bool:
        return request.user.has_perm("files.add_file")

    def _upload_context(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "url": reverse(f"admin:{self._url_name('upload')}"),
            "owners": owners_for(request).exclude(user=request.user.pk).order_by("name", "pk")[:MOST_OWNERS],
            "types": ", ".join(f".{extension}" for extension in settings.ALLOWED_EXTENSIONS),
            "largest_bytes": settings.MAX_FILE_SIZE_BYTES,
            "largest": settings.MAX_FILE_SIZE_TEXT,
        }
