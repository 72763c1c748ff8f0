"""What every run does: a workflow of all kinds of steps over a freshly uploaded document."""

import io
from dataclasses import dataclass
from typing import Any

from reportlab.pdfgen.canvas import Canvas

RESERVE, CHARGE, CONFIRM = "reserve", "charge", "confirm"
# In this order; `charge` must never happen twice.
EFFECTS = (RESERVE, CHARGE, CONFIRM)
STEPS = ("begin", "shape", RESERVE, "pause", "read", "decide", CHARGE, CONFIRM, "end")
DELAY_SECONDS = 0.3
HTTP_TIMEOUT_SECONDS = 1.5


@dataclass(frozen=True)
class Document:
    """A document of our own making; its text holds `marker`."""

    name: str
    content: bytes
    marker: str


def documents(marker: str, count: int) -> list[Document]:
    """Return `count` documents, of the kinds PDF, TXT and CSV in turn, each with a marker of its own."""
    makers = (("pdf", _pdf), ("txt", _txt), ("csv", _csv))
    made = []
    for number in range(count):
        extension, make = makers[number % len(makers)]
        word = f"{marker}x{number}"
        made.append(Document(f"document-{word}.{extension}", make(word), word))
    return made


def workflow(name: str, effects_url: str) -> dict[str, Any]:
    """Return the body that creates the scenario's workflow (dialect A); uploads start it too."""

    def call(step: str, **more: Any) -> dict[str, Any]:
        config = {
            "url": f"{effects_url}/{{{{execution_id}}}}/{step}",
            "method": "POST",
            "json": {"file": "{{trigger.file_id}}"},
            "timeout": HTTP_TIMEOUT_SECONDS,
            "expected_status": 200,
        }
        return {"name": step, "type": "http_request", "config": config, **more}

    steps = [
        {"name": "begin", "type": "log", "config": {"message": "begin {{execution_id}}"}},
        {
            "name": "shape",
            "type": "data_transform",
            "config": {
                "source_data": "{{trigger}}",
                "transformations": [{"type": "extract", "path": "file_id", "key": "file"}],
            },
        },
        call(RESERVE),
        {"name": "pause", "type": "delay", "config": {"seconds": DELAY_SECONDS}},
        {"name": "read", "type": "file_process", "config": {"action": "extract", "file_id": "{{steps.shape.file}}"}},
        {
            "name": "decide",
            "type": "conditional",
            "config": {
                "condition": "{{steps.read.word_count}} > 0",
                "true_action": {"type": "log", "config": {"message": "has {{steps.read.word_count}} words"}},
                "false_action": {"type": "log", "config": {"message": "is empty", "level": "error"}},
            },
        },
        call(CHARGE, effect="once"),
        call(CONFIRM),
        {"name": "end", "type": "log", "config": {"message": "end {{execution_id}}"}},
    ]
    return {"name": name, "workflow_config": {"steps": steps}, "trigger_on_file_upload": True, "is_enabled": True}


def _pdf(word: str) -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.drawString(72, 720, f"Invoice {word} over 12 pieces")
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _txt(word: str) -> bytes:
    return f"A letter about {word}.\nWith a second line.\n".encode()


def _csv(word: str) -> bytes:
    return f"article,pieces\n{word},12\nother,7\n".encode()
