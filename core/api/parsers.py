"""JSON bodies within bounds: size, depth, and only what the database can hold."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from core.errors import InvalidInput, Problem

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_Path = tuple[str | int, ...]


class BoundedJSONParser(BaseParser):
    """Reads at most MAX_JSON_BODY_BYTES, at most MAX_JSON_DEPTH levels deep; a blank body is `{}`.

    Refuses what JSON does not know (NaN, Infinity, lone surrogates) and U+0000, which PostgreSQL
    cannot hold. Raises: InvalidInput.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        _refuse_announced_size(parser_context or {})
        raw: bytes = stream.read(settings.MAX_JSON_BODY_BYTES + 1)
        if len(raw) > settings.MAX_JSON_BODY_BYTES:
            raise _too_large()
        return loads(raw)


def loads(raw: bytes) -> Any:
    """Parse one JSON document within the bounds of depth and characters. Raises: InvalidInput."""
    raw = raw.removeprefix(_BYTE_ORDER_MARK)
    if not raw.strip():
        return {}
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _malformed(raw, error) from error
    # Counting brackets is cheaper still, and nearly every body is this shallow.
    if raw.count(b"[") + raw.count(b"{") > settings.MAX_JSON_DEPTH and _is_deep(raw):
        raise _too_deep(_deep_field(value))
    if b"\\u0000" in raw:
        _refuse_nul(value)
    return value


def optional_object(request: Request) -> dict[str, Any]:
    """Return the request's JSON object; an absent body and `null` are `{}`. Raises: InvalidInput."""
    data = request.data
    if data is None or (isinstance(data, Mapping) and not data):
        return {}
    if not isinstance(data, dict):
        raise _refusal("The body must be a JSON object", kind="object_type")
    return data


def _refuse_announced_size(parser_context: Mapping[str, Any]) -> None:
    """Refuse by Content-Length, before a byte of the body is read."""
    request = parser_context.get("request")
    announced = str(request.META.get("CONTENT_LENGTH") or "") if request is not None else ""
    if announced.isascii() and announced.isdigit() and int(announced) > settings.MAX_JSON_BODY_BYTES:
        raise _too_large()


def _malformed(raw: bytes, error: orjson.JSONDecodeError) -> InvalidInput:
    if "ecursion" in error.msg:
        return _too_deep(())
    detail = f"Malformed JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    return _refusal(detail, kind="json_invalid")


def _is_deep(raw: bytes) -> bool:
    """Take away the innermost brackets of a well-formed document, level by level, until the bound or nothing is left.

    A walk over what was parsed takes a hundred times as long where it holds millions of lists.
    """
    brackets = _TEXTS.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(settings.MAX_JSON_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _deep_field(value: Any) -> _Path:
    """Return the field of the body in which it is nested too deep."""
    for key, child in _containers(value):
        open_levels = [_containers(child)]
        while open_levels:
            inner = next(open_levels[-1], None)
            if inner is None:
                open_levels.pop()
            elif len(open_levels) + 1 >= settings.MAX_JSON_DEPTH:
                return (key,)
            else:
                open_levels.append(_containers(inner[1]))
    return ()


def _containers(item: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    children: Iterable[tuple[str | int, Any]] = item.items() if isinstance(item, dict) else enumerate(item)
    return (pair for pair in children if isinstance(pair[1], dict | list))


def _refuse_nul(value: Any) -> None:
    for path, item in _walk(value):
        if (isinstance(item, str) and "\x00" in item) or (path and "\x00" in str(path[-1])):
            name = ".".join(map(str, path)).replace("\x00", "\\u0000") or "body"
            raise _refusal(f"{name}: the character U+0000 is not allowed", loc=path, kind="string_nul")


def _walk(value: Any) -> Iterator[tuple[_Path, Any]]:
    """Yield every value with its path, without recursion."""
    pending: list[tuple[_Path, Any]] = [((), value)]
    while pending:
        path, item = pending.pop()
        yield path, item
        if isinstance(item, dict):
            pending.extend(((*path, key), child) for key, child in item.items())
        elif isinstance(item, list):
            pending.extend(((*path, index), child) for index, child in enumerate(item))


def _too_deep(path: _Path) -> InvalidInput:
    first = str(path[0]) if path else "body"
    detail = f"{first}: nested deeper than {settings.MAX_JSON_DEPTH} levels"
    return _refusal(detail, loc=path[:1], kind="json_depth")


def _too_large() -> InvalidInput:
    return _refusal(f"The body is too large. Maximum size: {settings.MAX_JSON_BODY_BYTES} bytes", kind="body_too_large")


def _refusal(detail: str, *, kind: str, loc: _Path = ()) -> InvalidInput:
    clean = tuple(part.replace("\x00", "\\u0000") if isinstance(part, str) else part for part in loc)
    return InvalidInput(detail, problems=[Problem(("body", *clean), detail, kind)])
