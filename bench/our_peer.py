"""The product's services in a process of its own, without HTTP and workers. Run as a `processes.Peer`."""

import cProfile
import pstats
import time
from pathlib import Path
from typing import Any

import django

django.setup()

from accounts import services as accounts  # noqa: E402
from bench.processes import requests  # noqa: E402
from bench.workloads import TRIGGER_DATA  # noqa: E402
from workflows import services  # noqa: E402
from workflows.choices import Lane, TriggerType  # noqa: E402
from workflows.engine.drain import drain  # noqa: E402
from workflows.models import Workflow  # noqa: E402


def create(name: str, steps: list[dict[str, Any]]) -> int:
    """Create a workflow and return its id."""
    body = {"name": name, "workflow_config": {"steps": steps}}
    return services.create_workflow(owner=accounts.service_owner(), body=body, actor="bench").pk


def insert(workflow_id: int, count: int) -> float:
    """Start `count` executions and return the seconds that took; nobody runs them yet."""
    workflow = Workflow.objects.get(pk=workflow_id)
    began_at = time.perf_counter()
    for _ in range(count):
        _start(workflow)
    return time.perf_counter() - began_at


def run(workflow_id: int, count: int) -> float:
    """Start and run `count` executions one after the other, in this process; return the seconds."""
    workflow = Workflow.objects.get(pk=workflow_id)
    began_at = time.perf_counter()
    for _ in range(count):
        _start(workflow)
        drain(Lane.FLOW)
    return time.perf_counter() - began_at


def _start(workflow: Workflow) -> None:
    services.start_execution(workflow, services.Start(trigger_type=TriggerType.MANUAL, trigger_data=TRIGGER_DATA))


def profile(workflow_id: int, count: int) -> dict[str, float]:
    """Drain `count` executions under Python's profiler; return ms per execution by place, and of all as "all"."""
    insert(workflow_id, count)
    profiler = cProfile.Profile()
    began_at = time.perf_counter()
    with profiler:
        while drain(Lane.FLOW):
            pass
    seconds = time.perf_counter() - began_at
    spent = {
        (Path(file).name, name): cumulative
        for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items()  # type: ignore[attr-defined]
    }
    return {"all": seconds * 1000 / count} | {
        label: spent[place] * 1000 / count for label, place in PLACES.items() if place in spent
    }


# Where the time of an execution goes: file and function, with all that it calls.
PLACES = {
    "claims": ("lease.py", "claim"),
    "steps: expressions, the work itself, cleaning": ("runner.py", "_run_node"),
    "the transaction that ends it": ("checkpoint.py", "finish"),
    "of that, rows of steps": ("checkpoint.py", "write_attempts"),
    "of that, its event": ("store.py", "append_event"),
    "of that, COMMIT": ("base.py", "_commit"),
    "waiting for PostgreSQL in all": ("connection.py", "wait"),
}
ACTIONS = {"create": create, "insert": insert, "run": run, "profile": profile}


def main() -> None:
    """Answer `{"action": "create" | "insert" | "run", ...}` with what that function returns."""
    for request, answer in requests():
        answer(ACTIONS[request.pop("action")](**request))


if __name__ == "__main__":
    main()
