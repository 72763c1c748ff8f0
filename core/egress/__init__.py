"""The one door for every outgoing HTTP request (design: WEBHOOKS.md section 3)."""

from core.egress.client import MAX_BODY_BYTES, Response, refuse_open_transaction, request, request_async
from core.egress.errors import BLOCKED_MESSAGE, CODES, EgressError, TransactionOpen
from core.egress.loop import run

__all__ = [
    "BLOCKED_MESSAGE",
    "CODES",
    "MAX_BODY_BYTES",
    "EgressError",
    "Response",
    "TransactionOpen",
    "refuse_open_transaction",
    "request",
    "request_async",
    "run",
]
