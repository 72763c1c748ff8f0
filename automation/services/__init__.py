"""What can be done with events. Receivers, views and tasks translate to these calls."""

from automation.services.dispatch import dispatch_events, look_back, sweep_events
from automation.services.retention import prune_events
from automation.services.store import append_event, publish_event

__all__ = ["append_event", "dispatch_events", "look_back", "prune_events", "publish_event", "sweep_events"]
