"""`file_process` with convert, optimize, resize and ocr_extract: outputs, lineage, and once for each act."""

import io
from pathlib import Path
from typing import Any

import pytest

from files import services as files
from files import stored_bytes
from files.models import File
from tests import documents, factories
from workflows import services as workflows
from workflows.choices import Lane
from workflows.engine import sweep
from workflows.engine.drain import drain
from workflows.engine.runner import Slice
from workflows.errors import DefinitionInvalid
from workflows.models import Branch, Execution, StepAttempt

pytestmark = pytest.mark.django_db
CSV = b"id,name\n007,Ada\n"


@pytest.fixture(autouse=True)
def storage_folder(tmp_path: Path, settings: Any) -> None:
    local = settings.STORAGES["default"] | {"OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = settings.STORAGES | {"default": local}
    settings.ALLOWED_EXTENSIONS = [*settings.ALLOWED_EXTENSIONS, "jpg", "png"]


def step(action: str, name: str = "make", **config: Any) -> dict[str, Any]:
    return {"name": name, "type": "file_process", "config": {"action": action, **config}, "max_retries": 0}


def run(steps: list[dict[str, Any]], content: bytes, filename: str) -> tuple[Execution, File]:
    workflow = factories.make_workflow(steps)
    file = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(content), filename=filename)
    return factories.run(workflow, {"file_id": file.pk}), file


def failure(execution: Execution) -> tuple[str, str | None, int]:
    row = StepAttempt.objects.get(execution=execution, status="failed")
    return row.error_code, row.error_message, row.attempt


def content_of(file_id: int) -> bytes:
    with stored_bytes.reading(File.objects.get(pk=file_id).file_path) as stream:
        return stream.read()


def test_a_converted_file_belongs_to_the_execution_and_names_it() -> None:
    execution, source = run([step("convert", target_format="xlsx")], CSV, "people.csv")

    made = File.objects.get(source_file=source)
    assert execution.status == "completed"
    assert execution.output_file_ids == [made.pk]
    assert factories.outputs(execution)["make"] == {
        "file_id": source.pk,
        "action": "convert",
        "status": "uploaded",
        "output_file_id": made.pk,
        "output_file_ids": [made.pk],
        "format": "xlsx",
    }
    assert (made.original_filename, made.made_by_action, made.made_by_step) == ("people.xlsx", "convert", "make")
    assert (made.made_by_execution_id, made.made_by_version_id) == (execution.pk, execution.version_id)
    assert (made.owner_id, made.correlation_id) == (source.owner_id, execution.correlation_id)


def test_several_files_are_all_told_and_can_be_worked_on_one_by_one() -> None:
    each = {
        "name": "each",
        "type": "foreach",
        "config": {
            "items": "{{steps.pages.output_file_ids}}",
            "steps": [step("resize", "small", file_id="{{item}}", width=20, height=30)],
        },
    }
    pages = step("convert", "pages", target_format="png", pages="1-2", dpi=20)

    execution, source = run([pages, each], documents.pdf("a", "b", "c"), "three.pdf")

    first, second, *small = File.objects.exclude(pk=source.pk).order_by("pk")
    assert execution.status == "completed"
    assert factories.outputs(execution)["pages"]["output_file_ids"] == [first.pk, second.pk]
    assert {file.original_filename for file in small} == {"three-1-20x30.png", "three-2-20x30.png"}
    assert sorted(execution.output_file_ids) == [first.pk, second.pk, *(file.pk for file in small)]
    assert len({file.made_key for file in small}) == 2


def test_a_picture_is_optimized_and_resized() -> None:
    steps = [
        step("optimize", "smaller", quality=40),
        step("resize", "thumbnail", width=100, height=100, keep_ratio=True, file_id="{{steps.smaller.output_file_id}}"),
    ]

    execution, source = run(steps, documents.picture("Hello", kind="JPEG", quality=95), "hello.jpg")

    smaller, thumbnail = File.objects.exclude(pk=source.pk).order_by("pk")
    outputs = factories.outputs(execution)
    assert outputs["smaller"] == {
        "file_id": source.pk,
        "action": "optimize",
        "status": "uploaded",
        "output_file_id": smaller.pk,
        "output_file_ids": [smaller.pk],
        "original_size": source.file_size,
        "optimized_size": smaller.file_size,
        "unchanged": False,
    }
    assert (outputs["thumbnail"]["width"], outputs["thumbnail"]["height"]) == (100, 40)
    assert (thumbnail.source_file, execution.output_file_ids) == (smaller, [smaller.pk, thumbnail.pk])


def test_the_words_of_a_picture_become_a_file_too() -> None:
    execution, source = run([step("ocr_extract")], documents.picture("Hello World"), "hello.png")

    made = File.objects.get(source_file=source)
    output = factories.outputs(execution)["make"]
    assert (output["content"], output["output_file_id"]) == ("Hello World", made.pk)
    assert (made.original_filename, made.made_by_action, content_of(made.pk)) == (
        "hello.txt",
        "ocr_extract",
        b"Hello World",
    )
    assert execution.output_file_ids == [made.pk]


def test_a_document_without_pictures_has_its_own_text_and_gives_no_file() -> None:
    execution, _ = run([step("ocr_extract")], documents.docx("Its own words"), "own.docx")

    assert factories.outputs(execution)["make"]["content"].strip() == "Its own words"
    assert (execution.output_file_ids, File.objects.count()) == ([], 1)


def test_a_picture_without_words_gives_no_file() -> None:
    execution, source = run([step("ocr_extract")], documents.picture(), "white.png")

    assert execution.status == "completed"
    assert (execution.output_file_ids, File.objects.filter(source_file=source).count()) == ([], 0)
    assert "output_file_id" not in factories.outputs(execution)["make"]


class Killed(BaseException):
    """What a worker's death looks like to the code that it interrupts."""


def test_a_step_that_is_repeated_after_a_crash_makes_no_second_file(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = factories.make_workflow([step("convert", target_format="json")])
    source = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(CSV), filename="people.csv")
    execution = factories.start(workflow, {"file_id": source.pk})

    def die(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        # The file is there, and the worker dies before the step's end is stored.
        dying.setattr(Slice, "_accept", die)
        with pytest.raises(Killed):
            drain(Lane.FILES)
    made = File.objects.get(source_file=source)
    execution.refresh_from_db()
    assert (execution.status, execution.output_file_ids) == ("running", [])

    factories.expire_leases()
    sweep.sweep()
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert [file.pk for file in File.objects.filter(source_file=source)] == [made.pk]
    assert execution.output_file_ids == [made.pk]
    assert not Branch.objects.filter(execution=execution).exclude(claimed_by="").exists()


def test_another_execution_and_another_step_make_files_of_their_own() -> None:
    steps = [step("convert", "one", target_format="json"), step("convert", "two", target_format="json")]
    execution, source = run(steps, CSV, "people.csv")
    again = factories.run(execution.workflow, {"file_id": source.pk})

    assert len({*execution.output_file_ids, *again.output_file_ids}) == 4
    assert File.objects.filter(source_file=source).count() == 4


def test_a_made_file_starts_no_workflow() -> None:
    workflow = factories.make_workflow(
        [step("convert", target_format="json")], trigger_on_file_upload=True, trigger_file_extensions=""
    )
    source = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(CSV), filename="people.csv")
    files.extract_due_files()
    workflows.evaluate_due_files()
    factories.drain_all()
    made = File.objects.get(source_file=source)

    files.extract_due_files()
    workflows.evaluate_due_files()

    made.refresh_from_db()
    assert (made.status, made.triggered_workflows) == ("processed", [])
    assert [row.input_file_ids for row in Execution.objects.filter(workflow=workflow)] == [[source.pk]]


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        (
            {"action": "convert", "target_format": "docx"},
            "unsupported_type",
            "target_format: a .csv file cannot be converted to 'docx'; it can become tsv, xlsx, json, txt",
        ),
        (
            {"action": "resize", "width": 5, "height": 5},
            "unsupported_type",
            "A .csv file cannot be resized; possible: bmp, gif, jpeg, jpg, png, tif, tiff, webp",
        ),
        (
            {"action": "{{trigger.wanted}}"},
            "config_invalid",
            ": Value error, target_format is required for the action convert",
        ),
    ],
)
def test_what_cannot_be_made_fails_the_step_at_once(config: dict[str, Any], code: str, message: str) -> None:
    made = {"name": "make", "type": "file_process", "config": config, "max_retries": 3}
    workflow = factories.make_workflow([made])
    source = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(CSV), filename="people.csv")

    execution = factories.run(workflow, {"file_id": source.pk, "wanted": "convert"})

    assert (execution.status, *failure(execution)) == ("failed", code, message, 1)
    assert File.objects.count() == 1


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"action": "convert"}, "target_format is required for the action convert"),
        ({"action": "resize", "width": 5}, "width and height are required for the action resize"),
        ({"action": "optimize", "quality": 101}, "Input should be less than or equal to 100"),
        ({"action": "resize", "width": 0, "height": 5}, "Input should be greater than or equal to 1"),
    ],
)
def test_an_incomplete_action_is_refused_when_the_workflow_is_saved(config: dict[str, Any], where: str) -> None:
    with pytest.raises(DefinitionInvalid, match=where):
        factories.make_workflow([{"name": "make", "type": "file_process", "config": config}])


@pytest.mark.parametrize("wanted", ["²", "9" * 5000, "-1", "1.0"])
def test_what_is_no_number_of_a_file_is_named(wanted: str) -> None:
    execution, _ = run([step("convert", target_format="xlsx", file_id=wanted)], CSV, "people.csv")

    code, message, _ = failure(execution)
    assert (code, (message or "")[:25]) == ("config_invalid", "file_id must be a number,")
