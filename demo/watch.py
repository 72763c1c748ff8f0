"""The way of one uploaded document through the product, read again and again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.client import Client
from demo.screen import AT_WORK, NOT_YET
from demo.workflow import STEPS

FINAL = frozenset({"completed", "failed", "cancelled", "timeout"})
HEAD = ["document", "state", *STEPS]
MILLISECONDS_PER_SECOND = 1000


@dataclass
class Watched:
    """One document: its file, its execution and the steps, as far as they are known."""

    path: Path
    file_id: int
    file: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def look(self, client: Client, workflow_id: int) -> None:
        """Ask for what may have changed."""
        if self.is_over:
            return
        self.file = client.file(self.file_id)
        if self.file["status"] == "failed":
            return
        found = client.execution(self.execution["id"]) if self.execution else None
        self.execution = found or client.find_execution(workflow_id, self.file_id) or {}
        if self.execution:
            self.steps = {step["step_name"]: step for step in client.steps(self.execution["id"])}

    @property
    def is_over(self) -> bool:
        return self.file.get("status") == "failed" or self.execution.get("status") in FINAL

    @property
    def succeeded(self) -> bool:
        return self.execution.get("status") == "completed"

    @property
    def row(self) -> list[str]:
        """The line of the table: how far it is, and how long each step that is done took."""
        state = self.execution.get("status") or self.file.get("status", "uploaded")
        return [self.path.name, state, *(_cell(self.steps.get(name)) for name in STEPS)]

    @property
    def result(self) -> str:
        """A sentence for the end: what came out, or why nothing did."""
        if self.file.get("status") == "failed":
            return f"{self.file['error_code']}: {self.file['error_message']}"
        if not self.succeeded:
            return str(self.execution.get("error_message") or f"ended {self.execution.get('status', 'nowhere')}")
        made = self.execution["result_data"]["shape"]
        took = duration(self.execution["execution_time_ms"])
        return f"read as {made['method']}, {_counts(self.file['metadata'])}{made['line']}; {took}"


def duration(milliseconds: int) -> str:
    """Write a duration as people read it."""
    if milliseconds < MILLISECONDS_PER_SECOND:
        return f"{milliseconds} ms"
    return f"{milliseconds / MILLISECONDS_PER_SECOND:.1f} s"


def _cell(step: dict[str, Any] | None) -> str:
    if step is None:
        return NOT_YET
    if step["status"] == "completed":
        return duration(step["execution_time_ms"] or 0)
    return AT_WORK if step["status"] == "running" else str(step["status"])


def _counts(metadata: dict[str, Any]) -> str:
    """Return what is countable in a document of this kind."""
    names = {
        "pdf_pages": "page",
        "word_paragraphs": "paragraph",
        "word_tables": "table",
        "csv_row_count": "row",
        "excel_sheets": "sheet",
        "excel_total_rows": "row",
    }
    counts = {name: metadata[key] for key, name in names.items() if key in metadata}
    return "".join(f"{count} {name}{'' if count == 1 else 's'}, " for name, count in counts.items())
