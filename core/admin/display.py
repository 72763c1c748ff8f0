"""How the admin writes moments, durations, sizes, JSON and states."""

import json
from datetime import UTC, datetime
from typing import Any

from django.utils.html import format_html

LONGEST_SHOWN = 100_000
NOTHING = "-"
_SECOND_MS = 1000
_MINUTE_SECONDS = 60
_HOUR_SECONDS = 3600
_KIBI = 1024

# What a status looks like everywhere; the word is always there too (no information by colour alone).
STATUS_COLOURS = {
    "completed": "success",
    "processed": "success",
    "active": "success",
    "enabled": "success",
    "valid": "success",
    "matched": "success",
    "published": "success",
    "draft": "warning",
    "running": "info",
    "processing": "info",
    "waiting": "warning",
    "timeout": "danger",
    "failed": "danger",
    "revoked": "danger",
    "expired": "warning",
    "paused": "warning",
}


def label(status: str, text: str = "") -> str:
    """Return a status as a coloured label."""
    colour = STATUS_COLOURS.get(status, "neutral")
    return format_html('<span class="status status-{}">{}</span>', colour, text or status)


def moment_text(moment: datetime | None) -> str:
    """Return a moment to the second, in UTC."""
    if moment is None:
        return NOTHING
    in_utc = moment.astimezone(UTC)
    return format_html('<time datetime="{}">{}</time>', in_utc.isoformat(), f"{in_utc:%Y-%m-%d %H:%M:%S}")


def duration_text(milliseconds: int | None) -> str:
    """Return a duration in the unit that people would choose."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < _SECOND_MS:
        return f"{milliseconds} ms"
    seconds = milliseconds / _SECOND_MS
    if seconds < _MINUTE_SECONDS:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < _HOUR_SECONDS:
        return f"{whole // _MINUTE_SECONDS} min {whole % _MINUTE_SECONDS} s"
    return f"{whole // _HOUR_SECONDS} h {whole % _HOUR_SECONDS // _MINUTE_SECONDS} min"


def size_text(size_bytes: int) -> str:
    """Return a number of bytes with a binary unit."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < _KIBI:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIBI
    return f"{size:.1f} GiB"


def pretty_json(value: Any, *, longest: int = LONGEST_SHOWN) -> str:
    """Return JSON on indented lines, cut where a page would become too heavy."""
    return cut_text(json.dumps(value, indent=2, ensure_ascii=False, default=str), longest=longest)


def cut_text(text: str, *, longest: int = LONGEST_SHOWN) -> str:
    """Return the first 100,000 characters of a text, or so many as are asked for, and say so if there are more."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n… {len(text) - longest:,} more characters are not shown here"
