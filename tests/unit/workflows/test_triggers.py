"""File triggers and starting: what fires, what does not, and why."""

from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import Owner
from files import services as files
from files.models import File
from tests import factories
from workflows import services
from workflows.choices import TriggerType
from workflows.errors import CauseRefused, WorkflowNotExecutable
from workflows.models import Branch, Evaluation, Execution, Workflow
from workflows.services import triggers

pytestmark = pytest.mark.django_db


def make_file(owner: Owner, name: str = "report.pdf") -> File:
    extension = name.rpartition(".")[2]
    return File.objects.create(
        owner=owner,
        filename=f"abc.{extension}",
        original_filename=name,
        file_path=f"abc.{extension}",
        mime_type="application/pdf",
        file_size=3,
        file_hash="abc",
        status="processed",
        processing_number=1,
    )


def facts(file: File) -> dict[str, Any]:
    return {
        "file_id": file.pk,
        "filename": file.filename,
        "file_extension": file.filename.rpartition(".")[2],
        "original_filename": file.original_filename,
        "file_size": file.file_size,
        "mime_type": file.mime_type,
    }


def request(file: File, number: int = 1) -> None:
    services.request_evaluation(
        owner_id=file.owner_id, processing_number=number, correlation_id="c-1", facts=facts(file)
    )


def process(file: File, number: int = 1) -> None:
    request(file, number)
    services.evaluate_due_files()


def test_a_processed_file_starts_each_matching_workflow_of_its_owner_once() -> None:
    owner = factories.make_owner()
    matching = factories.make_workflow(
        [], owner=owner, trigger_on_file_upload=True, trigger_file_extensions=".PDF, csv"
    )
    other = factories.make_workflow([], owner=owner, trigger_on_file_upload=True, trigger_file_extensions="pdfx")
    factories.make_workflow([], owner=factories.make_owner("Eve"), trigger_on_file_upload=True)
    file = make_file(owner)

    process(file)
    process(file)

    [execution] = Execution.objects.all()
    assert (execution.workflow_id, execution.trigger_type, execution.correlation_id) == (
        matching.pk,
        "file_upload",
        "c-1",
    )
    assert execution.trigger_data == facts(file)
    assert execution.input_file_ids == [file.pk]
    file.refresh_from_db()
    assert file.triggered_workflows == [matching.pk]
    [evaluation] = Evaluation.objects.all()
    assert [(item["workflow_id"], item["fired"], item["reason"]) for item in evaluation.verdicts] == [
        (matching.pk, True, "matched"),
        (other.pk, False, "the extension 'pdf' is not one of pdfx"),
    ]


def test_a_new_processing_of_the_same_file_starts_it_again() -> None:
    owner = factories.make_owner()
    factories.make_workflow([], owner=owner, trigger_on_file_upload=True)
    file = make_file(owner)

    process(file, 1)
    process(file, 2)

    assert Execution.objects.count() == 2


def test_a_disabled_workflow_says_why_it_did_not_fire() -> None:
    owner = factories.make_owner()
    factories.make_workflow([], owner=owner, trigger_on_file_upload=True, is_enabled=False)

    process(make_file(owner))

    assert Evaluation.objects.get().verdicts[0]["reason"] == "the workflow is active and disabled"
    assert not Execution.objects.exists()


def test_a_start_inserts_one_execution_and_one_root_branch() -> None:
    workflow = factories.make_workflow(
        [{"name": "call", "type": "http_request", "config": {"url": "http://x.example"}}]
    )

    execution = factories.start(workflow, {"a": 1})

    assert (execution.status, execution.trigger_data, execution.version_id) == (
        "pending",
        {"a": 1},
        workflow.published_version_id,
    )
    branch = Branch.objects.get()
    assert (branch.execution_id, branch.lane, branch.cursor, branch.claimed_by) == (execution.pk, "io", 0, "")


def test_the_second_start_with_a_key_gets_the_first_execution() -> None:
    workflow = factories.make_workflow([])
    start = services.Start(trigger_type=TriggerType.MANUAL, idempotency_key="k")

    first, second = services.start_execution(workflow, start), services.start_execution(workflow, start)

    assert (first.created, second.created) == (True, False)
    assert first.execution_id == second.execution_id
    assert Branch.objects.count() == 1


def test_a_disabled_workflow_cannot_be_started() -> None:
    workflow = factories.make_workflow([], is_enabled=False)

    with pytest.raises(WorkflowNotExecutable) as refusal:
        factories.start(workflow)

    assert refusal.value.detail == "Workflow cannot be executed (status: active, enabled: False)"


@pytest.mark.parametrize("chain", [tuple(range(100, 110)), "thrice"])
def test_circles_and_endless_chains_of_causes_are_refused(chain: Any) -> None:
    workflow = factories.make_workflow([])
    causes = (workflow.pk,) * 3 if chain == "thrice" else chain

    with pytest.raises(CauseRefused):
        factories.start(workflow, cause_chain=causes)

    assert not Execution.objects.exists()


def test_deleting_a_workflow_cancels_what_runs_and_hides_it() -> None:
    workflow = factories.make_workflow([{"name": "nap", "type": "delay", "config": {"seconds": 60}}])
    execution = factories.run(workflow)

    services.delete_workflow(workflow, actor="t")

    execution.refresh_from_db()
    workflow.refresh_from_db()
    assert execution.status == "cancelled"
    assert (workflow.status, workflow.deleted_at is not None) == ("deleted", True)


def test_one_workflow_that_cannot_be_started_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = factories.make_owner()
    broken = factories.make_workflow([], owner=owner, trigger_on_file_upload=True)
    fine = factories.make_workflow([], owner=owner, trigger_on_file_upload=True)
    start = triggers.start_execution

    def start_or_break(workflow: Workflow, asked: services.Start) -> services.Started:
        if workflow.pk == broken.pk:
            raise TypeError("a bug in one definition")
        return start(workflow, asked)

    monkeypatch.setattr(triggers, "start_execution", start_or_break)
    process(make_file(owner))

    reasons = {item["workflow_id"]: item["reason"] for item in Evaluation.objects.get().verdicts}
    assert reasons == {broken.pk: "could not be started: a bug in one definition", fine.pk: "matched"}
    assert Execution.objects.get().workflow_id == fine.pk


@pytest.mark.parametrize(
    ("triggers_given", "sentence"),
    [
        ([1], "item 0 must be an object"),
        ({"a": 1}, "must be a list"),
        ([{"type": ["file_upload"]}], "the type of item 0 must be text"),
        ([{"type": "file_upload", "mime_types": 5}], "mime_types must be a list of texts"),
    ],
)
def test_a_stored_trigger_that_cannot_be_read_fires_nothing_says_so_and_stops_nobody(
    triggers_given: Any, sentence: str
) -> None:
    odd = factories.make_workflow([], owner=factories.make_owner("Eve"), trigger_on_file_upload=True)
    Workflow.objects.filter(pk=odd.pk).update(trigger_config={"triggers": triggers_given})
    fine = factories.make_workflow([], owner=factories.make_owner(), trigger_on_file_upload=True)
    for workflow in (odd, fine):
        request(make_file(workflow.owner))

    assert triggers.evaluate_due_files() == 2

    assert Execution.objects.get().workflow_id == fine.pk
    [verdict] = Evaluation.objects.get(owner=odd.owner).verdicts
    assert (verdict["fired"], verdict["execution_id"]) == (False, None)
    assert verdict["reason"] == f"could not be started: Invalid workflow: trigger_config.triggers: {sentence}"


def test_a_file_that_cannot_be_evaluated_says_so_for_each_workflow_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workflow = factories.make_workflow([], owner=factories.make_owner(), trigger_on_file_upload=True)
    broken, fine = make_file(workflow.owner), make_file(workflow.owner)
    record = files.record_triggered_workflows

    def record_or_break(file_id: int, workflow_ids: list[int]) -> None:
        if file_id == broken.pk:
            raise TypeError("a bug\x00 of ours")
        record(file_id, workflow_ids)

    monkeypatch.setattr(triggers.files, "record_triggered_workflows", record_or_break)
    for file in (broken, fine):
        request(file)

    assert triggers.evaluate_due_files() == 2

    assert [execution.input_file_ids for execution in Execution.objects.all()] == [[fine.pk]]
    assert Evaluation.objects.get(file_id=broken.pk).verdicts == [
        {
            "workflow_id": workflow.pk,
            "workflow": workflow.name,
            "fired": False,
            "execution_id": None,
            "reason": "could not be evaluated: a bug of ours",
        }
    ]


def test_a_passing_fault_of_the_database_leaves_a_file_due_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workflow = factories.make_workflow([], owner=factories.make_owner(), trigger_on_file_upload=True)
    unlucky, fine = make_file(workflow.owner), make_file(workflow.owner)
    start = triggers.start_execution

    def start_or_break(workflow: Workflow, asked: services.Start) -> services.Started:
        if asked.input_file_ids == [unlucky.pk]:
            raise OperationalError("deadlock detected")
        return start(workflow, asked)

    for file in (unlucky, fine):
        request(file)
    with monkeypatch.context() as deadlock:
        deadlock.setattr(triggers, "start_execution", start_or_break)
        triggers.evaluate_due_files()
    before = list(Execution.objects.values_list("input_file_ids", flat=True))
    triggers.evaluate_due_files()

    assert before == [[fine.pk]]
    assert set(map(tuple, Execution.objects.values_list("input_file_ids", flat=True))) == {(unlucky.pk,), (fine.pk,)}
    assert not Evaluation.objects.filter(evaluated_at=None).exists()


def test_extensions_written_as_one_text_are_the_same_to_a_trigger() -> None:
    config = {"triggers": [{"type": "file_upload", "file_extensions": ".PDF, txt", "mime_types": "application/pdf"}]}
    workflow = factories.make_workflow([], trigger_config=config)
    found = facts(make_file(workflow.owner))

    assert triggers.reason_against(workflow, found) == ""
    assert triggers.reason_against(workflow, found | {"file_extension": "csv"}) == (
        "the extension 'csv' is not one of pdf, txt"
    )
    assert triggers.reason_against(workflow, found | {"mime_type": "application"}) == (
        "the type 'application' is not one of application/pdf"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.pdf", ""),
        ("a.csv", "the extension 'csv' is not one of pdf; the file has 3 bytes, more than 2"),
        ("a.txt", "the extension 'txt' is not one of csv, pdf"),
    ],
)
def test_each_trigger_of_dialect_c_holds_its_own_conditions(name: str, reason: str) -> None:
    body = {
        "name": "C",
        "config": {"steps": []},
        "triggers": [
            {"type": "file_upload", "file_extensions": [".pdf"], "mime_types": ["application/pdf"]},
            {"type": "file_processed", "file_extensions": [".csv"], "max_file_size": 2},
        ],
    }
    workflow = services.create_workflow(owner=factories.make_owner(), body=body, actor="t")

    assert triggers.reason_against(workflow, facts(make_file(workflow.owner, name))) == reason
