"""Who is calling: API keys and the admin's session (contract section 2).

Tokens of `/api/auth/*` and service tokens are a class of their own beside these.
"""

from collections.abc import Iterator
from typing import cast

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts import outside, selectors
from accounts.models import User
from accounts.principal import Principal
from core import logs

INVALID_KEY = "Invalid API key"


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer <api key>` or `X-API-Key: <api key>`; either suffices where both are sent."""

    def authenticate(self, request: Request) -> tuple[User | Principal, Principal] | None:
        presented = list(_presented_keys(request))
        if not presented:
            return None
        for plaintext in presented:
            principal = selectors.find_principal_by_key(plaintext) or outside.find_principal(plaintext)
            if principal is not None:
                logs.bind(caller=principal.actor)
                return principal, principal
        raise exceptions.AuthenticationFailed(INVALID_KEY)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The admin's session with CSRF protection, for staff in the browsable API."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        found = super().authenticate(request)
        if found is None or not isinstance(found[0], User) or not found[0].is_staff:
            return None
        logs.bind(caller=found[0].email)
        return found[0], selectors.principal_of_user(found[0])


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How /openapi.json describes the API keys."""

    target_class = ApiKeyAuthentication
    name = ["bearerKey", "apiKeyHeader"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key"},
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How /openapi.json describes the admin's session."""

    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


def _presented_keys(request: Request) -> Iterator[str]:
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        yield token.strip()
    if key := request.headers.get("X-API-Key", "").strip():
        yield key


def principal_of(request: Request) -> Principal:
    """Return who is calling. Views run behind authentication, so there is always somebody."""
    return cast("Principal", request.auth)
