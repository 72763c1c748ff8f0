"""Extraction over the row queue: claim, extract outside any transaction, finish in one."""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import Error, connection, transaction

from accounts import services as accounts
from core import clock, faults, logs
from files import answers, enqueue, metrics, sandbox, signals, stored_bytes, transitions
from files.choices import FileStatus
from files.errors import FileBusy, FileExtractionFailed, FileNotProcessable, StorageUnavailable
from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.filetypes import extension_of
from files.models import File, PoisonFile
from files.selectors import get_owned_file
from files.services import contents
from files.services.deletion import sweep_left_bytes
from files.transitions import Claim

DRAIN_SECONDS = 5.0
MAX_RETRIES = 3
MAX_RECOVERIES = 5
LONGEST_PAUSE_SECONDS = 60.0
log = logs.get(__name__)


class _Outages:
    """How long a file waits that the storage does not give: each failure in a row doubles it."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def pause_seconds(self) -> float:
        """Count one more failure and return how long its file waits."""
        self._in_a_row += 1
        longer: float = settings.RETRY_BASE_SECONDS * 2 ** min(self._in_a_row, 30)
        return min(longer, LONGEST_PAUSE_SECONDS)

    def over(self) -> None:
        """The storage gives again."""
        self._in_a_row = 0


_outages = _Outages()


def process_file(
    file: File,
    *,
    actor: str = "",
    force: bool = False,
    extract_content: bool = True,
    trigger_workflows: bool | None = None,
) -> None:
    """Ask for the processing of a file: `uploaded`, `failed` fewer than three times, or by force `processed`.

    Triggers run unless the file was processed before or was made of another; then only if `trigger_workflows` is True.
    `actor` stands in the audit trail. Raises: FileNotProcessable.
    """
    again = force and file.status == FileStatus.PROCESSED
    retried = file.status == FileStatus.FAILED and file.retry_count < MAX_RETRIES
    if not (again or retried or file.status == FileStatus.UPLOADED):
        raise _not_processable(file.status)
    begins = file.processed_at is None and not file.made_by_action
    run_triggers = begins if trigger_workflows is None else trigger_workflows
    with transaction.atomic():
        if not transitions.requeue(file, extract_content=extract_content, run_triggers=run_triggers):
            raise _not_processable(File.objects.values_list("status", flat=True).get(pk=file.pk))
        # Somebody asks for this file by hand, so its bytes get another chance.
        PoisonFile.objects.filter(file_hash=file.file_hash).delete()
        accounts.record_audit(
            actor=actor,
            owner=file.owner,
            action="file.process_requested",
            target=file,
            before={"status": file.status},
            after={"extract_content": extract_content, "run_triggers": run_triggers},
        )
        enqueue.extraction()


def extract_due_files(*, budget_seconds: float = DRAIN_SECONDS) -> bool:
    """Extract due files until none is left or the time is up; True when work is left."""
    deadline = time.monotonic() + budget_seconds
    while claim := transitions.claim_next(_worker_name()):
        _extract(claim)
        if time.monotonic() >= deadline:
            return File.objects.filter(transitions.due()).exists()
    return False


def sweep_files() -> int:
    """Release files of dead workers, ring if any are due, and return how many are (at most 1,000).

    Half-written uploads of killed processes go too: last, so that no trouble with the storage holds up files.
    """
    transitions.release_expired()
    due = File.objects.filter(transitions.due()).order_by()[:1000].count()
    if due:
        enqueue.extraction()
    stored_bytes.remove_abandoned()
    sweep_left_bytes()
    return due


def ensure_extracted(file_id: int, *, owner_id: int) -> File:
    """Return a processed file with its text as `content`, extracting now if that has not been done.

    Raises: FileNotFound; FileBusy while another worker extracts it (come again); FileExtractionFailed.
    """
    file = get_owned_file(file_id, owner_id=owner_id)
    if file.status == FileStatus.PROCESSED and not contents.exists(file):
        transitions.requeue(file, extract_content=True, run_triggers=False)
    elif file.status == FileStatus.UPLOADED and not file.extract_content:
        transitions.requeue(file, extract_content=True, run_triggers=file.run_triggers)
    claim = transitions.claim_next(_worker_name(), file_id=file.pk)
    if claim is not None:
        _extract(claim)
    return _extracted(file_id, owner_id)


def record_triggered_workflows(file_id: int, workflow_ids: Sequence[int]) -> None:
    """Note the workflows that a file has started, each once, in the order of their start."""
    with transaction.atomic():
        file = File.objects.select_for_update().only("triggered_workflows").filter(pk=file_id).first()
        if file is None:
            return
        merged = list(dict.fromkeys([*file.triggered_workflows, *workflow_ids]))
        File.objects.filter(pk=file_id).update(triggered_workflows=merged, updated_at=clock.now())


def _extracted(file_id: int, owner_id: int) -> File:
    file = get_owned_file(file_id, owner_id=owner_id)
    if file.status == FileStatus.FAILED:
        raise FileExtractionFailed(file.error_message, code=file.error_code)
    # Read now: a deletion may take the text away before the caller looks at it.
    content = contents.find(file)
    if file.status != FileStatus.PROCESSED or content is None:
        raise FileBusy("The file is being extracted by another worker")
    file.content = content
    return file


def _extract(claim: Claim) -> None:
    """Extract one claimed file and write what came of it; nothing when the claim is lost meanwhile."""
    faults.point("extract_started")
    started = time.monotonic()
    with logs.bound(file_id=claim.file.pk, correlation_id=claim.file.correlation_id):
        try:
            extraction = _result(claim) if claim.file.extract_content else None
        except sandbox.Abandoned:
            log.warning("file.lease_lost")
        except ExtractionFailed as failure:
            _fail(claim, failure, seconds=time.monotonic() - started)
        except StorageUnavailable as outage:
            # Not the file's fault either, but at once it would be the same: it stays due, after a pause.
            pause_seconds = _outages.pause_seconds()
            transitions.postpone(claim, seconds=pause_seconds)
            log.warning("file.postponed", reason=outage.reason, pause_seconds=pause_seconds)
        except BaseException:
            # A step's deadline or the worker's own end: not the file's fault, so nobody shall wait for the lease.
            _give_back(claim)
            raise
        else:
            seconds = time.monotonic() - started
            _finish(claim, extraction, seconds=seconds)
            log.info("file.extracted", seconds=round(seconds, 3))


def _give_back(claim: Claim) -> None:
    try:
        transitions.release(claim)
    except Error as error:
        # The deadline may have struck in the middle of a statement; then the lease's end frees the file.
        log.warning("file.not_released", error=str(error))


def _result(claim: Claim) -> Extraction:
    file = claim.file
    if file.recoveries > MAX_RECOVERIES:
        message = f"The worker died {MAX_RECOVERIES} times over this file"
        raise ExtractionFailed("extract_crashed", message)
    poison = PoisonFile.objects.filter(file_hash=file.file_hash).first()
    if poison is not None:
        raise ExtractionFailed(poison.error_code, poison.error_message)
    try:
        with _opened(claim) as descriptor:
            _outages.over()
            return sandbox.run_extraction(
                descriptor,
                extension_of(file.filename),
                extraction_limits(),
                heartbeat=lambda: transitions.renew(claim),
                heartbeat_seconds=settings.LEASE_SECONDS / 3,
                warm=settings.EXTRACT_WARM_SERVER,
            )
    except FileNotFoundError as error:
        raise ExtractionFailed("bytes_missing", "The stored bytes of this file are missing") from error


@contextmanager
def _opened(claim: Claim) -> Iterator[int]:
    """Open the file's bytes, and hold the claim for as long as a slow or silent storage takes to give them."""
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(claim, over), name="file-lease-keeper", daemon=True)
    with ExitStack() as stack:
        keeper.start()
        try:
            descriptor = stack.enter_context(stored_bytes.opened(claim.file.file_path))
        finally:
            over.set()
            keeper.join()
        yield descriptor


def _keep(claim: Claim, over: threading.Event) -> None:
    try:
        while not over.wait(settings.LEASE_SECONDS / 3) and transitions.renew(claim):
            # Few files take so long: no connection is kept for them.
            connection.close()
    except Error as error:
        # Then the lease may end; the fence keeps what another worker writes.
        log.warning("file.not_renewed", error=str(error))
    finally:
        connection.close()


def extraction_limits(ocr_language: str | None = None) -> Limits:
    """Return the limits that the settings say, with another language for pictures if one is given."""
    return Limits(
        memory_bytes=settings.EXTRACT_MEMORY_BYTES,
        cpu_seconds=settings.EXTRACT_CPU_SECONDS,
        wall_seconds=settings.EXTRACT_WALL_SECONDS,
        pdf_table_pages=settings.PDF_TABLE_PAGES,
        ocr_pages=settings.PDF_OCR_PAGES,
        ocr_language=ocr_language or settings.OCR_LANGUAGE,
    )


def _finish(claim: Claim, extraction: Extraction | None, *, seconds: float) -> None:
    """Write status, text and news in one transaction, if the claim still holds."""
    file = claim.file
    metadata = file.extraction_metadata if extraction is None else contents.metadata_of(file, extraction)
    with transaction.atomic():
        if not transitions.complete(claim, extraction_metadata=metadata):
            log.warning("file.stale_result")
            return
        if extraction is not None:
            contents.write(file, extraction)
        faults.point("extract_before_commit")
        signals.file_processed.send(
            sender=File,
            file_id=file.pk,
            owner_id=file.owner_id,
            processing_number=file.processing_number,
            correlation_id=file.correlation_id,
            run_triggers=file.run_triggers,
            facts=trigger_facts(file),
        )
        transaction.on_commit(partial(metrics.count_processed, seconds))
    faults.point("extract_after_commit")


def _fail(claim: Claim, failure: ExtractionFailed, *, seconds: float) -> None:
    with transaction.atomic():
        if not transitions.fail(claim, error_code=failure.code, error_message=failure.message):
            log.warning("file.stale_result")
            return
        if isinstance(failure, answers.ChildDied):
            _remember_poison(claim.file.file_hash, failure)
        transaction.on_commit(partial(metrics.count_failed, failure.code, seconds))
    log.warning("file.extraction_failed", code=failure.code, error=failure.message)


def _remember_poison(file_hash: str, failure: ExtractionFailed) -> None:
    poison = PoisonFile(file_hash=file_hash, error_code=failure.code, error_message=failure.message)
    PoisonFile.objects.bulk_create([poison], ignore_conflicts=True)


def trigger_facts(file: File) -> dict[str, Any]:
    """Return the contract's trigger_data of a file trigger (13.6)."""
    return {
        "file_id": file.pk,
        "filename": file.filename,
        "file_extension": extension_of(file.filename),
        "original_filename": file.original_filename,
        "file_size": file.file_size,
        "mime_type": file.mime_type,
    }


def _not_processable(status: str) -> FileNotProcessable:
    return FileNotProcessable(f"File cannot be processed (status: {status})")


def _worker_name() -> str:
    """Return a name that no other claim bears."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{uuid4().hex[:12]}"
