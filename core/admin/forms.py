"""Forms whose data goes to services, and JSON in a text area."""

import hashlib
import json
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from core import jsonsafe
from core.admin import json_text
from core.errors import DomainError

# The hidden field that says which state of the row the page showed.
SEEN = "_seen"
CHANGED_ELSEWHERE = (
    "This was changed elsewhere since you opened the page. What you typed stands below: save again to put it in the "
    "place of that change, or open the page anew to see it first."
)


class JsonTextField(forms.CharField):
    """JSON typed by a person: keeps what was typed, and says the line and column of a mistake.

    Cleans to the parsed value; empty text cleans to None. What would not be stored as it was typed, such as 1e999
    or an integer beyond 64 bits, is refused with its place: nothing is changed behind anybody's back.
    """

    def __init__(self, *, rows: int = 24, object_only: bool = True, **kwargs: Any) -> None:
        self.object_only = object_only
        attrs = {"rows": rows, "class": "json-editor", "spellcheck": "false", "autocomplete": "off"}
        super().__init__(widget=kwargs.pop("widget", None) or UnfoldAdminTextareaWidget(attrs=attrs), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return value if value is None or isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return self._parsed(text) if text.strip() else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data or "") != (json.loads(initial) if isinstance(initial, str) else initial))
        except ValidationError:
            return True

    def _parsed(self, text: str) -> Any:
        try:
            found = json_text.read(text)
            if found.losses:
                raise ValidationError([f"{loss.pointer or 'Here'}: {loss.message}" for loss in found.losses])
            value, _ = jsonsafe.clean(found.value)
        except json.JSONDecodeError as error:
            raise ValidationError(f"Line {error.lineno}, column {error.colno}: {error.msg}") from error
        except (jsonsafe.NotJson, RecursionError, ValueError) as error:
            raise ValidationError(f"This cannot be stored: {error}") from error
        if self.object_only and not isinstance(value, dict):
            raise ValidationError("A JSON object is needed: { … }")
        return value


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form whose object a service saves; the service's refusal comes back as errors of the fields.

    Of two people (or tabs) who edit a row at once, the second is told before the first one's change is lost.
    `problem_fields` names the field for the first part of a problem's place that is no field itself.
    """

    problem_fields: ClassVar[dict[str, str]] = {}
    # Set by the admin on the second showing of a form that a service refused.
    refusal: DomainError | None = None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.instance.pk is not None and self.data.get(SEEN, self.seen) != self.seen:
            self.add_error(None, CHANGED_ELSEWHERE)
        if self.refusal is not None:
            self._add_refusal(self.refusal)
        return cleaned

    @property
    def seen(self) -> str:
        """Return a word for what the row says now, in the form's fields."""
        values = {name: self._stored(name) for name in self.fields}
        return hashlib.sha256(repr(values).encode()).hexdigest()[:16]

    def _stored(self, name: str) -> Any:
        """Return what the row says in a field, as text that is always the same for the same value."""
        value = self.initial.get(name)
        return sorted(map(str, value)) if isinstance(value, list) else str(value)

    def _add_refusal(self, refusal: DomainError) -> None:
        if not refusal.problems:
            self.add_error(None, refusal.detail)
        for problem in refusal.problems:
            place = [str(part) for part in problem.loc if part != "body"]
            name = self._field_of(place)
            inside = "" if name == NON_FIELD_ERRORS or place == [name] else "/" + "/".join(place) + ": "
            self.add_error(None if name == NON_FIELD_ERRORS else name, f"{inside}{problem.msg}")

    def _field_of(self, place: list[str]) -> str:
        first = place[0] if place else ""
        name = first if first in self.fields else self.problem_fields.get(first, "")
        return name if name in self.fields else NON_FIELD_ERRORS
