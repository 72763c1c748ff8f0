"""A file's bytes over HTTP: whole or a part, always as an attachment, in constant memory."""

from collections.abc import Mapping
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.errors import Failure, respond
from core.api.views import ContractView, PublicView
from files import services, stored_bytes
from files.api import ranges
from files.api.serializers import DownloadUrlSerializer
from files.api.views import file_of
from files.errors import FileNotFound
from files.models import File

_BYTES = (200, "application/octet-stream")
_PART = (206, "application/octet-stream")
_DOWNLOAD = {
    "parameters": [
        OpenApiParameter(name, str, OpenApiParameter.HEADER) for name in ("Range", "If-Range", "If-None-Match")
    ],
    "responses": {
        _BYTES: OpenApiTypes.BINARY,
        _PART: OpenApiTypes.BINARY,
        304: OpenApiResponse(description="The caller has it already."),
        416: OpenApiResponse(description="The range begins behind the end."),
    },
}


class DownloadView(ContractView):
    """`/files/{id}/download`."""

    @extend_schema(**_DOWNLOAD)  # type: ignore[arg-type]
    def get(self, request: Request, key: str) -> HttpResponseBase:
        """Give the bytes, or one range of them, as an attachment under the original name."""
        return file_response(request._request, file_of(request, key))


class DownloadUrlView(ContractView):
    """`/files/{id}/download-url`."""

    @extend_schema(responses=DownloadUrlSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Give an address of the bytes that works for a while without a key."""
        file = file_of(request, key)
        url = services.links.remote_url(file) or request.build_absolute_uri(
            reverse("file-by-token", args=(services.links.make_token(file),))
        )
        return Response(DownloadUrlSerializer({"url": url, "expires_in": settings.DOWNLOAD_URL_SECONDS}).data)


class TokenDownloadView(PublicView):
    """`/files/download/{token}`: the token is the credential."""

    @extend_schema(exclude=True)
    def get(self, request: Request, token: str) -> HttpResponseBase:
        """Give the bytes as `/files/{id}/download` does."""
        return file_response(request._request, services.links.file_of_token(token))


def file_response(request: HttpRequest, file: File) -> HttpResponseBase:
    """Answer GET or HEAD with a file's bytes: 200, 206, 304 or 416. Raises: FileNotFound, StorageUnavailable."""
    etag = f'"{file.file_hash}"'
    headers = _headers(file, etag)
    if _names(request.headers.get("If-None-Match", ""), etag):
        return _not_modified(headers)
    try:
        part = _wanted(request, file, etag)
    except ranges.NotSatisfiable:
        return _beyond(request, file)
    if part is not None:
        headers |= {"Content-Range": part.content_range, "Content-Length": str(part.length_bytes)}
    status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
    try:
        if request.method == "HEAD":
            return _without_body(file, headers)
        span = stored_bytes.open_span(file.file_path, *((part.first, part.last) if part else ()))
    except FileNotFoundError as error:
        raise FileNotFound from error
    return StreamingHttpResponse(span, status=status, headers=headers)


def _headers(file: File, etag: str) -> dict[str, str]:
    """Return the headers of a whole file; a browser may neither show it as a page nor guess its type."""
    return {
        "Content-Type": file.mime_type,
        "Content-Length": str(file.file_size),
        "Content-Disposition": services.links.disposition(file),
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }


def _wanted(request: HttpRequest, file: File, etag: str) -> ranges.Range | None:
    """Return the part that is asked for; none for HEAD, nor where If-Range names other bytes (or a date)."""
    if request.method == "HEAD" or request.headers.get("If-Range", etag).strip() != etag:
        return None
    return ranges.parse(request.headers.get("Range", ""), size_bytes=file.file_size)


def _names(if_none_match: str, etag: str) -> bool:
    """Tell whether the header names this tag; compared weakly, as it is meant for caches."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def _not_modified(headers: Mapping[str, str]) -> HttpResponse:
    # Django would write a length of 0 and a type: a cache could take them for those of the bytes it has.
    kept = {name: headers[name] for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control")}
    return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers=kept)


def _beyond(request: HttpRequest, file: File) -> HttpResponse:
    detail = f"The range begins behind the end of the file: it has {file.file_size} bytes"
    headers = {"Content-Range": f"bytes */{file.file_size}", "Accept-Ranges": "bytes"}
    return respond(request, Failure(416, "RANGE_NOT_SATISFIABLE", detail, headers=headers))


def _without_body(file: File, headers: Mapping[str, str]) -> HttpResponse:
    if not stored_bytes.exists(file.file_path):
        raise FileNotFoundError
    return HttpResponse(headers=dict(headers))
