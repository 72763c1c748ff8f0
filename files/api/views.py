"""Files over HTTP: validated data, one service call, the contract's JSON."""

from typing import Any, cast

from django.core.files.storage import default_storage
from django.http import FileResponse, HttpRequest
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import principal_of
from core.api.pagination import bare_array, paginate
from core.api.views import ContractView
from core.errors import InvalidInput, Problem
from files import selectors, services
from files.api import serializers, uploads
from files.choices import FileStatus
from files.errors import FileNotFound, FileNotProcessable, UploadRefused
from files.models import File

_NUMBER_CHARACTERS = 19
_QUERY = [OpenApiParameter("status", str), OpenApiParameter("limit", int), OpenApiParameter("offset", int)]
_PROCESS_QUERY = [
    OpenApiParameter(name, bool, required=False) for name in ("extract_content", "trigger_workflows", "force")
]


class FileListView(ContractView):
    """`/files`."""

    @extend_schema(
        parameters=_QUERY,
        responses=serializers.FileListItemSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """List files, newest first; `X-Total-Count` counts them all."""
        found = selectors.list_files(principal_of(request), status=request.query_params.get("status"))
        page = paginate(found, request)
        return bare_array(serializers.FileListItemSerializer(cast("Any", page.items), many=True).data, page)


class UploadView(ContractView):
    """`/files/upload`, and `/upload` of old clients."""

    parser_classes = (MultiPartParser,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Before authentication, since the session's CSRF check may read the body.
        uploads.limit_upload(request)
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        uploads.close_upload(request._request)
        return super().finalize_response(request, response, *args, **kwargs)

    @extend_schema(
        request={"multipart/form-data": serializers.UploadRequestSerializer},
        responses=serializers.UploadSerializer,
    )
    def post(self, request: Request) -> Response:
        """Take a document; it is extracted in the background."""
        uploads_given = request.FILES.getlist("file")
        if not uploads_given:
            raise UploadRefused("No filename provided")
        if len(uploads_given) > 1:
            # To take one of them would lose the others without a word.
            raise UploadRefused(f"{len(uploads_given)} files in the field `file`: send one in each request")
        upload = uploads_given[0]
        principal = principal_of(request)
        file = services.upload_file(
            principal.owner,
            actor=principal.actor,
            stream=upload.file,
            filename=upload.name or "",
            correlation_id=_correlation_id(request),
        )
        return Response(serializers.UploadSerializer(file).data)


class FileView(ContractView):
    """`/files/{id}`."""

    @extend_schema(responses=serializers.FileSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Show a file with its whole text."""
        return Response(serializers.FileSerializer(_file(request, key, with_text=True)).data)

    @extend_schema(responses={200: serializers.FileMessageSerializer})
    def delete(self, request: Request, key: str) -> Response:
        """Delete a file: hidden from every read, its bytes removed."""
        file = _file(request, key)
        services.delete_file(file)
        return Response({"message": "File deleted successfully", "file_id": file.pk})


class ProcessView(ContractView):
    """`/files/{id}/process` and its alias."""

    @extend_schema(
        parameters=_PROCESS_QUERY,
        request=serializers.ProcessRequestSerializer,
        responses=serializers.FileMessageSerializer,
    )
    def post(self, request: Request, key: str) -> Response:
        """Ask for processing; the options may stand in the body or in the query."""
        file = _file(request, key)
        services.process_file(file, **_process_options(request))
        return Response({"message": "File processing started", "file_id": file.pk})


class ExtractView(ContractView):
    """`/files/{id}/extract` and its alias."""

    @extend_schema(responses=serializers.ExtractSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Give the whole text and the metadata of a processed file."""
        file = _file(request, key, with_text=True)
        if file.status != FileStatus.PROCESSED:
            raise FileNotProcessable(f"File not processed yet (status: {file.status})")
        body = {"file_id": file.pk, "content": selectors.find_text(file), "metadata": file.extraction_metadata}
        return Response(serializers.ExtractSerializer(body).data)


@extend_schema(exclude=True)
class ProcessAliasView(ProcessView):
    """`/files/process/{id}` of old clients; the schema shows the one path of each action."""


@extend_schema(exclude=True)
class ExtractAliasView(ExtractView):
    """`/files/extract/{id}` of old clients."""


class DownloadView(ContractView):
    """`/files/{id}/download`."""

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, key: str) -> FileResponse:
        """Give the bytes as an attachment under the original name; never shown inline by a browser."""
        file = _file(request, key)
        try:
            content = default_storage.open(file.file_path)
        except FileNotFoundError as error:
            raise FileNotFound from error
        return FileResponse(
            content,
            as_attachment=True,
            filename=file.original_filename,
            content_type=file.mime_type,
            headers={"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"},
        )


class SummaryView(ContractView):
    """`/files/stats/summary`."""

    @extend_schema(responses=serializers.SummarySerializer)
    def get(self, request: Request) -> Response:
        """Count the caller's files by status."""
        statistics = selectors.summarise(principal_of(request))
        return Response(serializers.SummarySerializer({"statistics": statistics}).data)


def _file(request: Request, key: str, *, with_text: bool = False) -> File:
    """Return the file that the path names; what is no number is no file (contract 3)."""
    if not (key.isascii() and key.isdigit() and len(key) <= _NUMBER_CHARACTERS):
        raise FileNotFound
    return selectors.get_file(principal_of(request), int(key), with_text=with_text)


def _process_options(request: Request) -> dict[str, Any]:
    """Return `process_file`'s options from the query and the optional body; the body wins."""
    body = request.data or {}
    if not isinstance(body, dict):
        raise InvalidInput("The body must be an object", problems=[Problem(("body",), "must be an object")])
    given = {name: request.query_params[name] for name in _PROCESS_NAMES if name in request.query_params}
    options = serializers.ProcessRequestSerializer(data=given | dict(body))
    options.is_valid(raise_exception=True)
    validated = options.validated_data
    validated["trigger_workflows"] = validated.get("trigger_workflows")
    return cast("dict[str, Any]", validated)


_PROCESS_NAMES = ("extract_content", "trigger_workflows", "force")


def _correlation_id(request: Request) -> str:
    correlation_id: str = getattr(request, "correlation_id", "")
    return correlation_id
