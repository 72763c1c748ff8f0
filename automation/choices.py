"""Which types of events are known (contract 8 and 10); others are taken if their name has a dot."""

import re

KNOWN_EVENT_TYPES = frozenset(
    {
        *("user.registered", "user.authenticated", "user.profile_updated", "user.created", "user.updated"),
        *("airtable.base_connected", "airtable.schema_updated", "airtable.data_synced", "airtable.webhook_received"),
        *("file.uploaded", "file.processed", "file.content_extracted"),
        *("workflow.started", "workflow.step_completed", "workflow.step_failed"),
        *("workflow.completed", "workflow.failed"),
        *("ai.conversation_started", "ai.message_processed", "ai.response_generated"),
        *("system.service_started", "system.health_check", "system.error_occurred"),
        *("saga.started", "saga.step_started", "saga.step_completed", "saga.step_failed"),
        *("saga.completed", "saga.failed", "saga.compensating", "saga.compensated"),
        *("command.issued", "command.completed", "command.failed", "compensation.command"),
        *("notification.sent", "notification.failed", "automation.triggered"),
        *("data.created", "data.updated", "data.deleted"),
    }
)
_BY_UNDERSCORES = {name.replace(".", "_"): name for name in KNOWN_EVENT_TYPES}
_CUSTOM = re.compile(r"[A-Za-z][\w-]*(\.[\w-]+)+", re.ASCII)


def canonical_event_type(name: str) -> str | None:
    """Return a type as the event store spells it (`workflow_completed` -> `workflow.completed`), None if unknown."""
    if name in KNOWN_EVENT_TYPES:
        return name
    return _BY_UNDERSCORES.get(name) or (name if _CUSTOM.fullmatch(name) else None)
