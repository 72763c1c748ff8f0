"""Every write of a file's status: conditional updates that say whether they took place.

The row is the queue (ENGINE section 1). Due is `uploaded`, and `processing` whose lease has ended or was released.
A claim adds 1 to `fence`; what is written afterwards names fence and claimant, so a stale worker changes nothing.
Leases compare with PostgreSQL's clock, never with `core.clock`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.expressions import Combinable

from core import clock
from core.db import DatabaseNow
from files.choices import FileStatus
from files.models import File

# Nobody works on these, or will by itself.
ENDED = (FileStatus.PROCESSED, FileStatus.FAILED)


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one file: the file as claimed, and what proves the hold."""

    file: File
    fence: int
    claimed_by: str


def due() -> Q:
    """Return the condition of files whose extraction nobody is doing."""
    unheld = Q(lease_until__isnull=True) | Q(lease_until__lt=DatabaseNow())
    return Q(status=FileStatus.UPLOADED) | (Q(status=FileStatus.PROCESSING) & unheld)


def claim_next(claimed_by: str, *, file_id: int | None = None) -> Claim | None:
    """Claim the oldest due file (or this one, if it is due); None when there is none.

    A file that begins counts a new processing; one taken over from a dead worker counts a recovery instead.
    """
    wanted = File.objects.filter(due()) if file_id is None else File.objects.filter(due(), pk=file_id)
    with transaction.atomic():
        row = wanted.order_by("pk").select_for_update(skip_locked=True).values("pk").first()
        if row is None:
            return None
        begins = Q(status=FileStatus.UPLOADED)
        File.objects.filter(pk=row["pk"]).update(
            processing_number=Case(When(begins, then=F("processing_number") + 1), default=F("processing_number")),
            recoveries=Case(When(begins, then=Value(0)), default=F("recoveries") + 1),
            status=FileStatus.PROCESSING,
            fence=F("fence") + 1,
            claimed_by=claimed_by,
            lease_until=_lease_end(),
            updated_at=clock.now(),
        )
        file = File.objects.select_related("owner").get(pk=row["pk"])
    return Claim(file=file, fence=file.fence, claimed_by=claimed_by)


def renew(claim: Claim) -> bool:
    """Lengthen the lease; False when the file is no longer this worker's."""
    return bool(_held(claim).update(lease_until=_lease_end()))


def complete(claim: Claim, *, extraction_metadata: dict[str, Any]) -> bool:
    """processing -> processed, for the holder of the claim only."""
    now = clock.now()
    return bool(
        _held(claim).update(
            status=FileStatus.PROCESSED,
            extraction_metadata=extraction_metadata,
            error_code="",
            error_message="",
            processed_at=now,
            updated_at=now,
            **_RELEASED,
        )
    )


def fail(claim: Claim, *, error_code: str, error_message: str) -> bool:
    """processing -> failed, for the holder of the claim only; counts towards the three tries of the contract."""
    return bool(
        _held(claim).update(
            status=FileStatus.FAILED,
            error_code=error_code,
            error_message=error_message,
            retry_count=F("retry_count") + 1,
            updated_at=clock.now(),
            **_RELEASED,
        )
    )


def requeue(file: File, *, extract_content: bool, run_triggers: bool) -> bool:
    """uploaded, failed or processed -> uploaded; False when the status has changed since `file` was read."""
    return bool(
        File.objects.filter(pk=file.pk, status=file.status, fence=file.fence).update(
            status=FileStatus.UPLOADED,
            extract_content=extract_content,
            run_triggers=run_triggers,
            error_code="",
            error_message="",
            updated_at=clock.now(),
            **_RELEASED,
        )
    )


def requeue_ended(file_ids: Sequence[int], *, run_triggers: bool) -> list[str]:
    """processed or failed -> uploaded, with three tries anew; others stay. Returns the hashes of those that changed.

    In the caller's transaction, which holds their rows. Files that were made of others start nothing, as when they
    were made.
    """
    ended = File.objects.filter(pk__in=file_ids, status__in=ENDED).order_by("pk")
    found = dict(ended.select_for_update().values_list("pk", "file_hash"))
    File.objects.filter(pk__in=found).update(
        status=FileStatus.UPLOADED,
        extract_content=True,
        run_triggers=Case(When(made_by_action="", then=Value(run_triggers)), default=Value(False)),
        error_code="",
        error_message="",
        retry_count=0,
        updated_at=clock.now(),
        **_RELEASED,
    )
    return list(found.values())


def delete(file: File, *, error_code: str) -> bool:
    """Any status -> deleted, with a code that says what is left to do; a worker that holds the file loses it."""
    now = clock.now()
    live = File.objects.filter(pk=file.pk).exclude(status=FileStatus.DELETED)
    return bool(
        live.update(
            status=FileStatus.DELETED,
            error_code=error_code,
            error_message="",
            deleted_at=now,
            updated_at=now,
            **_RELEASED,
        )
    )


def release(claim: Claim) -> bool:
    """Give a file back that was not to blame: due again at once, and the next claim counts no recovery."""
    return bool(_held(claim).update(recoveries=F("recoveries") - 1, **_RELEASED))


def postpone(claim: Claim, *, seconds: float) -> bool:
    """Give a file back as `release` does, but due only after a while."""
    until = DatabaseNow() + Value(timedelta(seconds=seconds))
    return bool(_held(claim).update(recoveries=F("recoveries") - 1, claimed_by="", lease_until=until))


def release_expired() -> int:
    """Take files from workers whose lease has ended; they stay `processing` and are due again."""
    expired = File.objects.filter(status=FileStatus.PROCESSING, lease_until__lt=DatabaseNow())
    return expired.update(**_RELEASED)


_RELEASED: dict[str, Any] = {"lease_until": None, "claimed_by": ""}


def _held(claim: Claim) -> Any:
    return File.objects.filter(
        pk=claim.file.pk, status=FileStatus.PROCESSING, fence=claim.fence, claimed_by=claim.claimed_by
    )


def _lease_end() -> Combinable:
    return DatabaseNow() + Value(timedelta(seconds=settings.LEASE_SECONDS))
