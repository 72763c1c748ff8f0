"""Panels under a detail page. An app may put one on a lower app's page, which does not know it."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string


@dataclass(frozen=True)
class Panel:
    """A template, and the function that reads what it shows: (request, object) -> context."""

    template: str
    context: Callable[[HttpRequest, Any], dict[str, Any]]

    def render(self, request: HttpRequest, instance: Model) -> str:
        """Return the panel's HTML."""
        return render_to_string(self.template, {"object": instance, **self.context(request, instance)}, request)


_panels: dict[str, list[Panel]] = defaultdict(list)


def add_panel(model_label: str, panel: Panel) -> None:
    """Show `panel` on the pages of a model, e.g. "files.File"; called from an upper app's admin module."""
    if panel not in _panels[model_label.lower()]:
        _panels[model_label.lower()].append(panel)


def added_panels(model_label: str) -> list[Panel]:
    """Return the panels that other apps have put on a model's pages."""
    return list(_panels[model_label.lower()])
