"""What every admin page of the product stands on: one base class, panels, buttons, forms and formats."""

from core.admin.base import Button, NoService, ServiceModelAdmin, actor_of, read_id
from core.admin.display import NOTHING, duration_text, label, moment_text, pretty_json, size_text
from core.admin.forms import JsonTextField, ServiceForm
from core.admin.paginator import CappedPaginator
from core.admin.panels import Panel, add_panel

__all__ = [
    "NOTHING",
    "Button",
    "CappedPaginator",
    "JsonTextField",
    "NoService",
    "Panel",
    "ServiceForm",
    "ServiceModelAdmin",
    "actor_of",
    "add_panel",
    "duration_text",
    "label",
    "moment_text",
    "pretty_json",
    "read_id",
    "size_text",
]
