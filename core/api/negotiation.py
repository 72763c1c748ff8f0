"""Content negotiation that never turns an old client away."""

from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class ContractNegotiation(DefaultContentNegotiation):
    """JSON for an `Accept` nobody can serve, and for a body without a `Content-Type`: as the old services did."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> Any:
        if not request.content_type:
            return next((parser for parser in parsers if parser.media_type == "application/json"), None)
        return super().select_parser(request, parsers)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        offered = list(renderers)
        try:
            chosen: tuple[BaseRenderer, str] = super().select_renderer(request, offered, format_suffix)
        except NotAcceptable:
            return offered[0], str(offered[0].media_type)
        return chosen
