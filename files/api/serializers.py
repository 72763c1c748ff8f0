"""The contract's JSON of files (section 4)."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from files.choices import FileStatus
from files.models import File
from files.selectors import LIST_TEXT_CHARACTERS, find_text, list_output_ids
from files.text_search import marked


class UploadRequestSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(help_text="The document, with its name.")


class UploadSerializer(serializers.Serializer[File]):
    id = serializers.IntegerField()
    filename = serializers.CharField(help_text="The stored name.")
    message = serializers.SerializerMethodField()
    status = serializers.ChoiceField(choices=FileStatus.choices)
    original_filename = serializers.CharField()
    file_size = serializers.IntegerField()
    mime_type = serializers.CharField()

    def get_message(self, file: File) -> str:
        return "File uploaded successfully"


class UploadManyRequestSerializer(serializers.Serializer[Any]):
    files = serializers.ListField(child=serializers.FileField(), help_text="The documents, with their names.")


class UploadErrorSerializer(serializers.Serializer[Any]):
    filename = serializers.CharField(help_text="As the client gave it.")
    error = serializers.CharField()


class UploadManySerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    files = UploadSerializer(many=True)
    errors = UploadErrorSerializer(many=True)  # type: ignore[assignment]  # the contract's name


class MadeBySerializer(serializers.Serializer[Any]):
    """What made a file; outside workflows only the action is known."""

    action = serializers.CharField(help_text="convert, optimize, resize or ocr_extract.")
    execution_id = serializers.IntegerField(allow_null=True)
    step = serializers.CharField(allow_null=True, help_text="The step's path.")
    workflow_version_id = serializers.IntegerField(allow_null=True, help_text="The id of the workflow's version.")


class FileSerializer(serializers.Serializer[File]):
    """One file with its whole text."""

    id = serializers.IntegerField()
    filename = serializers.CharField(help_text="The stored name.")
    original_filename = serializers.CharField()
    mime_type = serializers.CharField()
    file_size = serializers.IntegerField()
    file_hash = serializers.CharField()
    status = serializers.ChoiceField(choices=FileStatus.choices)
    extracted_content = serializers.SerializerMethodField()
    metadata = serializers.JSONField(source="extraction_metadata")
    error_code = serializers.SerializerMethodField()
    error_message = serializers.SerializerMethodField()
    retry_count = serializers.IntegerField()
    triggered_workflows = serializers.ListField(child=serializers.IntegerField())
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    processed_at = serializers.DateTimeField(allow_null=True)
    source_file_id = serializers.IntegerField(allow_null=True, help_text="The file that this one was made from.")
    made_by = serializers.SerializerMethodField()
    output_file_ids = serializers.SerializerMethodField()

    @extend_schema_field(MadeBySerializer(allow_null=True))
    def get_made_by(self, file: File) -> dict[str, Any] | None:
        if not file.made_by_action:
            return None
        return {
            "action": file.made_by_action,
            "execution_id": file.made_by_execution_id,
            "step": file.made_by_step or None,
            "workflow_version_id": file.made_by_version_id,
        }

    def get_output_file_ids(self, file: File) -> list[int]:
        return list_output_ids(file)

    def get_extracted_content(self, file: File) -> str | None:
        return find_text(file)

    def get_error_code(self, file: File) -> str | None:
        return file.error_code or None

    def get_error_message(self, file: File) -> str | None:
        return file.error_message or None


class FileListItemSerializer(FileSerializer):
    """One file of a list: its text is cut (`selectors.list_files` reads no more of it)."""

    extracted_content_truncated = serializers.SerializerMethodField()
    # Of one file only: here they would be read file by file.
    output_file_ids = None  # type: ignore[assignment]  # so Django REST framework takes fields away

    def get_extracted_content(self, file: File) -> str | None:
        preview = _preview(file)
        return None if preview is None else preview[:LIST_TEXT_CHARACTERS]

    def get_extracted_content_truncated(self, file: File) -> bool:
        return len(_preview(file) or "") > LIST_TEXT_CHARACTERS


class FoundFileSerializer(FileListItemSerializer):
    """One file of a list that was searched."""

    search_headline = serializers.SerializerMethodField(
        help_text="With `search`: where it stands in the text's first 10,000 characters; HTML, hits in <mark>."
    )

    def get_search_headline(self, file: File) -> str | None:
        return marked(getattr(file, "headline", None))


def _preview(file: File) -> str | None:
    preview: str | None = getattr(file, "preview", None)
    return preview


class ProcessRequestSerializer(serializers.Serializer[Any]):
    extract_content = serializers.BooleanField(default=True)
    trigger_workflows = serializers.BooleanField(default=None, allow_null=True, help_text="Default: true once.")
    force = serializers.BooleanField(default=False, help_text="Process again what is processed.")


class FileMessageSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    file_id = serializers.IntegerField()


class ExtractSerializer(serializers.Serializer[Any]):
    file_id = serializers.IntegerField()
    content = serializers.CharField(allow_null=True)
    metadata = serializers.JSONField()


class DownloadUrlSerializer(serializers.Serializer[Any]):
    url = serializers.URLField(help_text="Gives the bytes without a key.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class StatusBreakdownSerializer(serializers.Serializer[Any]):
    uploaded = serializers.IntegerField()
    processing = serializers.IntegerField()
    processed = serializers.IntegerField()
    failed = serializers.IntegerField()
    deleted = serializers.IntegerField()


class StatisticsSerializer(serializers.Serializer[Any]):
    total_files = serializers.IntegerField()
    status_breakdown = StatusBreakdownSerializer()
    total_size_bytes = serializers.IntegerField()
    recent_uploads_24h = serializers.IntegerField()
    quota_bytes = serializers.IntegerField(allow_null=True, help_text="Of the caller's owner; null: no bound.")
    quota_used_bytes = serializers.IntegerField(help_text="By the caller's owner's files.")


class SummarySerializer(serializers.Serializer[Any]):
    statistics = StatisticsSerializer()
