"""The one family of errors that services raise and the API renders (contract section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request: where (`loc`, e.g. ("body", "name")), what, and a code."""

    loc: tuple[str | int, ...]
    msg: str
    type: str = "value_error"


class DomainError(Exception):
    """A refusal with a stable code. Subclasses fix `code` and `status`."""

    code = "BAD_REQUEST"
    status = HTTPStatus.BAD_REQUEST

    def __init__(self, detail: str, *, problems: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = tuple(problems)


class InvalidInput(DomainError):
    """The request's data is wrong. Rendered as 400 or 422 by path (contract 3)."""

    code = "VALIDATION_ERROR"


class InvalidState(DomainError):
    """The object exists but cannot do this in its present state."""

    code = "INVALID_STATE"


class NotFound(DomainError):
    """No such object for this caller; a soft-deleted or another owner's object counts as missing."""

    code = "NOT_FOUND"
    status = HTTPStatus.NOT_FOUND


class Conflict(DomainError):
    """A name is taken or the object changed in between."""

    code = "CONFLICT"
    status = HTTPStatus.CONFLICT


class Unauthorized(DomainError):
    """Missing or wrong credentials."""

    code = "UNAUTHORIZED"
    status = HTTPStatus.UNAUTHORIZED


class Forbidden(DomainError):
    """Known caller, not allowed."""

    code = "FORBIDDEN"
    status = HTTPStatus.FORBIDDEN


class RateLimited(DomainError):
    """Too many requests; `retry_after_seconds` says when the next one may come."""

    code = "RATE_LIMITED"
    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(DomainError):
    """Something this product needs is down; the caller may come again."""

    code = "SERVICE_UNAVAILABLE"
    status = HTTPStatus.SERVICE_UNAVAILABLE
