"""What a message that was not delivered answers."""

from typing import ClassVar

from core.errors import InvalidInput

_RETRYABLE = {
    "smtp_dns": True,
    "smtp_refused": True,
    "smtp_timeout": True,
    "smtp_disconnected": True,
    "smtp_tls": True,
    "smtp_certificate": False,
    "smtp_not_supported": False,
    "smtp_auth_failed": False,
    "smtp_server_refused": False,
    "smtp_sender_refused": False,
    "smtp_recipient_refused": False,
    "smtp_message_refused": False,
}


class InvalidMessage(InvalidInput):
    """The message cannot be sent as it is: no recipient, a bad address, a line break in a header."""


class DeliveryFailed(Exception):
    """The mail server did not take the message.

    `code` is one of `CODES`; the last five are refusals in words of the server and are temporary where its reply
    was 4xx. `message` may be shown to a tenant: it names no host. `retryable` says whether the same message may be
    taken later. `effect_happened` is False where it is certain that nobody got it, None where the connection was
    lost while the server had the content and its verdict did not arrive.
    """

    CODES: ClassVar[frozenset[str]] = frozenset(_RETRYABLE)

    def __init__(
        self, code: str, message: str, *, retryable: bool | None = None, effect_happened: bool | None = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = _RETRYABLE[code] if retryable is None else retryable
        self.effect_happened = effect_happened
