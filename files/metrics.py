"""Files in `/metrics` (contract section 12)."""

import threading
import time

from django.db.models import Max, Sum
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from core import metrics
from files.choices import FileStatus
from files.models import File

# Adding up all files reads the whole table, so it is done once in a while per web process.
STORAGE_KEPT_SECONDS = 60.0

uploaded_total = Counter("automation_files_uploaded_total", "Files taken in, by extension.", ("type",))
processed_seconds = Histogram(
    "automation_files_processed_duration_seconds",
    "Time to process a file, failures included.",
    buckets=metrics.DURATION_BUCKETS,
)
successes_total = Counter("automation_services_file_processing_success_total", "Files processed.")
errors_total = Counter(
    "automation_services_file_processing_errors_total", "Files whose processing failed.", ("failure_reason",)
)
metrics.also_named("automation_services_file_uploads", source="automation_files_uploaded", labels=("type",))

for _reason in metrics.FAILURE_REASONS:
    errors_total.labels(_reason)

_lock = threading.Lock()
_storage_bytes = 0
_storage_read_at: float | None = None


def count_upload(extension: str) -> None:
    """Count a file that is taken in; call after commit. `extension` is one of the allowed."""
    uploaded_total.labels(extension).inc()


def count_processed(seconds: float) -> None:
    """Count a processed file; call after commit."""
    successes_total.inc()
    processed_seconds.observe(seconds)


def count_failed(error_code: str, seconds: float) -> None:
    """Count a file whose processing failed; call after commit."""
    errors_total.labels(metrics.failure_reason(error_code)).inc()
    processed_seconds.observe(seconds)


def gauges() -> list[Metric]:
    """Return how many files wait or are being processed, and the bytes stored."""
    queued = File.objects.filter(status__in=(FileStatus.UPLOADED, FileStatus.PROCESSING)).order_by().count()
    stored = storage_bytes()
    return [
        GaugeMetricFamily("automation_services_file_queue_depth", "Files waiting or in work.", value=queued),
        GaugeMetricFamily("automation_services_file_storage_usage_bytes", "Bytes of stored files.", value=stored),
        GaugeMetricFamily("automation_file_storage_bytes_total", "Bytes of stored files.", value=stored),
    ]


def storage_bytes() -> int:
    """Return the bytes of all live files, equal ones once; at most STORAGE_KEPT_SECONDS old."""
    global _storage_bytes, _storage_read_at
    with _lock:
        now = time.monotonic()
        if _storage_read_at is None or now - _storage_read_at >= STORAGE_KEPT_SECONDS:
            live = File.objects.exclude(status=FileStatus.DELETED).order_by()
            distinct = live.values("file_hash", "file_path").annotate(size=Max("file_size"))
            _storage_bytes = distinct.aggregate(total=Sum("size"))["total"] or 0
            _storage_read_at = now
        return int(_storage_bytes)


def forget() -> None:
    """Add the bytes up anew at the next scrape."""
    global _storage_read_at
    with _lock:
        _storage_read_at = None
