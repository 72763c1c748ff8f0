"""Coded errors of accounts."""

from core.errors import NotFound


class ApiKeyNotFound(NotFound):
    code = "API_KEY_NOT_FOUND"
