"""Reactions to lower apps' news; each makes one service call."""

from typing import Any

from django.dispatch import receiver

from files.signals import file_processed, files_expiring
from workflows import file_use, services, transitions
from workflows.choices import ExecutionStatus
from workflows.signals import execution_events

STOPPED = frozenset({ExecutionStatus.CANCELLED, ExecutionStatus.TIMEOUT})


@receiver(file_processed, dispatch_uid="workflows.evaluate_processed_file")
def evaluate_processed_file(
    *,
    owner_id: int,
    processing_number: int,
    correlation_id: str,
    run_triggers: bool,
    facts: dict[str, Any],
    **kwargs: Any,
) -> None:
    """Hold a processed file against its owner's workflows."""
    if run_triggers:
        services.request_evaluation(
            owner_id=owner_id, processing_number=processing_number, correlation_id=correlation_id, facts=facts
        )


@receiver(execution_events, dispatch_uid="workflows.end_waits")
def end_waits(*, events: list[dict[str, Any]], **kwargs: Any) -> None:
    """End what stopped executions waited for; others end only after all their waits."""
    for event in events:
        if event["data"].get("status") in STOPPED:
            transitions.cancel_waits(event["execution_id"])


@receiver(files_expiring, dispatch_uid="workflows.keep_files_in_use")
def keep_files_in_use(*, file_ids: list[int], **kwargs: Any) -> set[int]:
    """Keep the files of live executions from retention."""
    return file_use.find_files_in_use(file_ids)
