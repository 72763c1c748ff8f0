"""How the admin looks: title, own style sheet, navigation. Plain values; settings import this."""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    app, name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{name}"),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "PyAirtable Automation",
    "SITE_HEADER": "PyAirtable Automation",
    "SITE_SUBHEADER": "Files, workflows, executions",
    "SITE_SYMBOL": "account_tree",
    "SITE_URL": "/docs",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("core/favicon.svg")}],
    "SHOW_BACK_BUTTON": True,
    "DASHBOARD_CALLBACK": "config.dashboard.add_tiles",
    "STYLES": [lambda request: static("core/admin.css")],
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "title": "Work",
                "items": [
                    _item("Files", "description", "files.file"),
                    _item("Workflows", "account_tree", "workflows.workflow"),
                    _item("Executions", "play_circle", "workflows.execution"),
                    # Whoever is asked sees his approvals, without further permission.
                    _item("Approvals", "how_to_reg", "workflows.approval") | {"permission": lambda request: True},
                    _item("Trigger verdicts", "rule", "workflows.evaluation"),
                    # They belong to no owner.
                    _item("Schedules", "schedule", "django_celery_beat.periodictask")
                    | {"permission": lambda request: request.user.is_superuser},
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _item("API keys", "key", "accounts.apikey"),
                    _item("Secrets", "lock", "accounts.secret"),
                    _item("Users", "person", "accounts.user"),
                    _item("Owners", "groups", "accounts.owner"),
                    _item("Audit trail", "history", "accounts.auditentry"),
                ],
            },
        ],
    },
}
