"""Masks secrets in values that are stored, shown or logged."""

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

MASK = "***"
SHORTEST_NEEDLE = 6


def needles_of(secrets: Sequence[str]) -> tuple[list[str], frozenset[str]]:
    """Return what to look for inside texts (plain, base64, URL-encoded), and the whole values to match.

    Shorter secrets than 6 characters are masked only where they are the whole text: inside texts they would
    mask half a document.
    """
    parts: set[str] = set()
    for secret in secrets:
        if len(secret) >= SHORTEST_NEEDLE:
            encoded = base64.b64encode(secret.encode()).decode()
            parts |= {secret, encoded, encoded.rstrip("="), quote(secret, safe=""), quote(secret)}
    return sorted(parts, key=len, reverse=True), frozenset(secrets)


def mask(value: Any, needles: tuple[list[str], frozenset[str]]) -> Any:
    """Return `value` with every needle replaced by `***`, at any depth."""
    parts, whole = needles
    if not whole:
        return value
    if isinstance(value, str):
        return _mask_text(value, parts, whole)
    if isinstance(value, dict):
        return {mask(key, needles): mask(item, needles) for key, item in value.items()}
    if isinstance(value, list):
        return [mask(item, needles) for item in value]
    return value


def _mask_text(text: str, parts: list[str], whole: frozenset[str]) -> str:
    if text in whole:
        return MASK
    for part in parts:
        if part in text:
            text = text.replace(part, MASK)
    return text
