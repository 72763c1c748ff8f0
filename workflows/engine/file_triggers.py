"""The file triggers of dialect C: what `trigger_config.triggers` may hold, and which files each takes (contract 13.6).

Read when a workflow is saved, and again at every file: what is stored may be older than today's rules.
"""

from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, Problem

FILE_TRIGGERS = frozenset({"file_upload", "file_processed"})


@dataclass(frozen=True)
class FileTrigger:
    """Conditions that a file has to meet, all of them; what is empty or None asks for nothing.

    `extensions` are joined by commas, as the column `trigger_file_extensions` holds them.
    """

    extensions: str
    mime_types: list[str]
    largest_bytes: float | None

    def reason_against(self, facts: dict[str, Any]) -> str:
        """Return why a file is not taken, as a sentence: extension, size or MIME type; empty if it is."""
        if reason := reason_against_extension(self.extensions, facts):
            return reason
        if self.largest_bytes is not None and facts.get("file_size", 0) > self.largest_bytes:
            return f"the file has {facts['file_size']} bytes, more than {self.largest_bytes}"
        if self.mime_types and facts.get("mime_type") not in self.mime_types:
            return f"the type {facts.get('mime_type')!r} is not one of {', '.join(self.mime_types)}"
        return ""


def read_triggers(triggers: Any, *place: str) -> list[FileTrigger]:
    """Return the file triggers of a list of triggers; those of other types are left out.

    `place` is where a request's body has the list. Raises InvalidInput for the first item that cannot be read.
    """
    try:
        return [_file_trigger(item) for item in _checked(triggers) if item.get("type") in FILE_TRIGGERS]
    except _Unreadable as error:
        message = f"Invalid workflow: {'.'.join(place)}: {error}"
        raise InvalidInput(message, problems=[Problem(("body", *place), str(error), error.kind)]) from error


def reason_against_extension(wanted: str | None, facts: dict[str, Any]) -> str:
    """Return why a file's extension is none of those in a text, as a sentence; empty if it is, or the text is."""
    allowed = extensions_of(wanted)
    extension = str(facts.get("file_extension", "")).lower().lstrip(".")
    if not allowed or extension in allowed:
        return ""
    return f"the extension {extension!r} is not one of {', '.join(sorted(allowed))}"


def extensions_of(text: str | None) -> set[str]:
    """Return the items of `trigger_file_extensions`: trimmed, lower case, without a leading dot; empty means all."""
    return {item.strip().lower().lstrip(".") for item in (text or "").split(",") if item.strip().strip(".")}


class _Unreadable(ValueError):
    """A sentence, and the kind of problem by pydantic's names."""

    def __init__(self, sentence: str, kind: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def _checked(triggers: Any) -> list[dict[str, Any]]:
    """Return the triggers if they are objects whose type is text."""
    if not isinstance(triggers, list):
        raise _Unreadable("must be a list", "list_type")
    for index, trigger in enumerate(triggers):
        if not isinstance(trigger, dict):
            raise _Unreadable(f"item {index} must be an object", "dict_type")
        if not isinstance(trigger.get("type"), str | None):
            raise _Unreadable(f"the type of item {index} must be text", "string_type")
    return triggers


def _file_trigger(trigger: dict[str, Any]) -> FileTrigger:
    largest = trigger.get("max_file_size")
    if largest is not None and (isinstance(largest, bool) or not isinstance(largest, int | float)):
        raise _Unreadable("max_file_size must be a number of bytes", "float_type")
    return FileTrigger(
        extensions=",".join(item.strip().lstrip(".") for item in _texts(trigger, "file_extensions")),
        mime_types=[item.strip() for item in _texts(trigger, "mime_types")],
        largest_bytes=largest,
    )


def _texts(trigger: dict[str, Any], name: str) -> list[str]:
    """Return a list of texts, which may also be given as one text with commas."""
    given = trigger.get(name) or []
    items = given.split(",") if isinstance(given, str) else given
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _Unreadable(f"{name} must be a list of texts", "list_type")
    return items
