"""Large outputs are kept in the storage, and what cannot be kept fails its step with a stated error."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from pytest_django import Settings

from accounts import services as accounts
from core import clock
from files import stored_bytes
from files.errors import StorageUnavailable
from tests import factories
from workflows.choices import Effect, Lane
from workflows.engine import checkpoint, spill
from workflows.engine.drain import drain
from workflows.engine.spill import Spilled
from workflows.engine.steps import registry
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError
from workflows.models import Branch, Execution, Spill, StepAttempt

pytestmark = pytest.mark.django_db

MB = 1024 * 1024


class LargeConfig(StepConfig):
    size: int = 300_000
    fails: bool = False
    value: Any = None


class Large(Step[LargeConfig]):
    """Returns as many characters as it is asked for, or what no database holds."""

    type = "test_large"
    config_model = LargeConfig
    effect = Effect.PURE
    lane = None
    odd: Any = None

    def run(self, config: LargeConfig, context: StepContext) -> Output:
        output = {"text": "x" * config.size, "inner": {"n": 7}} if Large.odd is None else Large.odd
        if config.fails:
            raise StepError("no_luck", "it failed", retryable=False, output=output)
        return Output(output)


@pytest.fixture(autouse=True)
def _step_type() -> Iterator[None]:
    registry.names()
    registry.register(Large)
    yield
    del registry._types["test_large"]


@pytest.fixture(autouse=True)
def storage(settings: Settings, tmp_path: Path) -> Path:
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}},
    }
    return tmp_path


def large(name: str = "large", **config: object) -> dict[str, object]:
    return {"name": name, "type": "test_large", "config": config}


def log_step(name: str, message: object) -> dict[str, object]:
    return {"name": name, "type": "log", "config": {"message": message}}


def stored_files(storage: Path) -> list[Path]:
    return sorted(path for path in storage.rglob("*") if path.is_file())


def test_a_large_output_is_in_the_storage_and_a_small_one_in_its_row(storage: Path) -> None:
    execution = factories.run(factories.make_workflow([large(), log_step("small", "hi")]))

    row, small = StepAttempt.objects.filter(execution=execution).order_by("node")
    kept = Spill.objects.get()
    assert (row.output_data, row.spill_id) == (None, kept.pk)
    assert (small.output_data, small.spill_id) == ({"message": "hi", "level": "info"}, None)
    [file] = stored_files(storage)
    assert file == storage / kept.path
    assert json.loads(file.read_bytes()) == {"text": "x" * 300_000, "inner": {"n": 7}}
    assert kept.size_bytes == file.stat().st_size


@pytest.mark.parametrize(("size", "spilled"), [(256 * 1024 - 30, False), (256 * 1024, True)])
def test_the_bound_is_256_kib_of_json(size: int, spilled: bool) -> None:
    factories.run(factories.make_workflow([large(size=size)]))

    assert Spill.objects.exists() is spilled


def run_in_two_slices(steps: list[dict[str, object]]) -> Execution:
    """Run with a pause behind the first step, so that the others read what it stored."""
    pause = {"name": "pause", "type": "delay", "config": {"seconds": 5}}
    execution = factories.start(factories.make_workflow([steps[0], pause, *steps[1:]]))
    drain(Lane.FLOW)
    with clock.moved_by(seconds=6):
        factories.drain_all()
    execution.refresh_from_db()
    return execution


def test_a_later_slice_reads_it_by_path_whole_and_as_text() -> None:
    execution = run_in_two_slices(
        [
            large(),
            log_step("path", "{{steps.large.inner.n}}"),
            log_step("code", "{{ steps.large.text | length }}"),
            log_step("keys", "{{ steps.large.inner }} {{ 'inner' in steps.large }}"),
            {
                "name": "shape",
                "type": "data_transform",
                "config": {
                    "source_data": "{{steps.large}}",
                    "transformations": [{"type": "extract", "path": "inner.n", "key": "n"}],
                },
            },
        ]
    )

    assert execution.status == "completed", execution.error_message
    outputs = factories.outputs(execution)
    assert outputs["path"]["message"] == 7
    assert outputs["code"]["message"] == 300_000
    assert outputs["keys"]["message"] == '{"n":7} true'
    assert outputs["shape"] == {"n": 7, "result": 7}
    row = StepAttempt.objects.get(execution=execution, path="shape")
    assert (
        row.input_data["source_data"]
        == f"{len(json.dumps({'text': 'x' * 300_000, 'inner': {'n': 7}}, separators=(',', ':')))} bytes"
    )


def test_nobody_reads_it_unless_a_path_leads_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    reading = stored_bytes.reading
    monkeypatch.setattr(stored_bytes, "reading", lambda name: opened.append(name) or reading(name))  # type: ignore[func-returns-value]

    execution = run_in_two_slices([large(), log_step("other", "{{trigger}}"), log_step("another", "{{steps.other}}")])

    assert execution.status == "completed"
    assert opened == []


def test_the_previous_output_and_a_conditionals_result_come_from_the_storage(storage: Path) -> None:
    inside = [
        large("inner"),
        {"name": "pause", "type": "delay", "config": {"seconds": 5}},
        large("again"),
    ]
    deep = {"type": "extract", "path": "result.inner.n", "key": "n"}
    steps = [
        {"name": "choose", "type": "conditional", "config": {"condition": "true", "true_action": {"steps": inside}}},
        {"name": "take", "type": "data_transform", "config": {"transformations": [deep]}},
    ]
    execution = factories.start(factories.make_workflow(steps))
    drain(Lane.FLOW)
    with clock.moved_by(seconds=6):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed", execution.error_message
    assert factories.outputs(execution)["take"] == {"n": 7, "result": 7}
    chosen = StepAttempt.objects.get(execution=execution, path="choose")
    assert chosen.output_data is None
    whole = spill.read_all([chosen.spill_id or 0])[chosen.spill_id or 0]
    assert (whole["branch"], whole["result"]["inner"]) == ("true", {"n": 7})


def test_parallel_results_and_a_called_workflows_result_hold_it_whole() -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([large()], owner=owner)
    steps = [
        {"name": "both", "type": "parallel", "config": {"steps": [large("a"), log_step("b", "hi")]}},
        {"name": "call", "type": "workflow", "config": {"workflow_id": called.pk}},
        log_step("say", "{{steps.both.parallel_results.a.inner.n}} {{steps.call.result.large.inner.n}}"),
    ]

    execution = factories.run(factories.make_workflow(steps, owner=owner))

    assert execution.status == "completed", execution.error_message
    assert factories.outputs(execution)["say"]["message"] == "7 7"


def test_a_20_mib_output_fails_the_step_with_the_stated_error(storage: Path) -> None:
    execution = factories.run(factories.make_workflow([large(size=20 * MB)]))

    assert (execution.status, execution.error_code) == ("failed", "output_too_large")
    size = 20 * MB + len('{"text":"","inner":{"n":7}}')
    said = f"the step's output has {size} bytes of JSON; at most {10 * MB} are allowed"
    assert execution.error_message == f"Step 'large' failed: {said}"
    assert StepAttempt.objects.get().attempt == 1
    assert not Branch.objects.exists()
    assert stored_files(storage) == []


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"a": object()}, "the step's output cannot be stored: a value of type object cannot be stored as JSON"),
        ({(1, 2): "a"}, "the step's output cannot be stored: a key of type tuple cannot be stored as JSON"),
    ],
)
def test_what_json_cannot_hold_fails_the_step_with_the_stated_error(odd: Any, message: str) -> None:
    Large.odd = odd
    try:
        execution = factories.run(factories.make_workflow([large()]))
    finally:
        Large.odd = None

    assert (execution.status, execution.error_code) == ("failed", "output_not_json")
    assert execution.error_message == f"Step 'large' failed: {message}"
    assert not Branch.objects.exists()


def test_what_jsonb_cannot_hold_is_cleaned_with_a_warning() -> None:
    Large.odd = {"nul": "a\x00b", "nan": float("nan"), "half": "\ud800", "huge": 10**400}
    try:
        execution = factories.run(factories.make_workflow([large()]))
    finally:
        Large.odd = None

    assert execution.status == "completed"
    row = StepAttempt.objects.get()
    assert row.output_data == {"nul": "ab", "nan": None, "half": "?", "huge": None}
    assert len(row.warnings) == 4


def test_a_failed_steps_large_output_is_kept_too_and_one_beyond_the_bound_left_out() -> None:
    kept = factories.run(factories.make_workflow([large(fails=True)]))
    dropped = factories.run(factories.make_workflow([large(fails=True, size=11 * MB)]))

    assert StepAttempt.objects.get(execution=kept).spill_id is not None
    row = StepAttempt.objects.get(execution=dropped)
    assert (row.error_code, row.output_data, row.spill_id) == ("no_luck", None, None)
    assert row.warnings[0].startswith("left out: the step's output has")


def test_a_storage_that_refuses_costs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_bytes, "store", full)

    execution = factories.run(factories.make_workflow([large()]))

    assert execution.status == "completed"
    assert factories.outputs(execution)["large"]["inner"] == {"n": 7}


def test_an_output_that_is_gone_fails_whoever_reads_it(storage: Path) -> None:
    pause = {"name": "pause", "type": "delay", "config": {"seconds": 5}}
    execution = factories.start(factories.make_workflow([large(), pause, log_step("read", "{{steps.large.text}}")]))
    drain(Lane.FLOW)
    [file] = stored_files(storage)
    file.unlink()

    with clock.moved_by(seconds=6):
        factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "output_missing")


def test_the_api_gives_it_whole_for_one_execution_and_cuts_it_in_lists(settings: Settings) -> None:
    settings.RATE_LIMIT_ENABLED = False
    workflow = factories.make_workflow([large(), log_step("small", "hi")])
    execution = factories.run(workflow)
    _, key = accounts.create_api_key(owner=workflow.owner, name="k", scopes=["read"], actor="x")
    client = Client(headers={"X-API-Key": key})

    one = client.get(f"/api/v1/workflows/executions/{execution.pk}").json()
    steps = client.get(f"/api/v1/workflows/executions/{execution.pk}/steps").json()
    [listed] = client.get("/executions").json()

    assert one["result_data"]["large"] == {"text": "x" * 300_000, "inner": {"n": 7}}
    assert "result_truncated" not in one
    assert steps[0]["output_data"] == one["result_data"]["large"]
    assert "output_truncated" not in steps[0]
    assert listed["result_truncated"] is True
    assert listed["result_data"] == {"small": {"message": "hi", "level": "info"}}


def test_an_answer_reads_only_so_much_from_the_storage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMIT_ENABLED = False
    monkeypatch.setattr("workflows.selectors.MOST_SPILLED_BYTES", 400_000)
    workflow = factories.make_workflow([large("a"), large("b")])
    execution = factories.run(workflow)
    _, key = accounts.create_api_key(owner=workflow.owner, name="k", scopes=["read"], actor="x")
    client = Client(headers={"X-API-Key": key})

    steps = client.get(f"/api/v1/workflows/executions/{execution.pk}/steps").json()
    one = client.get(f"/api/v1/workflows/executions/{execution.pk}").json()

    assert [step.get("output_truncated", False) for step in steps] == [False, True]
    assert (list(one["result_data"]), one["result_truncated"]) == (["a"], True)


def test_what_a_crash_left_is_removed_after_an_hour_and_what_is_named_stays(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*args: object) -> None:
        raise checkpoint.LeaseLost

    kept = factories.run(factories.make_workflow([large()]))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "write_attempts", dies)
        factories.start(factories.make_workflow([large()]))
        drain(Lane.FLOW)
    assert len(stored_files(storage)) == 2

    early = spill.sweep_spills()
    with clock.moved_by(hours=2):
        late = spill.sweep_spills()

    assert (early, late) == (0, 1)
    named = StepAttempt.objects.get(execution=kept)
    assert list(Spill.objects.values_list("pk", "check_at")) == [(named.spill_id, None)]
    assert len(stored_files(storage)) == 1
    assert Spilled(named.spill_id or 0)["inner"] == {"n": 7}


def test_while_the_storage_does_not_answer_outputs_stay_and_are_looked_at_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(path: str) -> None:
        if path != "spill/0.json":
            raise StorageUnavailable("no route")

    for number in range(3):
        due = clock.now() - timedelta(hours=1, seconds=-number)
        Spill.objects.create(path=f"spill/{number}.json", size_bytes=1, sha256="0" * 64, check_at=due)
    with monkeypatch.context() as patched:
        patched.setattr(stored_bytes, "remove", away)
        first, second = spill.sweep_spills(), spill.sweep_spills()
    left = Spill.objects.count()
    with clock.moved_by(minutes=6):
        after = spill.sweep_spills()

    assert (first, second, left, after) == (1, 0, 2, 2)


def test_the_time_for_removing_outputs_is_bounded() -> None:
    for number in range(3):
        due = clock.now() - timedelta(hours=1)
        Spill.objects.create(path=f"spill/{number}.json", size_bytes=1, sha256="0" * 64, check_at=due)

    assert [spill.sweep_spills(budget_seconds=0) for _ in range(4)] == [1, 1, 1, 0]


def test_a_row_whose_bytes_were_never_written_goes_too() -> None:
    Spill.objects.create(
        path="spill/never.json", size_bytes=1, sha256="0" * 64, check_at=clock.now() - timedelta(hours=1)
    )

    assert spill.sweep_spills() == 1
    assert not Spill.objects.exists()
    assert not default_storage.exists("spill/never.json")


def test_damaged_bytes_are_no_output(storage: Path) -> None:
    execution = factories.run(factories.make_workflow([large()]))
    [file] = stored_files(storage)
    file.write_bytes(b'{"text":"something else"}')

    assert spill.read_all([StepAttempt.objects.get(execution=execution).spill_id or 0]) == {}


@pytest.mark.parametrize("message", ["{{steps.large.inner.n}}", "{{ steps.large.inner.n }} of {{ steps | length }}"])
def test_while_the_storage_is_away_who_has_to_read_it_waits_and_loses_no_attempt(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = {"name": "pause", "type": "delay", "config": {"seconds": 5}}
    execution = factories.run(factories.make_workflow([large(), pause, log_step("reads", message)]))

    with clock.moved_by(seconds=6), monkeypatch.context() as patched:
        patched.setattr(stored_bytes, "reading", no_route)
        factories.drain_all()
        waiting = Branch.objects.get()
    with clock.moved_by(seconds=17):
        factories.drain_all()

    execution.refresh_from_db()
    assert waiting.waiting_reason == "waits for large outputs: The file storage is not available: no route"
    assert execution.status == "completed", execution.error_message
    assert factories.statuses(execution) == [
        ("large", 1, "completed"),
        ("pause", 1, "completed"),
        ("reads", 1, "completed"),
    ]


def test_a_called_workflow_is_not_called_again_because_its_result_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = factories.make_owner()
    called = factories.make_workflow([large()], owner=owner)
    call = {"name": "call", "type": "workflow", "config": {"workflow_id": called.pk}, "max_retries": 3}

    with monkeypatch.context() as patched:
        patched.setattr(stored_bytes, "reading", no_route)
        execution = factories.run(factories.make_workflow([call], owner=owner))
    with clock.moved_by(seconds=11):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed", execution.error_message
    assert factories.statuses(execution) == [("call", 1, "completed")]
    assert Execution.objects.filter(parent=execution).count() == 1


def no_route(*_: object) -> Iterator[None]:
    raise StorageUnavailable("no route")
