"""What a caller may do: deny by default, then by scope."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.choices import Scope
from accounts.principal import Principal


class HasScope(BasePermission):
    """Reading methods need `read`, the others `write`; a view's `required_scope` replaces both."""

    message = "This key may not do that"

    def has_permission(self, request: Request, view: Any) -> bool:
        principal = request.auth
        if not isinstance(principal, Principal):
            return False
        scope = getattr(view, "required_scope", None) or _scope_of_method(request.method)
        self.message = f"This key lacks the scope '{scope}'"
        return principal.may(scope)


def _scope_of_method(method: str | None) -> str:
    return Scope.READ.value if method in SAFE_METHODS else Scope.WRITE.value
