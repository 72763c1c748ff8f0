"""Extracting many files again by a filter: what it would do first, then in batches."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import CharField, Count, Func, QuerySet, Value

from accounts import services as accounts
from accounts.principal import Principal
from core import logs
from files import enqueue, transitions
from files.models import File, PoisonFile
from files.selectors import FileFilter, find_files

BATCH = 500
# One call queues so many at most; `Plan.continue_after` leads to the others.
MOST_AT_ONCE = 100_000
MOST_LISTED = 20
log = logs.get(__name__)


@dataclass(frozen=True)
class Plan:
    """What a filter means. `skipped` counts by status what is being processed, or waits for it, anyhow.

    `files` are the first MOST_LISTED, oldest first. Where more than MOST_AT_ONCE are meant, `continue_after` is the
    last id that one call comes to: the next one takes it as the filter's `after_id`.
    """

    count: int
    by_status: dict[str, int]
    by_extension: dict[str, int]
    skipped: dict[str, int]
    files: list[File] = field(default_factory=list)
    continue_after: int | None = None


def plan_reextraction(principal: Principal, wanted: FileFilter) -> Plan:
    """Tell what `reextract_files` would do with this filter, and change nothing: the dry run."""
    files = find_files(principal, wanted)
    extension = Func("filename", Value(r"\.([^.]+)$"), function="SUBSTRING", output_field=CharField())
    by_status: Counter[str] = Counter()
    by_extension: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for status, kind, number in files.values_list("status", extension).annotate(number=Count("pk")):
        if status not in transitions.ENDED:
            skipped[status] += number
            continue
        by_status[status] += number
        by_extension[kind or ""] += number
    count = by_status.total()
    ended = _ended(files)
    last = None
    if count > MOST_AT_ONCE:
        # A slice, because files may have gone since they were counted.
        last = next(iter(ended.values_list("pk", flat=True)[MOST_AT_ONCE - 1 : MOST_AT_ONCE]), None)
    return Plan(
        count=count,
        by_status=dict(sorted(by_status.items())),
        by_extension=dict(by_extension.most_common()),
        skipped=dict(sorted(skipped.items())),
        files=list(ended[:MOST_LISTED]),
        continue_after=last,
    )


def reextract_files(
    principal: Principal, wanted: FileFilter, *, actor: str, plan: Plan, trigger_workflows: bool = False
) -> int:
    """Queue the files of a plan anew: their present text stays until the new one is there. Returns how many.

    Asked by hand, so that the tries of failed files begin anew and bytes that killed an extraction get another
    chance. What has begun to be processed since the plan was made is left alone. One audit entry tells of the act.
    """
    if not plan.count:
        return 0
    accounts.record_audit(
        actor=actor,
        owner=principal.owner,
        action="file.reextraction_requested",
        object_type=File._meta.label_lower,
        object_id="many",
        before={"count": plan.count, "by_status": plan.by_status},
        after={"filter": _audited(wanted), "trigger_workflows": trigger_workflows},
    )
    queued = 0
    for batch in _batches(principal, wanted, last=plan.continue_after):
        with transaction.atomic():
            hashes = transitions.requeue_ended(batch, run_triggers=trigger_workflows)
            PoisonFile.objects.filter(file_hash__in=hashes).delete()
            enqueue.extraction()
        queued += len(hashes)
    log.info("files.queued_again", count=queued)
    return queued


def _ended(files: QuerySet[File]) -> QuerySet[File]:
    return files.filter(status__in=transitions.ENDED).order_by("pk")


def _batches(principal: Principal, wanted: FileFilter, *, last: int | None) -> Iterator[list[int]]:
    """Yield the ids, oldest first. Files leave the filter as they are queued, hence by the last id seen."""
    files = _ended(find_files(principal, wanted)).values_list("pk", flat=True)
    if last is not None:
        files = files.filter(pk__lte=last)
    batch = list(files[:BATCH])
    while batch:
        yield batch
        batch = list(files.filter(pk__gt=batch[-1])[:BATCH])


def _audited(wanted: FileFilter) -> dict[str, Any]:
    """Return what the filter names, as plain JSON values; of many ids the first ones and their number."""
    given = {name: value for name, value in vars(wanted).items() if value or name == "ids"}
    ids = given.pop("ids")
    if ids is not None:
        given |= {"ids": list(ids[:MOST_LISTED]), "number_of_ids": len(ids)}
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in given.items()}
