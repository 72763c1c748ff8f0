"""One error body for everything that can go wrong (contract section 3).

`render_error` serves DRF's views, `bad_request` and its kin are Django's handlers for what fails
outside of them: unknown paths, refused hosts, exceptions in middleware. The admin keeps HTML.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.core import exceptions as django_errors
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.views import defaults
from rest_framework import exceptions as drf_errors
from rest_framework.request import Request
from rest_framework.response import Response

from core import clock, logs
from core.errors import DomainError, InvalidInput, Problem, RateLimited

log = logs.get(__name__)

RETRY_AFTER_SECONDS = 5
MOST_PROBLEMS_IN_SUMMARY = 5
API_KEY_REQUIRED = "API key required"
_HTML_PATHS = ("/admin",)
# Documents 1 and 2 and the SAGA orchestrator answered validation errors with 422.
_ANSWERS_422 = re.compile(r"/(api/(?!v1(/|$))|api/v1/(notifications|webhooks|automation|saga)(/|$)|saga)")
_CLASSES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "validation_error",
}
_CODES = {
    HTTPStatus.BAD_REQUEST: "BAD_REQUEST",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL_ERROR",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "PAYLOAD_TOO_LARGE",
    HTTPStatus.TOO_MANY_REQUESTS: "RATE_LIMITED",
}


@dataclass(frozen=True)
class Failure:
    """An error as the wire will show it; `problems` is None unless the request's data is at fault."""

    status: int
    code: str
    detail: Any
    problems: tuple[Problem, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def render_error(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer an exception of a DRF view (settings: EXCEPTION_HANDLER); None leaves it to Django as a 500."""
    failure = describe(exc)
    if failure is None:
        return None
    if failure.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("request.unavailable", error=str(exc))
    request: Request = context["request"]
    content = body(request, failure)
    return Response(content, status=_status(request, failure), headers=dict(failure.headers))


def respond(request: HttpRequest, failure: Failure) -> HttpResponse:
    """Answer with the error body outside of DRF."""
    content = orjson.dumps(body(request, failure))
    return HttpResponse(
        content, content_type="application/json", status=_status(request, failure), headers=dict(failure.headers)
    )


def describe(exc: BaseException) -> Failure | None:  # noqa: PLR0911  (one line per family reads best)
    """Map any foreseen exception to a Failure; None for an unexpected one."""
    if isinstance(exc, DomainError):
        return _of_domain(exc)
    if isinstance(exc, drf_errors.APIException):
        return _of_drf(exc)
    if isinstance(exc, Http404):
        return Failure(404, "NOT_FOUND", "Not Found")
    if isinstance(exc, django_errors.PermissionDenied):
        return Failure(403, "FORBIDDEN", str(exc) or "Forbidden")
    if isinstance(
        exc, django_errors.TooManyFieldsSent | django_errors.TooManyFilesSent | django_errors.RequestDataTooBig
    ):
        return _over_bound(exc)
    if isinstance(exc, django_errors.SuspiciousOperation | UnreadablePostError | django_errors.BadRequest):
        return Failure(400, "BAD_REQUEST", "The request cannot be read")
    if isinstance(exc, OperationalError | InterfaceError):
        return unavailable("The database is not available")
    if isinstance(exc, DataError):
        # A number or text that no column of ours can hold.
        return _invalid("A value is out of range", (Problem(("body",), "A value is out of range"),))
    return None


def unavailable(detail: Any) -> Failure:
    """Return the 503 that asks the caller to come again."""
    return Failure(503, "SERVICE_UNAVAILABLE", detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def body(request: HttpRequest | Request, failure: Failure) -> dict[str, Any]:
    """Return the contract's error body: superset of documents 1 and 4."""
    status = _status(request, failure)
    detail, message = failure.detail, failure.detail
    errors = None if failure.problems is None else [_wire(problem) for problem in failure.problems]
    if status == HTTPStatus.UNPROCESSABLE_ENTITY and errors is not None:
        detail = errors
    content = {
        "detail": detail,
        "timestamp": clock.now().isoformat().replace("+00:00", "Z"),
        "path": request.path,
        "error_code": failure.code,
        "error": _CLASSES.get(HTTPStatus(status)) or HTTPStatus(status).name.lower(),
        "message": message if isinstance(message, str) else HTTPStatus(status).phrase,
        "request_id": getattr(request, "request_id", ""),
    }
    return content if errors is None or status != HTTPStatus.BAD_REQUEST else content | {"errors": errors}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 400 outside of DRF (handler400)."""
    if _is_html(request):
        return defaults.bad_request(request, exception)
    return respond(request, describe(exception) or Failure(400, "BAD_REQUEST", "The request cannot be read"))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 403 outside of DRF (handler403)."""
    if _is_html(request):
        return defaults.permission_denied(request, exception)
    return respond(request, Failure(403, "FORBIDDEN", "Forbidden"))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404 for a path that leads nowhere (handler404)."""
    if _is_html(request):
        return defaults.page_not_found(request, exception)
    return respond(request, Failure(404, "NOT_FOUND", "Not Found"))


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500 without any internal detail, or 503 where the database is down (handler500)."""
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | InterfaceError):
        return respond(request, unavailable("The database is not available"))
    if _is_html(request):
        return defaults.server_error(request)
    return respond(request, Failure(500, "INTERNAL_ERROR", "Internal server error"))


def _of_domain(exc: DomainError) -> Failure:
    headers = {"Retry-After": str(exc.retry_after_seconds)} if isinstance(exc, RateLimited) else {}
    if isinstance(exc, InvalidInput):
        problems = exc.problems or (Problem(("body",), exc.detail),)
        return Failure(exc.status, exc.code, exc.detail, problems, headers)
    if exc.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Failure(exc.status, exc.code, exc.detail, headers=headers)


def _over_bound(exc: django_errors.SuspiciousOperation) -> Failure:
    """Name the bound of a form or a query that holds too much."""
    if isinstance(exc, django_errors.TooManyFieldsSent):
        text = f"Too many fields. At most {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} are allowed"
    elif isinstance(exc, django_errors.TooManyFilesSent):
        text = f"Too many files. At most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} are allowed"
    else:
        text = f"The form's fields are too large. Maximum size: {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes"
    return Failure(400, "BAD_REQUEST", text)


def _of_drf(exc: drf_errors.APIException) -> Failure:
    if isinstance(exc, drf_errors.ValidationError):
        problems = tuple(_flatten(exc.detail, ("body",)))
        return _invalid(_summary(problems), problems)
    if isinstance(exc, drf_errors.ParseError):
        return _invalid(str(exc.detail), (Problem(("body",), str(exc.detail), "parse_error"),))
    headers = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = str(exc.auth_header)  # type: ignore[attr-defined]  # set by APIView
    if isinstance(exc, drf_errors.Throttled):
        headers["Retry-After"] = str(max(1, round(getattr(exc, "wait", None) or 1)))
        return Failure(429, "RATE_LIMITED", "Rate limit exceeded", headers=headers)
    detail = API_KEY_REQUIRED if isinstance(exc, drf_errors.NotAuthenticated) else str(exc.detail)
    status = HTTPStatus(exc.status_code)
    return Failure(status, _CODES.get(status, status.name), detail, headers=headers)


def _invalid(detail: str, problems: tuple[Problem, ...]) -> Failure:
    return Failure(400, "VALIDATION_ERROR", detail, problems)


def _status(request: HttpRequest | Request, failure: Failure) -> int:
    """Turn a validation error's 400 into the 422 of the paths that always answered so."""
    if failure.problems is not None and failure.status == HTTPStatus.BAD_REQUEST and _ANSWERS_422.match(request.path):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return int(failure.status)


def _flatten(detail: Any, loc: tuple[str | int, ...]) -> Iterator[Problem]:
    """Turn DRF's nested error details into problems with a place each."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            yield from _flatten(value, loc if key == "non_field_errors" else (*loc, key))
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            yield from _flatten(value, (*loc, index) if isinstance(value, Mapping) else loc)
    else:
        yield Problem(loc, str(detail), str(getattr(detail, "code", "value_error")))


def _summary(problems: tuple[Problem, ...]) -> str:
    lines = [": ".join(filter(None, (".".join(map(str, p.loc[1:])), p.msg))) for p in problems]
    more = len(lines) - MOST_PROBLEMS_IN_SUMMARY
    return "; ".join(lines[:MOST_PROBLEMS_IN_SUMMARY]) + (f"; and {more} more" if more > 0 else "")


def _wire(problem: Problem) -> dict[str, Any]:
    return {"loc": list(problem.loc), "msg": problem.msg, "type": problem.type}


def _is_html(request: HttpRequest) -> bool:
    return request.path.startswith(_HTML_PATHS)
