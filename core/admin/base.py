"""The base class of all our admin pages: it routes every write to a service, or refuses it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, ValidationError
from django.db import DataError
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect

from core.admin.forms import ServiceForm
from core.admin.paginator import CappedPaginator
from core.admin.panels import Panel, added_panels
from core.errors import DomainError

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList as UnfoldChangeList

    UnfoldModelAdmin = ModelAdmin[Any]
else:
    from unfold.admin import ModelAdmin as UnfoldModelAdmin
    from unfold.views import ChangeList as UnfoldChangeList

LARGEST_ID = 2**63 - 1
LONGEST_ID = len(str(LARGEST_ID))


class NoService(ImproperlyConfigured):
    """An admin page tried to write rows that no service writes."""


@dataclass(frozen=True)
class Button:
    """An action on a detail page. Pressing it POSTs to the admin's method `press_<name>`.

    With `is_link` it leads to the admin's page of that name instead. `confirm` is asked first, and says what
    will be lost.
    """

    name: str
    text: str
    icon: str = ""
    variant: str = "default"
    confirm: str = ""
    is_link: bool = False


class List(UnfoldChangeList):
    """A list that offers "Show all" only where a filter or a search hides something, and sorts by what it offers."""

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return the column to sort by, or None: Django would sort by any column that an address names."""
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class ServiceModelAdmin(UnfoldModelAdmin):
    """Lists and details, read-only unless the class says which service creates, updates or deletes.

    A subclass overrides `create_object`, `update_object`, `delete_object`; each makes one service call. What is
    not overridden is not offered, and raises NoService if it is forced. A service's DomainError is shown in the
    form, or as a message. No query inside a `list_display` method: `for_list` joins or annotates.
    """

    form = ServiceForm
    ordering: ClassVar[Any] = ("-id",)
    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    paginator = CappedPaginator
    list_filter_sheet = False
    change_form_template = "admin/core/change_form.html"
    # Free text is looked for in these columns; ids and UUIDs are found by their index without being named.
    text_search_fields: ClassVar[tuple[str, ...]] = ()
    # Django shows the search box, and lets other pages complete from this one, only if this is not empty.
    search_fields = ("pk",)
    buttons: ClassVar[tuple[Button, ...]] = ()
    panels: ClassVar[tuple[Panel, ...]] = ()
    # True for a page of panels alone; otherwise Django shows every column.
    shows_only_panels = False
    deletion_note = "This cannot be undone."
    # What an empty list tells to do, where there is no form that adds a row.
    nothing_yet = ""
    # The lookup that leads to the user a row belongs to; only superusers see every owner's rows.
    user_lookup = "owner__user"

    # --- The services; each returns or changes the row ------------------------------------------
    def create_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        """Create what the form holds by a service and return the row."""
        raise NoService(f"{type(self).__name__} names no service that creates {self.opts.label}")

    def update_object(self, request: HttpRequest, instance: Any, form: Any) -> Any:
        """Save what the form changed by a service."""
        raise NoService(f"{type(self).__name__} names no service that updates {self.opts.label}")

    def delete_object(self, request: HttpRequest, instance: Any) -> Any:
        """Delete the row by a service."""
        raise NoService(f"{type(self).__name__} names no service that deletes {self.opts.label}")

    def _offers(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(ServiceModelAdmin, name)

    # --- Django's write hooks, all routed --------------------------------------------------------
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        if change:
            self.update_object(request, obj, form)
            return
        created = self.create_object(request, obj, form)
        obj.__dict__.update(created.__dict__)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        """Refuse what inlines changed; many-to-many fields are the service's own business."""
        if any(formset.has_changed() for formset in formsets):
            raise NoService(f"{type(self).__name__} has an inline that writes; inlines are read-only")
        for formset in formsets:
            # Django's log entry reads what a formset's own save() would have noted.
            formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.delete_object(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for instance in queryset.order_by("pk"):
            self.delete_object(request, instance)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Name the rows and what is lost with them; Django would collect every related row to list it."""
        return [*(str(instance) for instance in objs), self.deletion_note], {}, set(), []

    # --- Permissions: what has no service is not offered -----------------------------------------
    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._offers("create_object") and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._offers("update_object") and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._offers("delete_object") and super().has_delete_permission(request, obj)

    def may_press(self, request: HttpRequest) -> bool:
        """Tell whether the user may use buttons: Django's change permission, also on read-only pages."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    # --- Refusals of services --------------------------------------------------------------------
    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change, **kwargs)
        return type(made.__name__, (made,), {"refusal": getattr(request, "refusal", None)})

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show the form again with a service's refusal; the transaction of the attempt is rolled back by then."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except DomainError as refusal:
            request.refusal = refusal  # type: ignore[attr-defined]
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        return self._reported(
            request, lambda: super(ServiceModelAdmin, self).delete_view(request, object_id, extra_context)
        )

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """Leave out chosen keys that no row can have: Django would hand them to the database as they are."""
        given = request.POST.copy()
        chosen = given.getlist(ACTION_CHECKBOX_NAME)
        given.setlist(ACTION_CHECKBOX_NAME, [key for key in chosen if self._may_be_key(key)])
        request.POST = given  # type: ignore[assignment]  # Django's own setter takes it
        return super().response_action(request, queryset, *args, **kwargs)

    def _may_be_key(self, key: str) -> bool:
        if self.opts.pk.get_internal_type().endswith("AutoField"):
            return read_id(key) is not None
        try:
            self.opts.pk.to_python(key)
        except (ValidationError, ValueError):
            return False
        return True

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        try:
            return self._reported(
                request, lambda: super(ServiceModelAdmin, self).changelist_view(request, extra_context)
            )
        except DataError:
            # A filter typed into the address that only the database found out about, such as `name__regex=[`.
            if ERROR_FLAG in request.GET:
                raise
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")

    def _reported(self, request: HttpRequest, view: Callable[[], Any]) -> Any:
        try:
            return view()
        except DomainError as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    # --- Lists -----------------------------------------------------------------------------------
    def for_list(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Join and annotate what the list shows."""
        return queryset

    def for_detail(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Join what the detail page shows."""
        return queryset

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[List]:
        return List

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        if self.user_lookup and not request.user.is_superuser:
            queryset = queryset.filter(**{self.user_lookup: request.user.pk})
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return self.for_list(queryset) if is_list else self.for_detail(queryset)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by id or UUID through their indexes, and by text where the class names columns."""
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q()
        for name in self.text_search_fields:
            wanted |= Q(**{f"{name}__icontains": term})
        for key in self._keys(term):
            wanted |= Q(**key)
        return (queryset.filter(wanted) if wanted else queryset.none()), False

    def _keys(self, term: str) -> Iterable[dict[str, Any]]:
        if (number := read_id(term)) is not None and self.opts.pk.get_internal_type() != "UUIDField":
            yield {"pk": number}
        try:
            found = UUID(term)
        except ValueError:
            return
        if self.opts.pk.get_internal_type() == "UUIDField":
            yield {"pk": found}
        elif any(field.name == "uuid" for field in self.opts.get_fields()):
            yield {"uuid": found}

    # --- Detail pages: buttons and panels --------------------------------------------------------
    def shown_buttons(self, request: HttpRequest, instance: Any) -> list[Button]:
        """Return the buttons that make sense for the row now."""
        return list(self.buttons)

    def note(self, request: HttpRequest, instance: Any) -> str:
        """Return a sentence that stands under the buttons, such as why one of them is missing."""
        return ""

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [] if self.shows_only_panels else super().get_fieldsets(request, obj)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        instance: Model | None = kwargs.get("obj")
        if instance is not None:
            buttons = self.shown_buttons(request, instance) if self.may_press(request) else []
            context["buttons"] = [(button, self.button_url(button, instance)) for button in buttons]
            context["note"] = self.note(request, instance)
            shown = [*self.panels, *added_panels(self.opts.label)]
            context["panels"] = [panel.render(request, instance) for panel in shown]
        context["has_bar"] = (
            instance is None
            or self.has_change_permission(request, instance)
            or self.has_delete_permission(request, instance)
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def button_url(self, button: Button, instance: Model) -> str:
        """Return where a button leads."""
        if button.is_link:
            return self.url_of(button.name, instance)
        return reverse(f"admin:{self._url_name('press')}", args=(instance.pk, button.name))

    def url_of(self, page: str, instance: Model) -> str:
        """Return the address of one of the admin's own pages about a row."""
        return reverse(f"admin:{self._url_name(page)}", args=(instance.pk,))

    def own_pages(self) -> dict[str, Callable[..., HttpResponse]]:
        """Return further pages about a row: name -> view(request, object_id)."""
        return {}

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(f"<path:object_id>/{name}/", self._guarded(view), name=self._url_name(name))
            for name, view in self.own_pages().items()
        ]
        press = path("<path:object_id>/press/<slug:name>/", self._guarded(self.press), name=self._url_name("press"))
        return [*own, press, *super().get_urls()]

    @method_decorator(csrf_protect)
    def press(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Do what a button says: POST only, one service call, back to the page with a message."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        instance = self.row_for_press(request, object_id)
        if name not in {button.name for button in self.buttons if not button.is_link}:
            raise Http404
        back = HttpResponseRedirect(self.url_of("change", instance))
        try:
            return getattr(self, f"press_{name}")(request, instance) or back
        except DomainError as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
        return back

    def row_for_press(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row that a button or an own page is about. Raises PermissionDenied, Http404."""
        if not self.may_press(request):
            raise PermissionDenied
        instance = self.get_object(request, unquote(object_id))
        if instance is None:
            raise Http404
        return instance

    def row_for_view(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row that an own page only shows. Raises PermissionDenied, Http404."""
        instance = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, instance):
            raise PermissionDenied
        if instance is None:
            raise Http404
        return instance

    def page_context(self, request: HttpRequest, instance: Model, **context: Any) -> dict[str, Any]:
        """Return what a template of an own page needs beside its own values."""
        return {**self.admin_site.each_context(request), "opts": self.opts, "original": instance, **context}

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _guarded(self, view: Callable[..., HttpResponse]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return self.admin_site.admin_view(view)(*args, **kwargs)

        return update_wrapper(wrapper, view)


def actor_of(request: HttpRequest) -> str:
    """Return how the audit trail names the signed-in user."""
    return str(request.user)


def read_id(text: str) -> int | None:
    """Return the number of a row that a request names, or None for what no row's number can be."""
    # Python refuses to read thousands of digits, and PostgreSQL's numbers end at 64 bits.
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_ID):
        return None
    number = int(text)
    return number if number <= LARGEST_ID else None
