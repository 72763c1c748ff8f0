"""Admin pages of users, owners, API keys and the audit trail."""

from typing import Any, ClassVar

from cryptography.fernet import InvalidToken
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import display
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.cache import add_never_cache_headers
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminPasswordWidget

from accounts import quota_page, secret_services, services, user_services
from accounts.choices import OwnerKind, Scope
from accounts.models import ApiKey, AuditEntry, Owner, Secret, User
from core import clock, secrets
from core.admin import Button, Panel, ServiceForm, ServiceModelAdmin, actor_of, label, moment_text, pretty_json
from core.errors import DomainError

# Where the session holds a key that is about to be shown.
NEW_KEY = "new_api_key"

# Roles come with their own migration; until then permissions are the superuser's.
admin.site.unregister(Group)


def owners_for(request: HttpRequest) -> QuerySet[Owner]:
    """Return the owners that a user may make rows for: a superuser's are all."""
    if request.user.is_superuser:
        return Owner.objects.all()
    return Owner.objects.filter(Q(user=request.user.pk) | Q(members=request.user.pk)).distinct()


# Only the admin shows these names, so the model needs no migration for them.
ApiKey._meta.verbose_name, ApiKey._meta.verbose_name_plural = "API key", "API keys"
AuditEntry._meta.verbose_name_plural = "audit trail"


class UserForm(ServiceForm):
    """Facts and permissions of a user; the password has its own page."""

    class Meta:
        model = User
        fields = ("email", "full_name", "is_active", "is_staff", "is_superuser")


def _password_field(text: str) -> forms.CharField:
    widget = UnfoldAdminPasswordWidget({"autocomplete": "new-password"})
    return forms.CharField(label=text, strip=False, widget=widget)


class NewUserForm(UserForm):
    password1 = _password_field("Password")
    password2 = _password_field("Password again")
    problem_fields: ClassVar[dict[str, str]] = {"password": "password1"}

    def clean_password2(self) -> str:
        if self.cleaned_data.get("password1") != self.cleaned_data["password2"]:
            raise forms.ValidationError("The two passwords are not the same.")
        return str(self.cleaned_data["password2"])


class PasswordForm(forms.Form):
    """A new password, typed twice."""

    password1 = _password_field("Password")
    password2 = _password_field("Password again")
    clean_password2 = NewUserForm.clean_password2


@admin.register(User)
class UserAdmin(ServiceModelAdmin):
    list_display = ("email", "full_name", "is_active", "is_staff", "is_superuser", "seen")
    list_filter = ("is_active", "is_staff", "is_superuser")
    ordering = ("email",)
    text_search_fields = ("email", "full_name")
    user_lookup = "pk"
    form = UserForm
    buttons = (Button("password", "Set password", icon="key", is_link=True),)

    @display(description="Last sign-in (UTC)", ordering="last_login")
    def seen(self, user: User) -> str:
        return moment_text(user.last_login)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = NewUserForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = ["email", "full_name"] + ([] if obj else ["password1", "password2"])
        return [(None, {"fields": first}), ("Permissions", {"fields": ["is_active", "is_staff", "is_superuser"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Whoever is no superuser can make none, and opens no door to the admin.
        return () if request.user.is_superuser else ("is_active", "is_staff", "is_superuser")

    def create_object(self, request: HttpRequest, instance: User, form: Any) -> User:
        given = dict(form.cleaned_data)
        return user_services.create_user(
            email=given.pop("email"), password=given.pop("password1"), actor=actor_of(request), **given
        )

    def update_object(self, request: HttpRequest, instance: User, form: Any) -> User:
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        return user_services.update_user(instance, changes=changes, actor=actor_of(request))

    def own_pages(self) -> dict[str, Any]:
        return {"password": self.password_page}

    def password_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for a new password and set it."""
        user = self.row_for_press(request, object_id)
        form = PasswordForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._set_password(request, user, form):
            self.message_user(request, f"{user} has a new password.", messages.SUCCESS)
            return HttpResponseRedirect(self.url_of("change", user))
        context = self.page_context(
            request, user, form=form, title=f"New password for {user}", submit_text="Set password"
        )
        return TemplateResponse(request, "admin/core/form_page.html", context)

    def _set_password(self, request: HttpRequest, user: User, form: forms.Form) -> bool:
        try:
            user_services.set_password(user, password=form.cleaned_data["password1"], actor=actor_of(request))
        except DomainError as refusal:
            for problem in refusal.problems:
                form.add_error("password1", problem.msg)
            return False
        return True


class TeamForm(ServiceForm):
    class Meta:
        model = Owner
        fields = ("name", "members")


@admin.register(Owner)
class OwnerAdmin(ServiceModelAdmin):
    list_display = ("id", "name", "kind", "user", "made")
    list_display_links = ("id", "name")
    list_filter = ("kind",)
    list_select_related = ("user",)
    text_search_fields = ("name",)
    user_lookup = "user"
    form = TeamForm
    autocomplete_fields = ("members",)
    panels = (Panel("admin/core/facts.html", quota_page.quota_facts),)
    buttons = (Button("quota", "File quota", icon="hard_drive", is_link=True),)

    @display(description="Made (UTC)", ordering="created_at")
    def made(self, owner: Owner) -> str:
        return moment_text(owner.created_at)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.kind == OwnerKind.TEAM) and super().has_change_permission(request, obj)

    def create_object(self, request: HttpRequest, instance: Owner, form: Any) -> Owner:
        return user_services.save_team(instance, actor=actor_of(request), **form.cleaned_data)

    def update_object(self, request: HttpRequest, instance: Owner, form: Any) -> Owner:
        return user_services.save_team(instance, actor=actor_of(request), **form.cleaned_data)

    def shown_buttons(self, request: HttpRequest, instance: Owner) -> list[Button]:
        return list(self.buttons) if quota_page.may_set(request) else []

    def own_pages(self) -> dict[str, Any]:
        return {"quota": self.quota_page}

    def quota_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the owner's file quota and set it."""
        return quota_page.quota_page(self, request, self.row_for_press(request, object_id))


class ApiKeyForm(ServiceForm):
    """A new key. The key itself is made by the service and shown once."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=Scope.values,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What it may do.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "owner", "scopes", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(ServiceModelAdmin):
    list_display = ("id", "name", "prefix", "owner", "state", "scopes_text", "used", "expires")
    list_display_links = ("id", "name")
    list_select_related = ("owner",)
    text_search_fields = ("name", "prefix")
    form = ApiKeyForm
    actions = ("revoke_selected",)
    buttons = (
        Button(
            "revoke",
            "Revoke",
            icon="block",
            variant="danger",
            confirm="Revoke this key? Whoever uses it is refused from now on. This cannot be undone.",
        ),
    )

    @display(description="State")
    def state(self, key: ApiKey) -> str:
        if key.revoked_at:
            return label("revoked")
        return label("expired" if key.expires_at and key.expires_at <= clock.now() else "valid")

    @display(description="Scopes")
    def scopes_text(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(description="Last used (UTC)", ordering="last_used_at")
    def used(self, key: ApiKey) -> str:
        return moment_text(key.last_used_at) if key.last_used_at else "never"

    @display(description="Expires (UTC)", ordering="expires_at")
    def expires(self, key: ApiKey) -> str:
        return moment_text(key.expires_at) if key.expires_at else "never"

    @display(description="Revoked (UTC)")
    def revoked(self, key: ApiKey) -> str:
        return moment_text(key.revoked_at)

    @display(description="Made (UTC)")
    def made(self, key: ApiKey) -> str:
        return moment_text(key.created_at)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("name", "owner", "scopes", "expires_at")
        return ("name", "owner", "prefix", "state", "scopes_text", "used", "expires", "revoked", "made")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner":
            kwargs["queryset"] = owners_for(request)
            kwargs["initial"] = services.owner_of_user(request.user)  # type: ignore[arg-type]
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def create_object(self, request: HttpRequest, instance: ApiKey, form: Any) -> ApiKey:
        key, plaintext = services.create_api_key(actor=actor_of(request), **form.cleaned_data)
        request.new_key = plaintext  # type: ignore[attr-defined]
        return key

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        # After a key was made, its own page follows, always.
        context |= {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Lead to the page that shows the key: its reload makes no second one.

        Sessions are rows of the database, so the key waits there encrypted, and only until the page is shown.
        """
        plaintext: str = request.new_key  # type: ignore[attr-defined]
        kept = secrets.encrypt(plaintext, keys=settings.FIELD_ENCRYPTION_KEYS)
        request.session[NEW_KEY] = {"key_id": obj.pk, "encrypted": kept}
        return HttpResponseRedirect(self.url_of("made", obj))

    def own_pages(self) -> dict[str, Any]:
        return {"made": self.made_page}

    def made_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a key that was made just now, once."""
        key = self.row_for_view(request, object_id)
        plaintext = _take_new_key(request, key) if request.method == "GET" else ""
        context = self.page_context(request, key, title="API key made", plaintext=plaintext)
        response = TemplateResponse(request, "admin/accounts/apikey/made.html", context)
        add_never_cache_headers(response)
        return response

    def shown_buttons(self, request: HttpRequest, instance: ApiKey) -> list[Button]:
        return [] if instance.revoked_at else list(self.buttons)

    def press_revoke(self, request: HttpRequest, key: ApiKey) -> None:
        self._revoke(request, [key])

    @admin.action(description="Revoke selected keys", permissions=["press"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        self._revoke(request, list(queryset.order_by("pk")))

    def has_press_permission(self, request: HttpRequest) -> bool:
        return self.may_press(request)

    def _revoke(self, request: HttpRequest, keys: list[ApiKey]) -> None:
        done = sum(services.revoke_api_key(key.pk, actor=actor_of(request)) for key in keys)
        self.message_user(request, f"Revoked {done} of {len(keys)} keys.", messages.SUCCESS)


def _take_new_key(request: HttpRequest, key: ApiKey) -> str:
    """Return the key that the session holds for this row, and forget it; empty if it was shown before."""
    held = request.session.get(NEW_KEY)
    if not held or held["key_id"] != key.pk:
        return ""
    del request.session[NEW_KEY]
    try:
        return secrets.decrypt(held["encrypted"], keys=settings.FIELD_ENCRYPTION_KEYS)
    except InvalidToken:
        return ""


class SecretForm(ServiceForm):
    """A secret. Its value is typed in and never shown."""

    value = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget({"autocomplete": "new-password"}),
        help_text="Nobody can read it again. Empty keeps the value a secret has.",
    )

    class Meta:
        model = Secret
        fields = ("name", "owner", "description")


@admin.register(Secret)
class SecretAdmin(ServiceModelAdmin):
    list_display = ("id", "name", "owner", "description", "version", "rotated", "made")
    list_display_links = ("id", "name")
    list_select_related = ("owner",)
    text_search_fields = ("name", "description")
    form = SecretForm
    deletion_note = "Workflows that use it find no value any more. This cannot be undone."

    @display(description="Rotated (UTC)", ordering="rotated_at")
    def rotated(self, secret: Secret) -> str:
        return moment_text(secret.rotated_at) if secret.rotated_at else "never"

    @display(description="Made (UTC)", ordering="created_at")
    def made(self, secret: Secret) -> str:
        return moment_text(secret.created_at)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("name", "owner", "value", "description")
        return ("name", "owner", "value", "description", "version", "rotated", "created_by", "made")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else ("name", "owner", "version", "rotated", "created_by", "made")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "owner":
            kwargs["queryset"] = owners_for(request)
            kwargs["initial"] = services.owner_of_user(request.user)  # type: ignore[arg-type]
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def create_object(self, request: HttpRequest, instance: Secret, form: Any) -> Secret:
        return secret_services.create_secret(actor=actor_of(request), **form.cleaned_data)

    def update_object(self, request: HttpRequest, instance: Secret, form: Any) -> Secret:
        given = form.cleaned_data
        return secret_services.update_secret(
            instance.pk, value=given["value"] or None, description=given["description"], actor=actor_of(request)
        )

    def delete_object(self, request: HttpRequest, instance: Secret) -> None:
        secret_services.delete_secret(instance.pk, actor=actor_of(request))


def _changes(request: HttpRequest, entry: AuditEntry) -> dict[str, Any]:
    return {"before": entry.before and pretty_json(entry.before), "after": entry.after and pretty_json(entry.after)}


@admin.register(AuditEntry)
class AuditEntryAdmin(ServiceModelAdmin):
    list_display = ("id", "at", "actor", "action", "object_type", "object_id", "owner")
    list_select_related = ("owner",)
    # Any other order would sort the whole table.
    sortable_by = ("id", "at")
    search_help_text = "An id, or exactly an actor, an action or an object's id"
    fields = ("at", "actor", "action", "object_type", "object_id", "owner", "request_id", "correlation_id")
    readonly_fields = fields
    panels = (Panel("admin/accounts/auditentry/changes.html", _changes),)

    @display(description="When (UTC)", ordering="created_at")
    def at(self, entry: AuditEntry) -> str:
        return moment_text(entry.created_at)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(object_id=term) | Q(actor=term) | Q(action=term)
        return queryset.filter(wanted | Q(pk__in=[key["pk"] for key in self._keys(term)])), False
