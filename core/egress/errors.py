"""What the door answers when an exchange did not happen or did not end well."""

from collections.abc import Mapping

BLOCKED_MESSAGE = "The address of this URL is not allowed"

_RETRYABLE = {
    "dns": True,
    "refused": True,
    "tls": True,
    "timeout": True,
    "reset": True,
    "blocked_address": False,
    "bad_url": False,
    "redirect": False,
    "too_large": False,
    "cancelled": False,
    "bad_header": False,
}
CODES = frozenset(_RETRYABLE)


class EgressError(Exception):
    """No usable answer came back.

    `code` is one of `CODES`. `public_message` may be shown to a tenant; `reason` is for operators only (it may
    name internal addresses). `retryable` says whether the same request may succeed later. `sent` is False only
    where it is certain that no byte of any request left this process: an effect that must happen at most once
    may then be tried again. `address`, `status_code` and `durations_ms` hold what was known by then.
    """

    def __init__(
        self,
        code: str,
        public_message: str,
        reason: str = "",
        retryable: bool | None = None,
        sent: bool = False,
    ) -> None:
        super().__init__(public_message)
        self.code = code
        self.public_message = public_message
        self.reason = reason or public_message
        self.retryable = _RETRYABLE[code] if retryable is None else retryable
        self.sent = sent
        self.address: str | None = None
        self.status_code: int | None = None
        self.durations_ms: Mapping[str, float] = {}

    def __str__(self) -> str:
        return f"{self.code}: {self.public_message}"


class TransactionOpen(RuntimeError):
    """A request was started while the caller's database transaction is open: a bug of the caller.

    The transaction would hold its locks for as long as a stranger's server likes.
    """


def blocked(reason: str) -> EgressError:
    """Return the refusal of an address: one constant message, whatever the reason."""
    return EgressError("blocked_address", BLOCKED_MESSAGE, reason)
