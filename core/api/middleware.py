"""What every request passes, from the outside in: context, CORS, slashes."""

import re
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from core import logs
from core.api import metrics
from core.api.errors import Failure, respond

log = logs.get("access")

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")
# Django's own pages keep their slashes and their HTML.
_OWN_SLASHES = ("/admin", "/static")
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# These paths carry a secret, so the log names their pattern only.
_SECRET_PATHS = ("/hooks/", "/files/download/", "/api/v1/files/download/")
_PROBES = frozenset({"/live", "/ready", "/health", "/health/live", "/health/ready", "/metrics"})

CORS_EXPOSED_HEADERS = (
    "X-Request-ID, X-Process-Time, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-Total-Count, X-Correlation-ID, Retry-After"
)
CORS_MAX_AGE_SECONDS = 600


class RequestContextMiddleware:
    """Gives each request its ids, its log line, its metrics and the contract's response headers.

    A body that nobody reads is not drained here: gunicorn discards at most 64 KiB of it after the answer
    and closes the connection (a WSGI application must not send `Connection` itself, PEP 3333).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        _bind_ids(request)
        metrics.requests_active.inc()
        try:
            failure = _refusal(request)
            response = respond(request, failure) if failure else self.get_response(request)
        finally:
            metrics.requests_active.dec()
        seconds = time.perf_counter() - started
        _add_headers(request, response, seconds)
        _record(request, response, seconds)
        return response


class CorsMiddleware:
    """CORS for the origins of CORS_ORIGINS; credentials never go with `*` (contract section 1)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        origin = request.headers.get("Origin")
        if not origin:
            return self.get_response(request)
        is_preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response = HttpResponse(status=HTTPStatus.OK) if is_preflight else self.get_response(request)
        if _allow_origin(response, origin):
            response["Access-Control-Expose-Headers"] = CORS_EXPOSED_HEADERS
            if is_preflight:
                response["Access-Control-Allow-Methods"] = ", ".join(settings.CORS_ALLOW_METHODS)
                response["Access-Control-Allow-Headers"] = ", ".join(settings.CORS_ALLOW_HEADERS)
                response["Access-Control-Max-Age"] = str(CORS_MAX_AGE_SECONDS)
        return response


class OptionalSlashMiddleware:
    """Serves every path with and without trailing slashes, without a redirect: POST bodies survive.

    Patterns are written without one. `request.path` stays as it was sent; only the path that is
    matched (`path_info`) loses its slashes. The admin's first page, which people type, gets the one it has.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.endswith("/") and not _keeps_slashes(request.path_info):
            request.path_info = request.path_info.rstrip("/") or "/"
        elif request.path_info == "/admin":
            request.path_info = "/admin/"
        return self.get_response(request)


def _bind_ids(request: HttpRequest) -> None:
    request_id = _printable(request.headers.get("X-Request-ID")) or str(uuid.uuid4())
    correlation_id = _printable(request.headers.get("X-Correlation-ID")) or request_id
    request.request_id, request.correlation_id = request_id, correlation_id  # type: ignore[attr-defined]
    logs.clear()
    logs.bind(request_id=request_id, correlation_id=correlation_id)


def _printable(value: str | None) -> str:
    """Return a caller's id if it is safe in logs, headers and rows, else nothing."""
    return value if value and _PRINTABLE.fullmatch(value) else ""


def _refusal(request: HttpRequest) -> Failure | None:
    """Refuse what no view should have to think of; nothing of the body has been read."""
    if (place := _place_of_nul(request)) is not None:
        return Failure(400, "BAD_REQUEST", f"The character U+0000 is not allowed in a {place}")
    if request.method not in _BODY_METHODS:
        return None
    length = request.META.get("CONTENT_LENGTH") or ""
    if "HTTP_TRANSFER_ENCODING" in request.META and not length:
        # Django reads no body of unknown length; to go on would drop the caller's data silently.
        return Failure(411, "LENGTH_REQUIRED", "Send a Content-Length; chunked bodies are not accepted")
    if length and not (length.isascii() and length.isdigit()):
        return Failure(400, "BAD_REQUEST", "The Content-Length is not a number")
    bound_bytes = max(settings.MAX_JSON_BODY_BYTES, settings.MAX_FILE_SIZE_BYTES) + 2**20
    if request.path_info.startswith("/admin") and int(length or 0) > bound_bytes:
        # Django would spool a multipart form to disk before it checks who sent it.
        return Failure(413, "PAYLOAD_TOO_LARGE", f"The form is too large. Maximum size: {bound_bytes} bytes")
    return None


def _place_of_nul(request: HttpRequest) -> str | None:
    """Name where the request carries U+0000, which the database cannot be asked for."""
    if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
        return "URL"
    # Quoted cookies may spell it as \000.
    if "\\" in request.META.get("HTTP_COOKIE", "") and any("\x00" in text for text in request.COOKIES.values()):
        return "cookie"
    return None


def _add_headers(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    response["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
    response["X-Correlation-ID"] = request.correlation_id  # type: ignore[attr-defined]
    response["X-Process-Time"] = f"{seconds:.6f}"
    if standing := getattr(request, "rate_limit_standing", None):
        for name, value in standing.headers().items():
            response[name] = value


def _record(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    route = request.resolver_match.route if request.resolver_match else None
    method = request.method or ""
    metrics.observe(method=method, route=route, status=response.status_code, seconds=seconds)
    write = log.debug if request.path_info in _PROBES else log.info
    write(
        "request",
        method=method,
        path=route if request.path.startswith(_SECRET_PATHS) else request.path,
        status=response.status_code,
        ms=round(seconds * 1000, 1),
    )


def _allow_origin(response: HttpResponseBase, origin: str) -> bool:
    """Set the origin headers; False if this origin may not read the answer."""
    if "*" in settings.CORS_ORIGINS:
        response["Access-Control-Allow-Origin"] = "*"
        return True
    response["Vary"] = ", ".join(filter(None, (response.get("Vary"), "Origin")))
    if origin not in settings.CORS_ORIGINS:
        return False
    response["Access-Control-Allow-Origin"] = origin
    if settings.CORS_ALLOW_CREDENTIALS:
        response["Access-Control-Allow-Credentials"] = "true"
    return True


def _keeps_slashes(path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in _OWN_SLASHES)
