"""Coded errors of accounts."""

from core.errors import Conflict, NotFound


class ApiKeyNotFound(NotFound):
    code = "API_KEY_NOT_FOUND"


class SecretNotFound(NotFound):
    code = "SECRET_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("Secret not found")


class DuplicateSecret(Conflict):
    """Another secret of the owner has the name."""

    code = "DUPLICATE_NAME"
