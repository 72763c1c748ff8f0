"""What runs do: a handful of plots, each a workflow whose executions have effects that the server counts."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reportlab.pdfgen.canvas import Canvas

RESERVE, CHARGE, CONFIRM = "reserve", "charge", "confirm"
DELAY_SECONDS = 0.3
HOLD_SECONDS = 0.1
HTTP_TIMEOUT_SECONDS = 1.0
ITEMS = 12
AT_ONCE = 3
# The clock of the product jumps: no execution may run out of its time for that.
TIMEOUT_SECONDS = 30 * 86_400
# Further than the clock jumps.
LOOK_BACK_SECONDS = 86_400


@dataclass(frozen=True)
class Act:
    """An effect of an execution: `step` is its name at the server, `path` that of the step which has it."""

    step: str
    path: str
    once: bool = False


@dataclass(frozen=True)
class Plot:
    """A workflow with what its executions must come to.

    `order` holds pairs of acts of which the first comes first. `steps` are those of its own list that are over at
    its end, in order where `is_linear`. `ends` is its end (status, error code) where nothing stays unknown.
    """

    name: str
    acts: tuple[Act, ...]
    steps: tuple[str, ...]
    order: tuple[tuple[str, str], ...] = ()
    ends: tuple[str, str | None] = ("completed", None)
    is_linear: bool = False
    # Undoing acts; what becomes of them does not change the end.
    undoing: tuple[str, ...] = ()

    def act(self, step: str) -> Act | None:
        return next((act for act in self.acts if act.step == step), None)


MAIN = Plot(
    "main",
    acts=(Act(RESERVE, RESERVE), Act(CHARGE, CHARGE, once=True), Act(CONFIRM, CONFIRM)),
    steps=("begin", "shape", RESERVE, "pause", "read", "decide", CHARGE, CONFIRM, "end"),
    order=((RESERVE, CHARGE), (CHARGE, CONFIRM)),
    is_linear=True,
)
LOOP = Plot("loop", tuple(Act(f"item-{n}", f"loop/{n}/item") for n in range(ITEMS)), steps=("loop", "end"))
STAMPS = Plot("stamps", tuple(Act(f"item-{n}", f"loop/{n}/item", once=True) for n in range(ITEMS)), ("loop", "end"))
FAN = Plot(
    "fan",
    acts=(Act("left", "fan/left"), Act("middle", "fan/slow/middle", once=True), Act("right", "fan/checked/check/true")),
    steps=("fan", "call", "end"),
)
CALLED = Plot("called", (Act("fetch", "fetch"),), ("fetch", "say"), is_linear=True)
GRAPH = Plot(
    "graph",
    acts=(Act("prepare", "prepare"), Act("one", "one"), Act("two", "two", once=True), Act("merge", "merge")),
    steps=("prepare", "one", "two", "merge"),
    order=(("prepare", "one"), ("prepare", "two"), ("one", "merge"), ("two", "merge")),
)
LIMITED = Plot(
    "limited",
    acts=(Act("enter", "enter"), Act("leave", "leave")),
    steps=("enter", "hold", "leave"),
    order=(("enter", "leave"),),
    is_linear=True,
)
BOOKED = ("book", "pay", "ship")
SAGA = Plot(
    "saga",
    acts=(
        *(Act(step, step) for step in BOOKED),
        *(Act(f"undo-{step}", f"{step}/compensate", once=True) for step in reversed(BOOKED)),
        Act("farewell", "finally/farewell"),
    ),
    steps=(*BOOKED, "refuse"),
    order=(
        *(("book", "pay"), ("pay", "ship"), ("ship", "undo-ship")),
        *(("undo-ship", "undo-pay"), ("undo-pay", "undo-book"), ("undo-book", "farewell")),
    ),
    ends=("failed", "stopped"),
    undoing=tuple(f"undo-{step}" for step in BOOKED),
)
EVENT = Plot("event", (Act("ask", "ask"), Act("thank", "thank")), ("ask", "paid", "thank"), (("ask", "thank"),))
EVENT_TYPE = "chaos.paid"
APPROVAL = Plot("approval", (Act("ask", "ask"), Act("thank", "thank")), ("ask", "agree", "thank"), (("ask", "thank"),))
# Who is asked; the client of the suite decides, as the key of the asking workflow's owner.
GROUP = "deciders"
PLOTS = {plot.name: plot for plot in (MAIN, LOOP, STAMPS, FAN, CALLED, GRAPH, LIMITED, SAGA, EVENT, APPROVAL)}
LOOPS = (LOOP, STAMPS)
# How often a run starts what it plays; uploads start the first further times.
STARTS = {MAIN: 1, LOOP: 1, STAMPS: 1, FAN: 1, GRAPH: 2, LIMITED: 5, SAGA: 1, EVENT: 2, APPROVAL: 2}


@dataclass(frozen=True)
class Document:
    """A document of our own making; its text holds `marker`."""

    name: str
    content: bytes
    marker: str


def documents(marker: str, count: int) -> list[Document]:
    """Return `count` documents, of the kinds PDF, TXT and CSV in turn, each with a marker of its own."""
    makers = (("txt", _txt), ("pdf", _pdf), ("csv", _csv))
    first = sum(map(ord, marker))
    made = []
    for number in range(count):
        extension, make = makers[(first + number) % len(makers)]
        word = f"{marker}x{number}"
        made.append(Document(f"document-{word}.{extension}", make(word), word))
    return made


def workflow(plot: Plot, name: str, effects_url: str, *, called_id: int = 0) -> dict[str, Any]:
    """Return the body that creates a plot's workflow (dialect A); `called_id` is that of CALLED's, for FAN."""

    def call(step: str, *, at: str = "", **more: Any) -> dict[str, Any]:
        config = {
            "url": f"{effects_url}/{{{{execution_id}}}}/{at or step}",
            "method": "POST",
            "json": {"number": "{{trigger.number}}"},
            "timeout": HTTP_TIMEOUT_SECONDS,
            "expected_status": 200,
        }
        return {"name": step, "type": "http_request", "config": config, **more}

    config: dict[str, Any] = {"steps": BODIES[plot.name](call, called_id)}
    if plot is SAGA:
        config["finally"] = [call("farewell")]
    body = {"name": name, "workflow_config": config, "is_enabled": True, "timeout_seconds": TIMEOUT_SECONDS}
    if plot is LIMITED:
        body |= {"concurrency_limit": AT_ONCE, "concurrency_policy": "queue"}
    return body | {"trigger_on_file_upload": plot is MAIN}


Call = Callable[..., dict[str, Any]]


def _log(name: str, message: str) -> dict[str, Any]:
    return {"name": name, "type": "log", "config": {"message": message}}


def _delay(name: str, seconds: float) -> dict[str, Any]:
    return {"name": name, "type": "delay", "config": {"seconds": seconds}}


def _main(call: Call, called_id: int) -> list[dict[str, Any]]:
    transformations = [{"type": "extract", "path": "file_id", "key": "file"}]
    shape = {"source_data": "{{trigger}}", "transformations": transformations}
    decide = {
        "condition": "{{steps.read.word_count}} > 0",
        "true_action": {"type": "log", "config": {"message": "has {{steps.read.word_count}} words"}},
        "false_action": {"type": "log", "config": {"message": "is empty", "level": "error"}},
    }
    return [
        _log("begin", "begin {{execution_id}}"),
        {"name": "shape", "type": "data_transform", "config": shape},
        call(RESERVE),
        _delay("pause", DELAY_SECONDS),
        {"name": "read", "type": "file_process", "config": {"action": "extract", "file_id": "{{steps.shape.file}}"}},
        {"name": "decide", "type": "conditional", "config": decide},
        call(CHARGE, effect="once"),
        call(CONFIRM),
        _log("end", "end {{execution_id}}"),
    ]


def _loop(call: Call, called_id: int) -> list[dict[str, Any]]:
    config = {"items": list(range(ITEMS)), "max_concurrency": AT_ONCE, "steps": [call("item", at="item-{{index}}")]}
    return [{"name": "loop", "type": "foreach", "config": config}, _log("end", "{{steps.loop.count}}")]


def _stamps(call: Call, called_id: int) -> list[dict[str, Any]]:
    stamp = call("item", at="item-{{item}}", effect="once")
    config = {"items": list(range(ITEMS)), "max_concurrency": AT_ONCE, "on_item_error": "continue", "steps": [stamp]}
    return [{"name": "loop", "type": "foreach", "config": config}, _log("end", "{{steps.loop.failed}}")]


def _fan(call: Call, called_id: int) -> list[dict[str, Any]]:
    action = {key: value for key, value in call("right").items() if key != "name"}
    check = {"condition": "{{trigger.number}} >= 0", "true_action": action}
    branches = [
        call("left"),
        {"name": "slow", "steps": [_delay("nap", HOLD_SECONDS), call("middle", effect="once")]},
        {"name": "checked", "steps": [{"name": "check", "type": "conditional", "config": check}]},
    ]
    calling = {"workflow_id": called_id, "input": {"number": "{{trigger.number}}"}}
    return [
        {"name": "fan", "type": "parallel", "config": {"steps": branches}},
        {"name": "call", "type": "workflow", "config": calling},
        _log("end", "{{steps.call.status}}"),
    ]


def _called(call: Call, called_id: int) -> list[dict[str, Any]]:
    return [call("fetch"), _log("say", "{{trigger.number}}")]


def _graph(call: Call, called_id: int) -> list[dict[str, Any]]:
    return [
        call("prepare"),
        call("one", depends_on=["prepare"]),
        call("two", depends_on=["prepare"], effect="once"),
        call("merge", depends_on=["one", "two"]),
    ]


def _limited(call: Call, called_id: int) -> list[dict[str, Any]]:
    return [call("enter"), _delay("hold", HOLD_SECONDS), call("leave")]


def _saga(call: Call, called_id: int) -> list[dict[str, Any]]:
    undo = {step: call("undo", at=f"undo-{step}", effect="once") for step in BOOKED}
    refuse = {"name": "refuse", "type": "stop", "config": {"status": "failed", "message": "refused"}}
    return [*(call(step, compensate=undo[step]) for step in BOOKED), refuse]


def _event(call: Call, called_id: int) -> list[dict[str, Any]]:
    condition = "{{event.data.key}} == {{trigger.key}}"
    config = {"event_type": EVENT_TYPE, "filter": condition, "look_back_seconds": LOOK_BACK_SECONDS}
    return [call("ask"), {"name": "paid", "type": "wait_for_event", "config": config}, call("thank")]


def _approval(call: Call, called_id: int) -> list[dict[str, Any]]:
    agree = {"name": "agree", "type": "approval", "config": {"group": GROUP, "message": "May {{trigger.number}}?"}}
    return [call("ask"), agree, call("thank")]


BODIES: dict[str, Callable[[Call, int], list[dict[str, Any]]]] = {
    "main": _main,
    "loop": _loop,
    "stamps": _stamps,
    "fan": _fan,
    "called": _called,
    "graph": _graph,
    "limited": _limited,
    "saga": _saga,
    "event": _event,
    "approval": _approval,
}


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
