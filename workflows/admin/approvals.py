"""The inbox: what waits for people's approval, those first that wait for the signed-in user."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.contrib.admin.views.main import ChangeList
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts import selectors as accounts
from accounts.models import User
from accounts.principal import Principal
from core.admin import NOTHING, Button, Panel, ServiceModelAdmin, label, moment_text
from workflows import selectors
from workflows.choices import ApprovalStatus
from workflows.models import Approval
from workflows.services import approvals as services

LABELS = {"approved": "completed", "rejected": "failed", "pending": "waiting"}


def _facts(request: HttpRequest, approval: Approval) -> dict[str, Any]:
    execution = reverse("admin:workflows_execution_change", args=(approval.execution_id,))
    name = f"{approval.execution.workflow.name}, execution {approval.execution_id}"
    return {
        "title": "Approval",
        "facts": [
            ("Status", _state(approval)),
            ("Asked", approval.assignee_name),
            ("Workflow", format_html('<a href="{}">{}</a>', execution, name)),
            ("Step", approval.path),
            ("Asked at (UTC)", moment_text(approval.created_at)),
            ("Deadline (UTC)", moment_text(approval.deadline_at)),
            ("Decided by", approval.decided_by or NOTHING),
            ("Decided at (UTC)", moment_text(approval.decided_at)),
            ("Comment", approval.comment or NOTHING),
        ],
    }


def _decision(request: HttpRequest, approval: Approval) -> dict[str, Any]:
    is_pending = approval.status == ApprovalStatus.PENDING
    return {
        "is_pending": is_pending,
        "may_decide": is_pending and services.may_decide(approval, _principal(request)),
        "approve_url": reverse("admin:workflows_approval_press", args=(approval.pk, "approve")),
        "reject_url": reverse("admin:workflows_approval_press", args=(approval.pk, "reject")),
    }


def _state(approval: Approval) -> str:
    return label(LABELS.get(approval.status, approval.status), approval.status)


class Inbox(SimpleListFilter):
    """What is still to be decided, unless asked otherwise."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("decided", "Decided or over"), ("all", "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
        if self.value() == "all":
            return queryset
        pending = Q(status=ApprovalStatus.PENDING)
        return queryset.filter(~pending if self.value() == "decided" else pending)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for value, title in [(None, "Pending"), *self.lookup_choices]:
            query = changelist.get_query_string({self.parameter_name: value}) if value else ""
            without = changelist.get_query_string(remove=[self.parameter_name])
            yield {"selected": self.value() == value, "query_string": query or without, "display": title}


@admin.register(Approval)
class ApprovalAdmin(ServiceModelAdmin):
    """Every member of staff sees what he is asked, and what his owner's workflows ask."""

    list_display = ("id", "message_start", "asked", "workflow_name", "deadline", "state", "asked_at")
    list_display_links = ("id", "message_start")
    list_filter = (Inbox,)
    sortable_by = ("id",)
    search_help_text = "Id or UUID"
    user_lookup = ""
    shows_only_panels = True
    panels = (
        Panel("admin/workflows/approval/decision.html", _decision),
        Panel("admin/core/facts.html", _facts),
    )
    # Drawn by the panel, with a comment.
    buttons = (Button("approve", "Approve"), Button("reject", "Reject"))

    # Being asked needs no further permission; the rows are restricted instead, and the service decides who decides.
    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def may_press(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        queryset = super().get_queryset(request)
        if not request.user.is_superuser:
            queryset = selectors.approvals_seen_by(_principal(request), queryset)
        annotated: QuerySet[Approval] = queryset.annotate(turn=_turn(request))
        return annotated

    def for_list(self, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
        return queryset.select_related("execution__workflow").defer(
            "execution__trigger_data", "execution__execution_config", "execution__workflow__workflow_config"
        )

    def for_detail(self, queryset: QuerySet[Approval]) -> QuerySet[Approval]:
        return queryset.select_related("owner", "execution__workflow")

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """Only what is pending is sorted by whom it waits for: the history may be long."""
        return ("-id",) if request.GET.get(Inbox.parameter_name) else (_turn(request).asc(), "-id")

    @display(description="Message")
    def message_start(self, approval: Approval) -> str:
        longest = 90
        text = approval.message or approval.path
        return text if len(text) <= longest else f"{text[: longest - 1]}…"

    @display(description="Waits for")
    def asked(self, approval: Any) -> str:
        return f"{approval.assignee_name} (you)" if approval.turn == 0 else approval.assignee_name

    @display(description="Workflow")
    def workflow_name(self, approval: Approval) -> str:
        return approval.execution.workflow.name

    @display(description="Deadline (UTC)")
    def deadline(self, approval: Approval) -> str:
        return moment_text(approval.deadline_at)

    @display(description="State")
    def state(self, approval: Approval) -> str:
        return _state(approval)

    @display(description="Asked (UTC)", ordering="id")
    def asked_at(self, approval: Approval) -> str:
        return moment_text(approval.created_at)

    def shown_buttons(self, request: HttpRequest, instance: Approval) -> list[Button]:
        return []

    def press_approve(self, request: HttpRequest, approval: Approval) -> None:
        services.approve(approval, principal=_principal(request), comment=_comment(request))
        self.message_user(request, "Approved: the execution goes on.", messages.SUCCESS)

    def press_reject(self, request: HttpRequest, approval: Approval) -> None:
        services.reject(approval, principal=_principal(request), comment=_comment(request))
        self.message_user(request, "Rejected.", messages.SUCCESS)


def _turn(request: HttpRequest) -> Case:
    """0: waits for the signed-in user; 1: for somebody else; 2: is over."""
    mine = Q(assignee=request.user.pk) | Q(group__in=request.user.groups.values("pk"))
    pending = Q(status=ApprovalStatus.PENDING)
    return Case(
        When(pending & mine, then=Value(0)),
        When(pending, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )


def _principal(request: HttpRequest) -> Principal:
    assert isinstance(request.user, User)  # noqa: S101  (the admin lets in nobody else)
    return accounts.principal_of_user(request.user)


def _comment(request: HttpRequest) -> str:
    return request.POST.get("comment", "").strip()[:5000].replace("\x00", "")
