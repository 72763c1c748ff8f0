"""Small pieces of Markdown."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

MADE = "<!-- Made by `python manage.py write_reference`; edit the code or config/reference, not this page. -->"


def page(title: str, *parts: str) -> str:
    """Return a whole page that says what made it."""
    return "\n\n".join((f"# {title}", MADE, *parts)) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(value: Any) -> str:
    """Return a value as JSON, or a text as it is, in code marks."""
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def block(value: Any) -> str:
    """Return a value as a block of JSON."""
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def sentence(text: str | None) -> str:
    """Return a docstring's first paragraph on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())
