"""News of workflows, sent inside the transaction that makes it true."""

from django.dispatch import Signal

# events: list of {"event_type", "execution_id", "workflow_id", "owner_id", "correlation_id", "data"} (plain values).
execution_events = Signal()

# wait_id: int, of an EventWait that this transaction makes: events may have come before it can be seen.
event_wait_began = Signal()

# wait_id: int, of an EventWait whose deadline has come: what was stored until then still counts. Not in a transaction.
event_wait_ending = Signal()

# Nothing: beat has swept; whoever keeps a queue of rows sweeps it too. Not in a transaction.
swept = Signal()
