"""Who is calling: the answer of authentication, carried as `request.auth`."""

from dataclasses import dataclass

from accounts.choices import Scope
from accounts.models import Owner, User

ALL_SCOPES: frozenset[str] = frozenset(Scope.values)


@dataclass(frozen=True)
class Principal:
    """An owner that somebody acts for, and what they may do.

    `actor` names the caller in the audit trail (an email address, a key's prefix); `sees_all` lifts
    the owner's boundary for reads; `user` is None for keys; `limited_as` tells keys that share an
    actor apart, for rate limits. For keys the principal itself stands in as `request.user`, hence
    `is_authenticated`, `is_active` and `is_staff`.
    """

    owner: Owner
    scopes: frozenset[str]
    sees_all: bool
    actor: str
    user: User | None = None
    limited_as: str = ""
    is_authenticated: bool = True
    is_active: bool = True
    is_staff: bool = False

    @property
    def rate_limit_key(self) -> str:
        """Return what rate limits count by: each key or user for itself."""
        return f"{self.owner.pk}:{self.limited_as or self.actor}"

    def __str__(self) -> str:
        # The browsable API greets with it.
        return self.actor

    def may(self, scope: str) -> bool:
        """Tell whether the caller holds `scope`."""
        return scope in self.scopes
