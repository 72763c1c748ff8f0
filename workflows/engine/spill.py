"""Outputs that are too large for their row: kept in the storage, read when a path into them is (ENGINE 8).

The bytes are written before the checkpoint that names them, outside of its transaction. A checkpoint that never
comes leaves bytes that nobody names; `sweep_spills` removes them.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

import orjson
from django.conf import settings
from django.db.models import Exists, OuterRef

from core import clock, ids, logs
from core.expressions import ExpressionError
from files import stored_bytes
from files.errors import StorageUnavailable
from workflows.engine.steps.base import StepError
from workflows.models import Spill, StepAttempt

if TYPE_CHECKING:
    from workflows.engine.step_rows import Attempt

log = logs.get(__name__)

FOLDER = "spill"
# Longer than any checkpoint or re-run takes from reading or writing the bytes to committing who names them.
SETTLED_AFTER = timedelta(hours=1)
# After the storage did not answer.
STORAGE_PAUSE = timedelta(minutes=5)


class Spilled(Mapping[str, Any]):
    """An output in the storage, as expressions see it. Raises ExpressionError `output_missing` when it is gone."""

    def __init__(self, spill_id: int) -> None:
        self.spill_id = spill_id

    @cached_property
    def value(self) -> dict[str, Any]:
        """Return the whole output."""
        found = read_all([self.spill_id]).get(self.spill_id)
        if found is None:
            raise ExpressionError("the output is not in the storage any more", code="output_missing")
        return found

    def __getitem__(self, key: str) -> Any:
        return self.value[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)


def output_of(data: dict[str, Any] | None, spill_id: int | None) -> Mapping[str, Any] | None:
    """Return an attempt's output from its two columns, lazily where it is in the storage."""
    return data if spill_id is None else Spilled(spill_id)


def refuse_too_large(data: Any) -> None:
    """Raise StepError `output_too_large` for what is over MAX_STEP_OUTPUT."""
    size = len(as_json(data))
    if size > settings.MAX_STEP_OUTPUT_BYTES:
        message = f"the step's output has {size} bytes of JSON; at most {settings.MAX_STEP_OUTPUT_BYTES} are allowed"
        raise StepError("output_too_large", message, retryable=False)


def put_aside(attempts: list["Attempt"]) -> list["Attempt"]:
    """Write large outputs to the storage and return the attempts as their rows are to hold them.

    Should the storage refuse, the row keeps the output: that costs speed, not data.
    """
    return [_stored_form(attempt) for attempt in attempts]


def read_all(spill_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return outputs by id, without those that are gone; one statement, and one read of the storage each."""
    rows = Spill.objects.filter(pk__in=list(spill_ids)).values_list("pk", "path", "sha256")
    found = {key: _read(path, sha256) for key, path, sha256 in rows}
    return {key: value for key, value in found.items() if value is not None}


def release(spill_ids: Iterable[int]) -> None:
    """Let the sweep look again at outputs whose attempts are being deleted, in the caller's transaction."""
    Spill.objects.filter(pk__in=list(spill_ids)).update(check_at=clock.now() + SETTLED_AFTER)


def sweep_spills(*, limit: int = 200, budget_seconds: float = 0.5) -> int:
    """Remove outputs that no attempt names, up to `limit` and for about `budget_seconds`. Returns how many.

    While the storage does not answer they stay, and are looked at again later.
    """
    ends_at = time.monotonic() + budget_seconds
    named = Exists(StepAttempt.objects.filter(spill_id=OuterRef("pk")))
    due = Spill.objects.filter(check_at__lte=clock.now()).annotate(is_named=named).order_by("check_at")[:limit]
    checked = list(due)
    gone = [spill for spill in checked if not spill.is_named]
    Spill.objects.filter(pk__in=[spill.pk for spill in checked if spill.is_named]).update(check_at=None)
    removed = []
    try:
        for spill in gone:
            stored_bytes.remove(spill.path)
            removed.append(spill.pk)
            if time.monotonic() >= ends_at:
                break
    except StorageUnavailable as error:
        log.warning("spill.kept", reason=error.reason, outputs=len(gone) - len(removed))
        left = [spill.pk for spill in gone if spill.pk not in removed]
        Spill.objects.filter(pk__in=left).update(check_at=clock.now() + STORAGE_PAUSE)
    Spill.objects.filter(pk__in=removed).delete()
    return len(removed)


def as_json(value: Any) -> bytes:
    """Return the JSON of an output; outputs in the storage within it are read."""
    return orjson.dumps(value, default=_whole)


def _stored_form(attempt: "Attempt") -> "Attempt":
    output = attempt.output_data
    if output is None:
        return attempt
    if isinstance(output, Spilled):
        return replace(attempt, output_data=None, spill_id=output.spill_id)
    data = as_json(output)
    if len(data) <= settings.SPILL_OUTPUT_BYTES:
        return attempt
    spill_id = _write(data)
    if spill_id is None:
        return replace(attempt, output_data=orjson.loads(data))
    return replace(attempt, output_data=None, spill_id=spill_id)


def _write(data: bytes) -> int | None:
    path = f"{FOLDER}/{ids.uuid7()}.json"
    spill = Spill.objects.create(
        path=path,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        check_at=clock.now() + SETTLED_AFTER,
    )
    try:
        stored_bytes.store(BytesIO(data), name=path, size_bytes=len(data))
    except Exception:  # each storage has errors of its own
        log.exception("spill.refused", path=path, effect="the output stays in its row")
        return None
    return spill.pk


def _read(path: str, sha256: str) -> dict[str, Any] | None:
    try:
        with stored_bytes.reading(path) as stream:
            data = stream.read()
    except FileNotFoundError:
        log.warning("spill.missing", path=path)
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        log.warning("spill.damaged", path=path)
        return None
    found: dict[str, Any] = orjson.loads(data)
    return found


def _whole(value: Any) -> Any:
    if isinstance(value, Spilled):
        return value.value
    raise TypeError
