"""API keys, users, owners and the audit trail in the admin."""

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from accounts import selectors, services
from accounts.models import ApiKey, AuditEntry, Owner, User
from core import clock
from tests.admin.rows import messages_of, text_of

pytestmark = pytest.mark.django_db

KEYS = "/admin/accounts/apikey/"
USERS = "/admin/accounts/user/"


def make_key(owner: Owner, name: str = "importer") -> tuple[ApiKey, str]:
    return services.create_api_key(owner=owner, name=name, scopes=["read"], actor="test")


def test_a_new_key_is_shown_once_works_and_is_never_shown_again(admin: Client, operator: User) -> None:
    owner = services.owner_of_user(operator)

    sent = admin.post(f"{KEYS}add/", {"name": "importer", "owner": owner.pk, "scopes": ["read", "write"]})
    held = str(list(Session.objects.values_list("session_data"))) + str(list(admin.session.items()))
    made = admin.get(sent["Location"])
    again = admin.get(sent["Location"])
    listed = admin.get(KEYS)
    key = ApiKey.objects.get()
    detail = admin.get(f"{KEYS}{key.pk}/change/")

    [plaintext] = re.findall(r"pak_[\w-]{43}", made.content.decode())
    assert made.status_code == 200
    assert "no-store" in made["Cache-Control"]
    principal = selectors.find_principal_by_key(plaintext)
    assert principal is not None
    assert (principal.owner, sorted(principal.scopes)) == (owner, ["read", "write"])
    for later in (listed, detail, again):
        assert plaintext not in later.content.decode()
        assert key.prefix in later.content.decode()
        assert key.key_hash not in later.content.decode()
    assert AuditEntry.objects.get(action="api_key.created").actor == "operator@example.com"
    # A reload makes no second key, and no row holds this one in clear text, not even on the way.
    assert ApiKey.objects.count() == 1
    assert "shown once, when it was made" in text_of(again)
    assert plaintext not in held + str(list(admin.session.items()))
    assert 'data-copy="new-key"' in made.content.decode()


def test_a_refused_key_names_the_field_and_makes_nothing(admin: Client, operator: User) -> None:
    owner = services.owner_of_user(operator)
    past = clock.now() - timedelta(days=1)

    answer = admin.post(
        f"{KEYS}add/",
        {
            "name": "late",
            "owner": owner.pk,
            "scopes": ["read"],
            "expires_at_0": f"{past:%Y-%m-%d}",
            "expires_at_1": "00:00:00",
        },
    )

    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors == {"expires_at": ["Must lie in the future."]}
    assert not ApiKey.objects.exists()
    assert not AuditEntry.objects.filter(action="api_key.created").exists()


def test_revoking_a_key_stops_it_at_once(admin: Client, operator: User) -> None:
    key, plaintext = make_key(services.owner_of_user(operator))

    answer = admin.post(f"{KEYS}{key.pk}/press/revoke/")

    assert answer["Location"] == f"{KEYS}{key.pk}/change/"
    assert messages_of(answer) == ["Revoked 1 of 1 keys."]
    assert selectors.find_principal_by_key(plaintext) is None
    assert "revoked" in text_of(admin.get(KEYS))
    assert "press/revoke" not in admin.get(f"{KEYS}{key.pk}/change/").content.decode()


def test_several_keys_are_revoked_by_the_list_action(admin: Client, operator: User) -> None:
    owner = services.owner_of_user(operator)
    keys = [make_key(owner, name)[0] for name in ("one", "two", "three")]

    admin.post(KEYS, {"action": "revoke_selected", "_selected_action": [keys[0].pk, keys[2].pk]})

    assert list(ApiKey.objects.filter(revoked_at=None)) == [keys[1]]
    assert AuditEntry.objects.filter(action="api_key.revoked").count() == 2


def test_a_button_is_not_pressed_by_a_link(admin: Client, operator: User) -> None:
    key, _ = make_key(services.owner_of_user(operator))

    assert admin.get(f"{KEYS}{key.pk}/press/revoke/").status_code == 405
    assert ApiKey.objects.filter(revoked_at=None).exists()


def test_a_button_asks_for_the_csrf_token(operator: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(operator)
    key, _ = make_key(services.owner_of_user(operator))

    assert strict.post(f"{KEYS}{key.pk}/press/revoke/").status_code == 403
    assert ApiKey.objects.filter(revoked_at=None).exists()


def test_a_user_is_made_with_a_password_and_can_sign_in(admin: Client) -> None:
    given = {
        "email": "Grace@Example.com",
        "full_name": "Grace Hopper",
        "password1": "a long enough phrase",
        "password2": "a long enough phrase",
        "is_active": "on",
        "is_staff": "on",
    }

    answer = admin.post(f"{USERS}add/", given)

    user = User.objects.get(email="grace@example.com")
    assert answer.status_code == 302
    assert (user.full_name, user.is_staff, user.is_superuser) == ("Grace Hopper", True, False)
    assert Owner.objects.get(user=user).name == "grace@example.com"
    assert Client().login(email="grace@example.com", password="a long enough phrase")


@pytest.mark.parametrize(
    ("passwords", "field"),
    [(("12345678", "12345678"), "password1"), (("one phrase here", "another phrase"), "password2")],
)
def test_a_weak_or_mistyped_password_is_refused_in_place(admin: Client, passwords: tuple[str, str], field: str) -> None:
    given = {"email": "grace@example.com", "password1": passwords[0], "password2": passwords[1]}

    answer = admin.post(f"{USERS}add/", given)

    assert list(answer.context["adminform"].form.errors) == [field]
    assert not User.objects.filter(email="grace@example.com").exists()


def test_an_address_that_is_taken_in_other_letters_is_refused(admin: Client) -> None:
    given = {"email": "OPERATOR@example.com", "password1": "a long enough phrase", "password2": "a long enough phrase"}

    answer = admin.post(f"{USERS}add/", given)

    assert "email" in answer.context["adminform"].form.errors
    assert User.objects.count() == 1


def test_a_password_is_set_on_its_own_page(admin: Client) -> None:
    user = User.objects.create_user("grace@example.com", "the old phrase here")
    phrase = "the new phrase here"

    weak = admin.post(f"{USERS}{user.pk}/password/", {"password1": "12345678", "password2": "12345678"})
    done = admin.post(f"{USERS}{user.pk}/password/", {"password1": phrase, "password2": phrase})

    assert "password1" in weak.context["form"].errors
    assert done["Location"] == f"{USERS}{user.pk}/change/"
    assert User.objects.get(pk=user.pk).check_password(phrase)
    assert AuditEntry.objects.get(action="user.password_set").object_id == str(user.pk)


def test_the_last_superuser_cannot_be_switched_off(admin: Client, operator: User) -> None:
    given = {"email": operator.email, "full_name": "", "is_staff": "on", "is_superuser": "on"}

    answer = admin.post(f"{USERS}{operator.pk}/change/", given)

    assert "last active superuser" in text_of(answer)
    assert User.objects.get(pk=operator.pk).is_active


def test_a_change_of_a_user_is_audited_with_before_and_after(admin: Client) -> None:
    user = User.objects.create_user("grace@example.com", "the old phrase here")

    admin.post(f"{USERS}{user.pk}/change/", {"email": user.email, "full_name": "Grace", "is_active": "on"})

    entry = AuditEntry.objects.get(action="user.updated")
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["full_name"], entry.after["full_name"]) == ("", "Grace")


def test_a_team_is_made_with_its_members(admin: Client, operator: User) -> None:
    answer = admin.post("/admin/accounts/owner/add/", {"name": "Archive", "members": [str(operator.pk)]})

    team = Owner.objects.get(name="Archive")
    assert answer.status_code == 302
    assert team.kind == "team"
    assert list(team.members.all()) == [operator]
    assert AuditEntry.objects.get(action="owner.created").after == {"name": "Archive", "members": [operator.email]}


def test_the_audit_trail_shows_the_change_and_nobody_can_edit_it(admin: Client, operator: User) -> None:
    make_key(services.owner_of_user(operator))
    entry = AuditEntry.objects.get(action="api_key.created")

    page = admin.get(f"/admin/accounts/auditentry/{entry.pk}/change/")
    edited = admin.post(f"/admin/accounts/auditentry/{entry.pk}/change/", {"actor": "somebody else"})

    assert '"importer"' in page.content.decode().replace("&quot;", '"')
    assert edited.status_code == 403
    assert admin.get("/admin/accounts/auditentry/add/").status_code == 403
    assert AuditEntry.objects.get(pk=entry.pk).actor == "test"


def test_staff_who_are_no_superusers_see_their_own_rows_only_and_grant_nothing(operator: User) -> None:
    from django.contrib.auth.models import Permission

    staff = User.objects.create_user("staff@example.com", "the old phrase here", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    client = Client()
    client.force_login(staff)
    make_key(services.owner_of_user(staff), "mine")
    other, _ = make_key(services.owner_of_user(operator), "other")

    listed = text_of(client.get(KEYS))
    client.post(
        f"{USERS}{staff.pk}/change/",
        {"email": staff.email, "full_name": "S", "is_active": "on", "is_staff": "on", "is_superuser": "on"},
    )
    revoked = client.post(f"{KEYS}{other.pk}/press/revoke/")

    assert "mine" in listed
    assert "other" not in listed
    assert revoked.status_code == 404
    assert User.objects.get(pk=staff.pk).full_name == "S"
    assert not User.objects.get(pk=staff.pk).is_superuser
    assert ApiKey.objects.filter(revoked_at=None).count() == 2


# --- File quotas ------------------------------------------------------------------------------


def test_a_superuser_sets_the_quota_of_any_owner(admin: Client, operator: User) -> None:
    owner = services.owner_of_user(operator)
    page = f"/admin/accounts/owner/{owner.pk}/quota/"
    assert "File quota" in admin.get(f"/admin/accounts/owner/{owner.pk}/change/").content.decode()

    shown = []
    set_to = []
    for given in ("5000", ""):
        set_to.append(admin.post(page, {"quota_bytes": given}))
        shown.append(text_of(admin.get(f"/admin/accounts/owner/{owner.pk}/change/")))

    assert "Files May take 4.9 KiB" in shown[0]
    assert "Files May take as the setting FILE_QUOTA says" in shown[1]
    assert [answer.status_code for answer in set_to] == [302, 302]
    trail = AuditEntry.objects.filter(action="owner.quota_set").order_by("pk").values_list("before", "after")
    assert list(trail) == [
        ({"file_quota_bytes": None}, {"file_quota_bytes": 5000}),
        ({"file_quota_bytes": 5000}, {"file_quota_bytes": None}),
    ]


@pytest.mark.parametrize("given", ["-1", "x", "1.5", str(2**63)])
def test_a_quota_that_is_no_size_is_refused(admin: Client, operator: User, given: str) -> None:
    owner = services.owner_of_user(operator)

    answer = admin.post(f"/admin/accounts/owner/{owner.pk}/quota/", {"quota_bytes": given})

    assert (answer.status_code, Owner.objects.get(pk=owner.pk).file_quota_bytes) == (200, None)


def test_nobody_lifts_a_bound_that_was_put_on_them() -> None:
    from django.contrib.auth.models import Permission

    staff = User.objects.create_user("staff@example.com", "the old phrase here", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    client = Client()
    client.force_login(staff)
    owner = services.owner_of_user(staff)

    answer = client.post(f"/admin/accounts/owner/{owner.pk}/quota/", {"quota_bytes": "5000"})

    assert (answer.status_code, Owner.objects.get(pk=owner.pk).file_quota_bytes) == (403, None)
    assert "File quota" not in client.get(f"/admin/accounts/owner/{owner.pk}/change/").content.decode()
