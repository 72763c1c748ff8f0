"""The contract's JSON of files (section 4)."""

from typing import Any

from rest_framework import serializers

from files.choices import FileStatus
from files.models import File
from files.selectors import LIST_TEXT_CHARACTERS, find_text


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

    def get_extracted_content(self, file: File) -> str | None:
        return find_text(file)

    def get_error_code(self, file: File) -> str | None:
        return file.error_code or None

    def get_error_message(self, file: File) -> str | None:
        return file.error_message or None


class FileListItemSerializer(FileSerializer):
    """One file of a list: its text is cut (`selectors.list_files` reads no more of it)."""

    extracted_content_truncated = serializers.SerializerMethodField()

    def get_extracted_content(self, file: File) -> str | None:
        preview = _preview(file)
        return None if preview is None else preview[:LIST_TEXT_CHARACTERS]

    def get_extracted_content_truncated(self, file: File) -> bool:
        return len(_preview(file) or "") > LIST_TEXT_CHARACTERS


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


class SummarySerializer(serializers.Serializer[Any]):
    statistics = StatisticsSerializer()
