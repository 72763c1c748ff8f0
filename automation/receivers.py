"""Reactions to lower apps' news: every fact becomes an event row, in the fact's own transaction; waits are served."""

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from automation import services
from workflows.signals import event_wait_began, event_wait_ending, execution_events, swept


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


@receiver(event_wait_began, dispatch_uid="automation.look_back")
def look_back(*, wait_id: int, **kwargs: Any) -> None:
    """Look through the events before a wait once it is committed; should that fail, the sweep does it again."""
    transaction.on_commit(partial(services.look_back, wait_id=wait_id), robust=True)


@receiver(event_wait_ending, dispatch_uid="automation.look_a_last_time")
def look_a_last_time(*, wait_id: int, **kwargs: Any) -> None:
    """Look for what was stored before a wait's deadline and has not come to it."""
    services.look_back(wait_id=wait_id, is_ending=True)


@receiver(swept, dispatch_uid="automation.sweep_events")
def sweep_events(**kwargs: Any) -> None:
    """Sweep the event store with everything else."""
    services.sweep_events()


@receiver(swept, dispatch_uid="automation.prune_events")
def prune_events(**kwargs: Any) -> None:
    """Keep the event store as long as it is to be kept."""
    services.prune_events()
