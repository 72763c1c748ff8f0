"""Schedules with real beats: two of them tick over one PostgreSQL, and one after the other is killed at the slot."""

import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.launcher import plan
from config.launcher.state import DataFolder
from tests.chaos import stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

POINTS = ("before_slot_commit", "after_slot_commit")
KILLS = 6
EDIT_SECONDS = 5.0

MAKE = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from workflows.models import Workflow
from workflows.services import schedules
interval = IntervalSchedule.objects.create(every=1, period="seconds")
schedules.save_schedule(
    PeriodicTask(name="every second", interval=interval), actor="test",
    workflow=Workflow.objects.get(pk={workflow}), policy=schedules.Policy(overlap_policy="allow"),
)
"""
# As any other program does it that knows django-celery-beat alone.
SWITCH_ON = """
from django_celery_beat.models import PeriodicTask
task = PeriodicTask.objects.get(name="every second")
task.enabled = True
task.save()
"""


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def product(tokens: Path) -> Iterator[stack.Stack]:
    points = ",".join(f"{point}={tokens / point}" for point in POINTS)
    with stack.running("127.0.0.1:9", FAULT_POINTS=points) as running:
        log = running.folder / "logs" / "beat-2.log"
        second = stack.Process("beat-2", plan.beat_command(DataFolder(running.folder)), log)
        running.processes.append(second)
        running.start(second)
        yield running


def wait_for(ask: Callable[[], Any], product: stack.Stack, seconds: float = 90) -> Any:
    """Ask until the answer is true; the stack restarts what died meanwhile."""
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        product.tend()
        if answer := ask():
            return answer
        time.sleep(0.05)  # polling real processes
    raise AssertionError(f"nothing came within {seconds} s:\n{product.last_words('beat')}")


def inside(product: stack.Stack, code: str) -> None:
    """Run code with the product's settings, as one more process."""
    command = plan.manage("shell", "--no-imports", "-c", code)
    subprocess.run(command, env=product.environ, cwd=plan.ROOT, check=True, capture_output=True, timeout=60)


def rows(product: stack.Stack, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(product.environ["DATABASE_URL"]) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def ledger(product: stack.Stack) -> list[tuple[Any, ...]]:
    return rows(product, "SELECT slot_at, outcome, execution_id, created_at FROM workflow_schedule_slots ORDER BY 1")


def beats(product: stack.Stack) -> set[int]:
    return {process.popen.pid for process in product.processes if process.name.startswith("beat") and process.popen}


def kill_at(product: stack.Stack, tokens: Path, point: str) -> bool:
    """Let the next process that passes the point die there by SIGKILL; true if it was a beat, not a worker's sweep."""
    known = beats(product)
    fresh = tokens / f"{point}.new"
    fresh.write_text("child")
    fresh.rename(tokens / point)
    [hit] = wait_for(lambda: list(tokens.glob(f"{point}.*.hit")), product)
    hit.unlink()
    struck = int(hit.name.split(".")[1])
    return struck in known | beats(product)


def test_each_slot_runs_once_while_beats_are_killed_at_the_slot_and_edits_count_within_5_s(
    product: stack.Stack, tokens: Path
) -> None:
    steps = [{"name": "say", "type": "log", "config": {"message": "{{trigger.scheduled_time}}"}}]
    workflow = product.api.create_workflow({"name": "Every second", "workflow_config": {"steps": steps}})
    inside(product, MAKE.format(workflow=workflow))
    wait_for(lambda: len(ledger(product)) >= 2, product)

    killed = dict.fromkeys(POINTS, 0)
    while sum(killed.values()) < KILLS:
        point = min(POINTS, key=lambda name: killed[name])
        killed[point] += kill_at(product, tokens, point)
    seen = len(ledger(product))
    wait_for(lambda: len(ledger(product)) >= seen + 3, product)
    product.api._ask(lambda: product.api._client.put(f"/workflows/{workflow}", json={"is_scheduled": False}))
    switched_off_at = datetime.now(UTC)

    slots = ledger(product)
    times = [slot_at for slot_at, *_ in slots]
    assert times == [times[0] + timedelta(seconds=number) for number in range(len(slots))]
    assert {outcome for _, outcome, *_ in slots} == {"ran"}
    assert times[-1] <= switched_off_at
    runs = rows(product, "SELECT id, trigger_data->>'scheduled_time' FROM workflow_executions ORDER BY id")
    expected = {execution: slot_at.strftime("%Y-%m-%dT%H:%M:%SZ") for slot_at, _, execution, _ in slots}
    assert dict(runs) == expected
    done = "SELECT count(*) FROM workflow_executions WHERE status = 'completed'"
    wait_for(lambda: rows(product, done) == [(len(slots),)], product)

    inside(product, SWITCH_ON)
    edited = rows(product, "SELECT last_update FROM django_celery_beat_periodictasks")[0][0]
    fresh = wait_for(lambda: ledger(product)[len(slots) :], product)
    assert fresh[0][0] > switched_off_at
    # Within 5 s, and by how much the slots of this machine were late when nobody was killed.
    late_seconds = max((created_at - slot_at).total_seconds() for slot_at, _, _, created_at in slots[seen + 1 :])
    assert (fresh[0][3] - edited).total_seconds() < EDIT_SECONDS + late_seconds
    [[is_scheduled]] = rows(product, f"SELECT is_scheduled FROM workflows WHERE id = {workflow}")
    assert is_scheduled
