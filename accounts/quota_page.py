"""The admin's page that sets how much an owner's files may take."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from accounts import user_services
from accounts.models import Owner
from core.admin import actor_of, size_text

if TYPE_CHECKING:
    from core.admin import ServiceModelAdmin

LARGEST_BYTES = 2**63 - 1


class QuotaForm(forms.Form):
    quota_bytes = forms.IntegerField(
        label="File quota",
        required=False,
        min_value=0,
        max_value=LARGEST_BYTES,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="In bytes. Empty: the setting FILE_QUOTA decides.",
    )


def quota_facts(request: HttpRequest, owner: Owner) -> dict[str, Any]:
    """Return what an owner's page says of the bound, also to who may not set it."""
    return {"title": "Files", "facts": [("May take", _said(owner.file_quota_bytes))]}


def may_set(request: HttpRequest) -> bool:
    """Tell whether the user may: not who could lift a bound that was put on them."""
    return bool(request.user.is_superuser)


def _said(quota_bytes: int | None) -> str:
    return "as the setting FILE_QUOTA says" if quota_bytes is None else size_text(quota_bytes)


def quota_page(page: "ServiceModelAdmin", request: HttpRequest, owner: Owner) -> HttpResponse:
    """Ask for a quota and set it."""
    if not may_set(request):
        raise PermissionDenied
    form = QuotaForm(request.POST or None, initial={"quota_bytes": owner.file_quota_bytes})
    if request.method == "POST" and form.is_valid():
        quota = form.cleaned_data["quota_bytes"]
        user_services.set_file_quota(owner, quota_bytes=quota, actor=actor_of(request))
        page.message_user(request, f"The file quota of {owner} is {_said(quota)}.", messages.SUCCESS)
        return HttpResponseRedirect(page.url_of("change", owner))
    context = page.page_context(request, owner, form=form, title=f"File quota of {owner}", submit_text="Set quota")
    return TemplateResponse(request, "admin/core/form_page.html", context)
