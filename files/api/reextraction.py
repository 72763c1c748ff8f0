"""Extracting files again, many at once: list what a filter means, then do it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import principal_of
from core.api.views import ContractView
from files import services
from files.api.search import FileFilterSerializer
from files.choices import FileStatus
from files.selectors import FileFilter

MOST_IDS = 10_000
_LARGEST_ID = 2**63 - 1


class ReextractionFilterSerializer(FileFilterSerializer):
    """Which files; an empty filter means all that the caller may see."""

    status = serializers.ChoiceField(
        choices=[status for status in FileStatus.choices if status[0] != FileStatus.DELETED], required=False
    )
    error_code = serializers.CharField(required=False, max_length=64)
    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=_LARGEST_ID), required=False, max_length=MOST_IDS
    )
    after_id = serializers.IntegerField(
        required=False, min_value=0, max_value=_LARGEST_ID, help_text="`continue_after` of the call before."
    )

    def to_internal_value(self, data: Any) -> Any:
        """Refuse names that are none of the filter's: with one left out, all files would be meant."""
        unknown = sorted(set(data) - set(map(str, self.fields))) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(dict.fromkeys(unknown, "No such filter"))
        return super().to_internal_value(data)


class ReextractionSerializer(serializers.Serializer[None]):
    """A filter, and whether it is only looked at."""

    # Required, so that all files are meant only where somebody says so: {}.
    filter = ReextractionFilterSerializer()
    dry_run = serializers.BooleanField(default=True, help_text="Only tell what would be extracted again.")
    trigger_workflows = serializers.BooleanField(
        default=False, help_text="Whether the files start workflows once more when they are processed."
    )


class ListedFileSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    original_filename = serializers.CharField()
    status = serializers.ChoiceField(choices=FileStatus.choices)
    error_code = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    def get_error_code(self, file: Any) -> str | None:
        return file.error_code or None


class ReextractionOutSerializer(serializers.Serializer[Any]):
    dry_run = serializers.BooleanField()
    count = serializers.IntegerField(help_text="Files that would be queued; without `dry_run` those that are.")
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_extension = serializers.DictField(child=serializers.IntegerField())
    skipped = serializers.DictField(
        child=serializers.IntegerField(), help_text="Files of the filter that are in work or in the queue anyhow."
    )
    files = ListedFileSerializer(many=True, help_text="The first 20 as they were, oldest first.")
    continue_after = serializers.IntegerField(
        allow_null=True, help_text="Set where more are meant than one call takes: the next filter's `after_id`."
    )


class ReextractionView(ContractView):
    """`/api/v1/files/reextractions`."""

    @extend_schema(request=ReextractionSerializer, responses=ReextractionOutSerializer)
    def post(self, request: Request) -> Response:
        """List what a filter means, then extract it again."""
        caller = principal_of(request)
        given = ReextractionSerializer(data=request.data or {})
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        wanted = _filter(asked["filter"])
        plan = services.plan_reextraction(caller, wanted)
        count = plan.count
        if not asked["dry_run"]:
            count = services.reextract_files(
                caller, wanted, actor=caller.actor, plan=plan, trigger_workflows=asked["trigger_workflows"]
            )
        shown = vars(plan) | {"dry_run": asked["dry_run"], "count": count}
        return Response(ReextractionOutSerializer(shown).data)


def _filter(given: dict[str, Any]) -> FileFilter:
    ids = given.get("ids")
    return FileFilter(**(given | {"ids": None if ids is None else tuple(ids)}))
