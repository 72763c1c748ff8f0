"""Files over HTTP: validated data, one service call, the contract's JSON."""

from typing import Any, cast

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import principal_of
from core.api.views import ContractView
from core.errors import InvalidInput, Problem
from files import selectors, services
from files.api import serializers, uploads
from files.choices import FileStatus
from files.errors import FileNotFound, FileNotProcessable, UploadRefused
from files.models import File

LONGEST_IDEMPOTENCY_KEY = 200
_NUMBER_CHARACTERS = 19
_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key with the same bytes and name answers as the first time, and takes nothing twice.",
)
_PROCESS_QUERY = [
    OpenApiParameter(name, bool, required=False) for name in ("extract_content", "trigger_workflows", "force")
]


class _UploadingView(ContractView):
    """Reads multipart bodies under the size limit."""

    parser_classes = (MultiPartParser,)
    goes_on_past_the_limit = False

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Before authentication, since the session's CSRF check may read the body.
        uploads.limit_upload(request, goes_on=self.goes_on_past_the_limit)
        return super().initialize_request(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        uploads.close_upload(request._request)
        return super().finalize_response(request, response, *args, **kwargs)


class UploadView(_UploadingView):
    """`/files/upload`, and `/upload` of old clients."""

    @extend_schema(
        parameters=[_KEY],
        request={"multipart/form-data": serializers.UploadRequestSerializer},
        responses=serializers.UploadSerializer,
    )
    def post(self, request: Request) -> Response:
        """Take a document; it is extracted in the background."""
        principal, key = principal_of(request), _idempotency_key(request)
        # Before the body is read.
        services.expect_room(principal.owner, more_bytes=uploads.announced_bytes(request._request), idempotency_key=key)
        given = _given(request, "file")
        if len(given) > 1:
            # To take one of them would lose the others without a word.
            raise UploadRefused(f"{len(given)} files in the field `file`: send one in each request")
        file = services.upload_file(
            principal.owner,
            actor=principal.actor,
            stream=given[0].file,
            filename=given[0].name or "",
            correlation_id=_correlation_id(request),
            idempotency_key=key,
        )
        return Response(serializers.UploadSerializer(file).data)


class UploadManyView(_UploadingView):
    """`/files/upload-multiple`."""

    goes_on_past_the_limit = True

    @extend_schema(
        parameters=[_KEY],
        request={"multipart/form-data": serializers.UploadManyRequestSerializer},
        responses=serializers.UploadManySerializer,
    )
    def post(self, request: Request) -> Response:
        """Take several documents, each for itself; `errors` says which were refused and why."""
        principal = principal_of(request)
        outcomes = services.upload_files(
            principal.owner,
            actor=principal.actor,
            uploads=[(upload.file, upload.name or "") for upload in _given(request, "files")],
            correlation_id=_correlation_id(request),
            idempotency_key=_idempotency_key(request),
        )
        taken = [outcome.file for outcome in outcomes if outcome.file]
        refused = [
            {"filename": outcome.filename, "error": outcome.refusal.detail} for outcome in outcomes if outcome.refusal
        ]
        message = f"{len(taken)} of {len(outcomes)} files uploaded successfully"
        return Response(serializers.UploadManySerializer({"message": message, "files": taken, "errors": refused}).data)


class FileView(ContractView):
    """`/files/{id}`."""

    @extend_schema(responses=serializers.FileSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Show a file with its whole text."""
        return Response(serializers.FileSerializer(file_of(request, key, with_text=True)).data)

    @extend_schema(responses={200: serializers.FileMessageSerializer})
    def delete(self, request: Request, key: str) -> Response:
        """Delete a file: hidden from every read, its bytes removed."""
        file = file_of(request, key)
        services.delete_file(file, actor=principal_of(request).actor)
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
        file = file_of(request, key)
        services.process_file(file, actor=principal_of(request).actor, **_process_options(request))
        return Response({"message": "File processing started", "file_id": file.pk})


class ExtractView(ContractView):
    """`/files/{id}/extract` and its alias."""

    @extend_schema(responses=serializers.ExtractSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Give the whole text and the metadata of a processed file."""
        file = file_of(request, key, with_text=True)
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


class SummaryView(ContractView):
    """`/files/stats/summary`."""

    @extend_schema(responses=serializers.SummarySerializer)
    def get(self, request: Request) -> Response:
        """Count the caller's files by status, and what they take of the quota."""
        principal = principal_of(request)
        statistics = selectors.summarise(principal) | services.quota_use(principal.owner)
        return Response(serializers.SummarySerializer({"statistics": statistics}).data)


def _given(request: Request, field: str) -> list[Any]:
    """Return the files of a form's field. Raises: UploadRefused when there is none, or not the whole of the last."""
    given = request.FILES.getlist(field)
    if uploads.ended_early(request._request):
        raise UploadRefused("The upload ended before its file was complete")
    if not given:
        raise UploadRefused("No filename provided")
    return list(given)


def file_of(request: Request, key: str, *, with_text: bool = False) -> File:
    """Return the file that the path names; what is no number is no file (contract 3). Raises: FileNotFound."""
    if not (key.isascii() and key.isdigit() and len(key) <= _NUMBER_CHARACTERS):
        raise FileNotFound
    return selectors.get_file(principal_of(request), int(key), with_text=with_text)


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_IDEMPOTENCY_KEY:
        # Cut short, two keys could become one and the second file be lost.
        message = f"Idempotency-Key must have at most {LONGEST_IDEMPOTENCY_KEY} characters"
        raise InvalidInput(message, problems=[Problem(("header", "Idempotency-Key"), message, "string_too_long")])
    return key


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
