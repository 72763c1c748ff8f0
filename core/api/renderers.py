"""JSON as old clients expect it: no spaces, UTF-8 as it is, times in UTC with `Z` (contract section 1)."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from django.utils.encoding import force_str
from django.utils.functional import Promise
from rest_framework.renderers import BaseRenderer
from rest_framework.utils.encoders import JSONEncoder

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


class ContractJSONRenderer(BaseRenderer):
    """Renders compact JSON by orjson; what orjson refuses (integers beyond 64 bits) by the standard library."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return b"" if data is None else dumps(data)


def dumps(data: Any) -> bytes:
    """Return compact UTF-8 JSON; NaN and infinities become null."""
    try:
        return orjson.dumps(data, default=_plain, option=_OPTIONS)
    except orjson.JSONEncodeError:
        return json.dumps(data, cls=JSONEncoder, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Promise | Decimal):
        return force_str(value)
    return JSONEncoder().default(value)
