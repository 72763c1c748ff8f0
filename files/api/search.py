"""The list of files: filters and the full-text search of its query."""

from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as fields
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import principal_of
from core.api.pagination import bare_array, paginate
from core.api.views import ContractView
from core.errors import InvalidInput, Problem
from files import selectors
from files.api.serializers import FileListItemSerializer, FoundFileSerializer
from files.text_search import LONGEST_SEARCH

NEWEST, RANK = "newest", "rank"
_PAGE = [OpenApiParameter("limit", int), OpenApiParameter("offset", int)]


class FileFilterSerializer(fields.Serializer[Any]):
    """What narrows a set of files; all of it together."""

    search = fields.CharField(
        required=False,
        max_length=LONGEST_SEARCH,
        help_text='Words of the text, or parts of the name: words, "a phrase", -not, or.',
    )
    extension = fields.CharField(required=False, max_length=32)
    created_after = fields.DateTimeField(required=False, help_text="Inclusive.")
    created_before = fields.DateTimeField(required=False, help_text="Exclusive.")


class ListQuerySerializer(FileFilterSerializer):
    """The query of the list, but for its page."""

    status = fields.CharField(
        required=False, help_text="uploaded, processing, processed or failed; another is ignored."
    )
    mime_type = fields.CharField(required=False, max_length=255)
    order = fields.ChoiceField(
        choices=[NEWEST, RANK],
        default=NEWEST,
        help_text=f"rank: the {selectors.MOST_RANKED} newest matches, best first.",
    )


class FileListView(ContractView):
    """`/files`."""

    @extend_schema(parameters=[ListQuerySerializer, *_PAGE], responses=FoundFileSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List files, newest first; `X-Total-Count` counts them all."""
        query = _read(request)
        by_rank = query.pop("order") == RANK
        wanted = selectors.FileFilter(**query)
        page = paginate(selectors.list_files(principal_of(request), wanted, by_rank=by_rank), request)
        serializer = FoundFileSerializer if wanted.search else FileListItemSerializer
        return bare_array(serializer(cast("Any", page.items), many=True).data, page)


def _read(request: Request) -> dict[str, Any]:
    """Return the query's filters; empty ones count as not given. Raises: InvalidInput that names the parameter."""
    names = map(str, ListQuerySerializer().fields)
    given = {name: request.query_params[name] for name in names if request.query_params.get(name, "").strip()}
    query = ListQuerySerializer(data=given)
    try:
        query.is_valid(raise_exception=True)
    except ValidationError as error:
        problems = [
            Problem(("query", name), message, message.code)
            for name, messages in cast("dict[str, Any]", error.detail).items()
            for message in messages
        ]
        detail = "; ".join(f"{problem.loc[-1]}: {problem.msg}" for problem in problems)
        raise InvalidInput(detail, problems=problems) from error
    return query.validated_data  # type: ignore[no-any-return]
