"""How much the files of one owner may take: the owner's own figure, else FILE_QUOTA, else any amount."""

from django.conf import settings
from django.db.models import Sum

from accounts.models import Owner
from files.choices import FileStatus
from files.errors import FileQuotaExceeded
from files.models import File

UPLOADED = ("body", "file")


def quota_bytes(owner: Owner) -> int | None:
    """Return an owner's quota as it is now; None is no bound."""
    # Asked anew: an `Owner` at hand may be as old as its process.
    return _or_default(Owner.objects.values_list("file_quota_bytes", flat=True).get(pk=owner.pk))


def used_bytes(owner_id: int) -> int:
    """Return what an owner's live files take; equal bytes count for each file that has them."""
    # The condition is the index's, so that no row of the table is read.
    live = File.objects.filter(owner_id=owner_id).exclude(status=FileStatus.DELETED)
    return int(live.order_by().aggregate(total=Sum("file_size"))["total"] or 0)


def check(owner: Owner, *, more_bytes: int, field: tuple[str, str] = UPLOADED) -> None:
    """Refuse bytes over the quota, in the transaction that inserts them; `field` is where the caller named them.

    Where there is a quota, others who add files of this owner wait until the transaction ends: two at once never
    exceed it. Raises: FileQuotaExceeded.
    """
    if quota_bytes(owner) is None:
        return
    # Not `FOR UPDATE`: that would wait for every insertion that refers to the owner.
    locked = Owner.objects.select_for_update(no_key=True).values_list("file_quota_bytes", flat=True)
    _refuse_over(owner, _or_default(locked.get(pk=owner.pk)), more_bytes, field)


def quota_use(owner: Owner) -> dict[str, int | None]:
    """Return {quota_bytes, quota_used_bytes}; the first is None where there is no bound."""
    return {"quota_bytes": quota_bytes(owner), "quota_used_bytes": used_bytes(owner.pk)}


def refuse_early(owner: Owner, *, more_bytes: int) -> bool:
    """Refuse what does not fit now, before any of it is read or stored; only `check` holds against others.

    Returns whether there is a quota. Raises: FileQuotaExceeded.
    """
    quota = quota_bytes(owner)
    _refuse_over(owner, quota, more_bytes, UPLOADED)
    return quota is not None


def _or_default(own_bytes: int | None) -> int | None:
    default: int | None = settings.FILE_QUOTA_BYTES
    return default if own_bytes is None else own_bytes


def _refuse_over(owner: Owner, quota: int | None, more_bytes: int, field: tuple[str, str]) -> None:
    if quota is None:
        return
    used = used_bytes(owner.pk)
    if used + more_bytes > quota:
        raise FileQuotaExceeded(used_bytes=used, quota_bytes=quota, more_bytes=more_bytes, field=field)
