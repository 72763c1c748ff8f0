"""New files out of one, over HTTP: convert, make smaller, resize. The answer comes when the file is made."""

from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import principal_of
from core.api.views import ContractView
from core.errors import InvalidInput, Problem
from files import services
from files.api.views import file_of
from files.filetypes import extension_of
from files.makers.base import QUALITIES, RESOLUTIONS, SIDES, USUAL_QUALITY, USUAL_RESOLUTION

_LONGEST_OPTION = 500


class ConvertRequestSerializer(serializers.Serializer[Any]):
    """What to convert into; `sheet` is for workbooks, `pages` and `dpi` for pictures of PDF pages."""

    target_format = serializers.CharField(max_length=40, help_text="csv, xlsx, json, txt, png, jpg, pdf, ...")
    sheet = serializers.CharField(
        default="", allow_blank=True, max_length=_LONGEST_OPTION, help_text="A sheet's name, or its number from 1."
    )
    pages = serializers.CharField(default="", allow_blank=True, max_length=_LONGEST_OPTION, help_text="1-3,5")
    dpi = serializers.IntegerField(default=USUAL_RESOLUTION, min_value=RESOLUTIONS[0], max_value=RESOLUTIONS[1])


class OptimizeRequestSerializer(serializers.Serializer[Any]):
    quality = serializers.IntegerField(default=USUAL_QUALITY, min_value=QUALITIES[0], max_value=QUALITIES[1])


class ResizeRequestSerializer(serializers.Serializer[Any]):
    width = serializers.IntegerField(min_value=SIDES[0], max_value=SIDES[1])
    height = serializers.IntegerField(min_value=SIDES[0], max_value=SIDES[1])
    keep_ratio = serializers.BooleanField(default=False, help_text="Fit into width and height without distortion.")


class _MadeSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    file_id = serializers.IntegerField(help_text="The source.")
    output_file_id = serializers.IntegerField(help_text="The file made; the first of several.")


class ConvertSerializer(_MadeSerializer):
    format = serializers.CharField()
    output_file_ids = serializers.ListField(child=serializers.IntegerField())


class OptimizeSerializer(_MadeSerializer):
    original_size = serializers.IntegerField(help_text="Bytes.")
    optimized_size = serializers.IntegerField(help_text="Bytes; never more than before.")


class ResizeSerializer(_MadeSerializer):
    width = serializers.IntegerField()
    height = serializers.IntegerField()


class ConvertView(ContractView):
    """`/files/{id}/convert`."""

    @extend_schema(
        parameters=[OpenApiParameter("target_format", str, required=False)],
        request=ConvertRequestSerializer,
        responses=ConvertSerializer,
    )
    def post(self, request: Request, key: str) -> Response:
        """Make the file's content anew in another format."""
        file = file_of(request, key)
        options = _options(request, ConvertRequestSerializer)
        made = services.convert_file(file, act=_act(request), **options)
        body = {
            "message": "File converted successfully",
            "file_id": file.pk,
            "output_file_id": made[0].pk,
            "format": extension_of(made[0].filename),
            "output_file_ids": [output.pk for output in made],
        }
        return Response(ConvertSerializer(body).data)


class OptimizeView(ContractView):
    """`/files/{id}/optimize-image`; PDFs too."""

    @extend_schema(request=OptimizeRequestSerializer, responses=OptimizeSerializer)
    def post(self, request: Request, key: str) -> Response:
        """Make a picture or a PDF smaller; what does not become smaller is given with the bytes it has."""
        file = file_of(request, key)
        made = services.optimize_file(file, act=_act(request), **_options(request, OptimizeRequestSerializer))
        unchanged = made.file_hash == file.file_hash
        body = {
            "message": "File is as small as it gets: unchanged" if unchanged else "File optimized successfully",
            "file_id": file.pk,
            "output_file_id": made.pk,
            "original_size": file.file_size,
            "optimized_size": made.file_size,
        }
        return Response(OptimizeSerializer(body).data)


class ResizeView(ContractView):
    """`/files/{id}/resize-image`."""

    @extend_schema(request=ResizeRequestSerializer, responses=ResizeSerializer)
    def post(self, request: Request, key: str) -> Response:
        """Make a picture of another size; `width` and `height` are what it has then."""
        file = file_of(request, key)
        made = services.resize_image(file, act=_act(request), **_options(request, ResizeRequestSerializer))
        body = {
            "message": "Image resized successfully",
            "file_id": file.pk,
            "output_file_id": made.pk,
            "width": made.extraction_metadata["image_width"],
            "height": made.extraction_metadata["image_height"],
        }
        return Response(ResizeSerializer(body).data)


def _options(request: Request, serializer: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Return the options from the query and the body; the body wins."""
    body = request.data or {}
    if not isinstance(body, dict):
        raise InvalidInput("The body must be an object", problems=[Problem(("body",), "must be an object")])
    options = serializer(data=request.query_params.dict() | dict(body))
    options.is_valid(raise_exception=True)
    return cast("dict[str, Any]", options.validated_data)


def _act(request: Request) -> services.Act:
    return services.Act(actor=principal_of(request).actor, correlation_id=getattr(request, "correlation_id", ""))
