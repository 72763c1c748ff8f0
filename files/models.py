"""Uploaded and produced files. The row is the extraction's queue: `uploaded` is due."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from accounts.models import Owner
from core import clock, ids
from files.choices import FileStatus


class File(models.Model):
    """One uploaded or produced file and the state of its extraction.

    Lineage: a produced file names its source file and, where a workflow made it, execution, step and version. They
    are numbers and a path, not foreign keys: this app knows nothing of workflows, and executions are pruned.
    """

    uuid = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="files", db_index=False)
    filename = models.CharField(max_length=255, help_text="The stored name: <sha256>.<extension>.")
    original_filename = models.CharField(max_length=255)
    file_path = models.CharField(max_length=1024, help_text="The name in the storage.")
    mime_type = models.CharField(max_length=255)
    file_size = models.BigIntegerField(help_text="Bytes.")
    file_hash = models.CharField(max_length=64, help_text="SHA-256, hexadecimal.")
    status = models.CharField(max_length=16, choices=FileStatus, default=FileStatus.UPLOADED)
    extraction_metadata = models.JSONField(default=dict)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    retry_count = models.IntegerField(default=0)
    triggered_workflows = models.JSONField(default=list, help_text="Ids of the workflows that this file started.")
    uploaded_by = models.CharField(max_length=255, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    # How often extraction has begun; a re-extraction is a new processing, and triggers are unique per it.
    processing_number = models.IntegerField(default=0)
    run_triggers = models.BooleanField(default=True, help_text="Whether the next processing starts workflows.")
    extract_content = models.BooleanField(default=True, help_text="Whether the next processing extracts text.")
    idempotency_key = models.CharField(max_length=255, blank=True, help_text="The client's, for its upload.")
    source_file = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="outputs", db_index=False, help_text="Made from it."
    )
    made_by_action = models.CharField(max_length=32, blank=True, help_text="convert, optimize, resize, ...")
    made_by_execution_id = models.BigIntegerField(null=True)
    made_by_step = models.CharField(max_length=512, blank=True, help_text="The step's path.")
    made_by_version_id = models.BigIntegerField(null=True, help_text="The workflow version's id.")
    # One act makes its files once, however often it is repeated after a crash.
    made_key = models.CharField(max_length=255, blank=True, help_text="The act and the number of its output.")
    lease_until = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    claimed_by = models.CharField(max_length=64, blank=True)
    recoveries = models.IntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now)
    processed_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "files"
        ordering = ("-id",)
        indexes = (
            # Reader: the extraction's claim and sweep.
            models.Index(fields=("id",), name="files_due", condition=models.Q(status__in=("uploaded", "processing"))),
            # Reader: lists of one owner, newest first, with and without a status.
            models.Index(fields=("owner", "-id"), name="files_by_owner"),
            models.Index(fields=("owner", "status", "-id"), name="files_by_owner_status"),
            # Reader: deletion, which keeps bytes that another row shares; the memory of poison files.
            models.Index(fields=("file_hash",), name="files_by_hash"),
            # Reader: the files that were made from a file.
            models.Index(
                fields=("source_file",), name="files_by_source", condition=models.Q(source_file__isnull=False)
            ),
            # Reader: the quota, which sums an owner's sizes without reading its rows.
            models.Index(
                fields=("owner",),
                include=("file_size",),
                name="files_sizes_by_owner",
                condition=~models.Q(status="deleted"),
            ),
            # Reader: the sweep, which removes bytes that a deletion could not.
            models.Index(
                fields=("id",),
                name="files_bytes_left",
                condition=models.Q(status="deleted", error_code="bytes_left"),
            ),
            # Reader: retention, which removes the oldest.
            models.Index(fields=("created_at",), name="files_by_age", condition=~models.Q(status="deleted")),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("owner", "idempotency_key"),
                condition=~models.Q(idempotency_key=""),
                name="files_one_upload_per_key",
            ),
            models.UniqueConstraint(
                fields=("owner", "made_key"), condition=~models.Q(made_key=""), name="files_made_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.original_filename} (#{self.pk})"


class FileContent(models.Model):
    """The extracted text, apart from `files` so that lists never read it (contract: `extracted_content`)."""

    file = models.OneToOneField(File, primary_key=True, on_delete=models.CASCADE, related_name="content")
    text = models.TextField()
    tables = models.JSONField(default=list, help_text="Tables found: [{name, rows: [[cell text]]}].")
    search = SearchVectorField(null=True)

    class Meta:
        db_table = "file_contents"
        # Reader: the full-text search.
        indexes = (GinIndex(fields=("search",), name="file_contents_search"),)

    def __str__(self) -> str:
        return f"text of file {self.pk}"


class PoisonFile(models.Model):
    """The SHA-256 of a file that killed its extraction child: not tried again by itself."""

    file_hash = models.CharField(max_length=64, primary_key=True)
    error_code = models.CharField(max_length=64)
    error_message = models.TextField()
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "poison_files"

    def __str__(self) -> str:
        return self.file_hash
