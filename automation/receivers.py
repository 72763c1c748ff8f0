"""Reactions to lower apps' news: every fact becomes an event row, in the fact's own transaction."""

from typing import Any

from django.dispatch import receiver

from automation import services
from workflows.signals import execution_events


@receiver(execution_events, dispatch_uid="automation.store_execution_events")
def store_execution_events(*, events: list[dict[str, Any]], **kwargs: Any) -> None:
    """Store what happened to executions (contract 10)."""
    for event in events:
        services.append_event(
            stream_id=f"workflow_execution-{event['execution_id']}",
            event_type=event["event_type"],
            owner_id=event["owner_id"],
            correlation_id=event["correlation_id"],
            data={
                "workflow_id": event["workflow_id"],
                "execution_id": event["execution_id"],
                **event["data"],
            },
        )
