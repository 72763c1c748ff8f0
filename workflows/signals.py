"""News of workflows, sent inside the transaction that makes it true."""

from django.dispatch import Signal

# events: list of {"event_type", "execution_id", "workflow_id", "owner_id", "correlation_id", "data"} (plain values).
execution_events = Signal()
