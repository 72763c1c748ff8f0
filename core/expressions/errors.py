"""What goes wrong in an expression, with a code and, where known, the column."""

from http import HTTPStatus
from typing import NamedTuple

from core.errors import DomainError


class ExpressionError(DomainError):
    """An expression or condition that cannot be read, is not allowed, or failed.

    Codes: `bad_expression` (cannot be read), `not_allowed` (a construct outside the language), `unknown_name`
    (strict only), `unknown_operator`, `evaluation_failed`, `too_large` (a bound was reached).
    `column` counts from 1 in the text as written; None if the text is not the cause.
    """

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, detail: str, *, code: str, column: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.column = column


class ExpressionProblem(NamedTuple):
    """One thing wrong in a value that holds expressions.

    `path` leads to the string inside the value (keys and indexes); `column` counts from 1 in that string.
    """

    path: tuple[str | int, ...]
    column: int
    message: str
    code: str
