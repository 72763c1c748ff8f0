"""The admin's page that tells what extracting many files again would do, before it is done."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts import selectors as accounts
from core.admin import actor_of, label, moment_text, read_id
from files import services
from files.models import File
from files.selectors import FileFilter
from files.services.reextraction import MOST_AT_ONCE, Plan
from files.text_search import LONGEST_SEARCH

# A list shows fewer on a page; who means more chooses all that match.
MOST_KEYS = 1000
QUIETLY, AND_RUN = "quietly", "run"
_NARROWED_BY = ("extension", "error_code")


class ReextractionForm(forms.Form):
    """What narrows the chosen files further, and whether workflows run."""

    extension = forms.CharField(
        label="Only with the extension", required=False, max_length=32, widget=UnfoldAdminTextInputWidget
    )
    error_code = forms.CharField(
        label="Only with the error", required=False, max_length=64, widget=UnfoldAdminTextInputWidget
    )
    workflows = forms.ChoiceField(
        label="Workflows",
        choices=[(QUIETLY, "Start none"), (AND_RUN, "Start every workflow that matches, once more")],
        required=False,
        widget=UnfoldAdminSelectWidget,
    )


def chosen_in(request: HttpRequest, queryset: QuerySet[File]) -> dict[str, str]:
    """Return what was chosen in the list as the page's hidden fields: the keys, or the list's own filter."""
    if request.POST.get("select_across") == "1":
        return {"every": "1", "status": request.GET.get("status__exact", ""), "search": request.GET.get("q", "")}
    keys = queryset.order_by("pk").values_list("pk", flat=True)[:MOST_KEYS]
    return {"keys": ",".join(map(str, keys))}


def chosen_before(request: HttpRequest) -> dict[str, str]:
    """Return the hidden fields as the page sends them back."""
    names = ("every", "status", "search") if request.POST.get("every") == "1" else ("keys",)
    return {name: request.POST.get(name, "").replace("\x00", "") for name in names}


def reextraction_page(page: Any, request: HttpRequest, chosen: dict[str, str]) -> HttpResponse:
    """Tell what would be extracted again; queue it once that is confirmed."""
    # The list's own POST carries none of the form's fields.
    form = ReextractionForm(request.POST if "workflows" in request.POST else {"workflows": QUIETLY})
    given = form.cleaned_data if form.is_valid() else {}
    wanted = _filter(chosen, given)
    principal = accounts.principal_of_user(request.user)  # type: ignore[arg-type]
    plan = services.plan_reextraction(principal, wanted)
    shown = {name: given.get(name, "") for name in _NARROWED_BY}
    confirmed = "confirm" in request.POST and form.is_valid()
    # What was typed since the page came has not been looked at; clearing a field means more files than were shown.
    changed = any(request.POST.get(f"shown_{name}", value) != value for name, value in shown.items())
    if confirmed and not changed:
        runs = given["workflows"] == AND_RUN
        count = services.reextract_files(principal, wanted, actor=actor_of(request), plan=plan, trigger_workflows=runs)
        _tell(page, request, count, plan)
        return HttpResponseRedirect(reverse("admin:files_file_changelist"))
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": "Extract files again",
        "form": form,
        "chosen": chosen,
        "shown": shown,
        "changed": confirmed,
        "plan": plan,
        "queued": min(plan.count, MOST_AT_ONCE),
        "skipped": sum(plan.skipped.values()),
        "rows": [_listed(file) for file in plan.files],
        "action_url": reverse("admin:files_file_extract_many"),
        "list_url": reverse("admin:files_file_changelist"),
    }
    return TemplateResponse(request, "admin/files/file/extract_again.html", context)


def _filter(chosen: dict[str, str], given: dict[str, Any]) -> FileFilter:
    ids = None if "every" in chosen else tuple(_keys_in(chosen["keys"]))
    return FileFilter(
        ids=ids,
        status=chosen.get("status", ""),
        search=chosen.get("search", "").strip()[:LONGEST_SEARCH],
        extension=given.get("extension", ""),
        error_code=given.get("error_code", ""),
    )


def _keys_in(text: str) -> list[int]:
    return [key for part in text.split(",")[:MOST_KEYS] if (key := read_id(part)) is not None]


def _tell(page: Any, request: HttpRequest, count: int, plan: Plan) -> None:
    said = f"{count} file{'' if count == 1 else 's'} will be read again; reload to see the results."
    page.message_user(request, said, messages.SUCCESS if count else messages.WARNING)
    if plan.continue_after is not None:
        rest = f"More files were meant than are queued at once: the API takes up those after {plan.continue_after}."
        page.message_user(request, rest, messages.WARNING)


def _listed(file: File) -> dict[str, Any]:
    return {
        "row": file,
        "status": label(file.status),
        "uploaded": moment_text(file.created_at),
        "error": file.error_code,
    }
