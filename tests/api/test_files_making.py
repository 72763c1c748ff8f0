"""POST /files/{id}/convert, /optimize-image, /resize-image, and the lineage that GET shows."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from accounts.choices import OwnerKind, Scope
from accounts.models import Owner
from accounts.services import create_api_key
from files import services
from files.models import File
from tests import documents
from tests.unit.files.conftest import storage_folder  # noqa: F401  (a fixture, used by name)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_folder")]
PREFIXES = ["", "/api/v1"]
CSV = b"id,name\n007,Ada\n"


def key_of(owner, scopes=tuple(Scope.values)):
    return create_api_key(owner=owner, name="test", scopes=list(scopes), actor="test")[1]


@pytest.fixture
def owner(db):
    return Owner.objects.create(name="Ada", kind=OwnerKind.TEAM)


@pytest.fixture
def api(client, owner, settings):
    settings.ALLOWED_EXTENSIONS = [*settings.ALLOWED_EXTENSIONS, "png", "jpg"]
    client.defaults["HTTP_X_API_KEY"] = key_of(owner)
    return client


def send(api, content, name):
    return api.post("/files/upload", {"file": SimpleUploadedFile(name, content)}).json()["id"]


def post(api, path, body=None):
    return api.post(path, body or {}, content_type="application/json")


def download(api, file_id):
    answer = api.get(f"/files/{file_id}/download")
    return b"".join(answer.streaming_content), answer.headers["Content-Disposition"]


@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_table_is_converted(api, prefix, ending):
    file_id = send(api, CSV, "people.csv")

    answer = post(api, f"{prefix}/files/{file_id}/convert{ending}", {"target_format": "json"})

    made = File.objects.get(source_file_id=file_id)
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "File converted successfully",
        "file_id": file_id,
        "output_file_id": made.pk,
        "format": "json",
        "output_file_ids": [made.pk],
    }
    assert download(api, made.pk) == (b'[\n{"id": "007", "name": "Ada"}\n]\n', 'attachment; filename="people.json"')


def test_the_format_may_stand_in_the_query(api):
    file_id = send(api, CSV, "people.csv")

    answer = post(api, f"/files/{file_id}/convert?target_format=XLSX")

    assert (answer.status_code, answer.json()["format"]) == (200, "xlsx")


def test_pages_of_a_pdf_become_pictures(api):
    file_id = send(api, documents.pdf("a", "b", "c"), "three.pdf")

    body = post(api, f"/files/{file_id}/convert", {"target_format": "jpg", "pages": "1,3", "dpi": 20}).json()

    made = list(File.objects.filter(source_file_id=file_id).order_by("pk"))
    assert [file.original_filename for file in made] == ["three-1.jpg", "three-3.jpg"]
    assert (body["output_file_id"], body["output_file_ids"]) == (made[0].pk, [file.pk for file in made])


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_picture_is_made_smaller(api, prefix):
    content = documents.picture("Hello", kind="JPEG", quality=95)
    file_id = send(api, content, "hello.jpg")

    answer = post(api, f"{prefix}/files/{file_id}/optimize-image", {"quality": 50})

    made = File.objects.get(source_file_id=file_id)
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "File optimized successfully",
        "file_id": file_id,
        "output_file_id": made.pk,
        "original_size": len(content),
        "optimized_size": made.file_size,
    }
    assert made.file_size < len(content)
    again = api.post(f"{prefix}/files/{made.pk}/optimize-image", content_type="application/json").json()
    assert again["message"] == "File is as small as it gets: unchanged"
    assert again["optimized_size"] == again["original_size"] == made.file_size


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("more", "size"), [({}, (300, 300)), ({"keep_ratio": True}, (300, 120))])
def test_a_picture_is_resized(api, prefix, more, size):
    file_id = send(api, documents.picture("Hello", size=(1000, 400)), "hello.png")

    answer = post(api, f"{prefix}/files/{file_id}/resize-image", {"width": 300, "height": 300, **more})

    made = File.objects.get(source_file_id=file_id)
    assert answer.json() == {
        "message": "Image resized successfully",
        "file_id": file_id,
        "output_file_id": made.pk,
        "width": size[0],
        "height": size[1],
    }
    assert Image.open(io.BytesIO(download(api, made.pk)[0])).size == size


@pytest.mark.parametrize(
    ("path", "body", "field", "detail"),
    [
        ("convert", {}, "target_format", "target_format: This field is required."),
        ("optimize-image", {"quality": 101}, "quality", "quality: Ensure this value is less than or equal to 100."),
        ("optimize-image", {"quality": 0}, "quality", "quality: Ensure this value is greater than or equal to 1."),
        ("resize-image", {"width": 5}, "height", "height: This field is required."),
        (
            "resize-image",
            {"width": 10_001, "height": 5},
            "width",
            "width: Ensure this value is less than or equal to 10000.",
        ),
        (
            "resize-image",
            {"width": 10_000, "height": 10_000},
            "width",
            "width: width x height must be at most 50000000 pixels",
        ),
        (
            "convert",
            {"target_format": "csv", "dpi": 301},
            "dpi",
            "dpi: Ensure this value is less than or equal to 300.",
        ),
    ],
)
def test_what_is_out_of_bounds_is_400_with_field_and_bound(api, path, body, field, detail):
    file_id = send(api, documents.picture("Hi"), "hi.png")

    answer = post(api, f"/files/{file_id}/{path}", body)

    told = answer.json()
    assert (answer.status_code, told["error_code"], told["detail"]) == (400, "VALIDATION_ERROR", detail)
    assert [error["loc"] for error in told["errors"]] == [["body", field]]
    assert File.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "content", "path", "body", "code", "detail"),
    [
        (
            "a.csv",
            CSV,
            "convert",
            {"target_format": "docx"},
            "UNSUPPORTED_TYPE",
            "target_format: a .csv file cannot be converted to 'docx'; it can become tsv, xlsx, json, txt",
        ),
        (
            "a.csv",
            CSV,
            "optimize-image",
            {},
            "UNSUPPORTED_TYPE",
            "A .csv file cannot be optimized; possible: jpg, jpeg, png, webp, pdf",
        ),
        (
            "a.csv",
            CSV,
            "resize-image",
            {"width": 5, "height": 5},
            "UNSUPPORTED_TYPE",
            "A .csv file cannot be resized; possible: bmp, gif, jpeg, jpg, png, tif, tiff, webp",
        ),
        (
            "a.pdf",
            documents.pdf("x", password="p"),
            "convert",
            {"target_format": "png"},
            "ENCRYPTED",
            "The PDF needs a password",
        ),
        (
            "a.pdf",
            documents.truncated_pdf(),
            "optimize-image",
            {},
            "CORRUPT",
            None,
        ),
        (
            "a.pdf",
            documents.pdf("x"),
            "convert",
            {"target_format": "png", "pages": "2"},
            "PAGE_NOT_FOUND",
            "There are no pages '2'; the PDF has 1",
        ),
    ],
)
def test_what_cannot_be_made_is_400_with_a_code(api, name, content, path, body, code, detail):  # noqa: PLR0917
    file_id = send(api, content, name)

    answer = post(api, f"/files/{file_id}/{path}", body)

    told = answer.json()
    assert (answer.status_code, told["error_code"]) == (400, code)
    assert detail in {None, told["detail"]}
    assert {"detail", "timestamp", "path", "error_code", "error", "message", "request_id"} <= set(told)
    assert File.objects.count() == 1


@pytest.mark.parametrize("path", ["convert", "optimize-image", "resize-image"])
def test_files_of_others_and_deleted_ones_are_404(api, path):
    theirs = services.upload_file(
        Owner.objects.create(name="Grace", kind=OwnerKind.TEAM), actor="", stream=io.BytesIO(CSV), filename="a.csv"
    )
    deleted = send(api, CSV, "a.csv")
    api.delete(f"/files/{deleted}")
    body = {"target_format": "json", "width": 5, "height": 5}

    for key in (theirs.pk, deleted, 10**12, "abc"):
        answer = post(api, f"/files/{key}/{path}", body)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "FILE_NOT_FOUND")
    assert File.objects.count() == 2


def test_who_may_only_read_makes_nothing(client, owner):
    file = services.upload_file(owner, actor="", stream=io.BytesIO(CSV), filename="a.csv")
    client.defaults["HTTP_X_API_KEY"] = key_of(owner, [Scope.READ])

    assert post(client, f"/files/{file.pk}/convert", {"target_format": "json"}).status_code == 403
    assert File.objects.count() == 1


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"{"])
def test_a_body_that_is_no_object_is_400(api, body):
    file_id = send(api, CSV, "a.csv")

    answer = api.post(f"/files/{file_id}/convert", body, content_type="application/json")

    assert answer.status_code == 400


def test_a_file_shows_what_it_was_made_from_and_what_was_made_from_it(api):
    file_id = send(api, CSV, "people.csv")
    made_id = post(api, f"/files/{file_id}/convert", {"target_format": "json"}).json()["output_file_id"]
    gone_id = post(api, f"/files/{file_id}/convert", {"target_format": "txt"}).json()["output_file_id"]
    api.delete(f"/files/{gone_id}")

    source, made = (api.get(f"/files/{pk}").json() for pk in (file_id, made_id))

    assert (source["source_file_id"], source["made_by"], source["output_file_ids"]) == (None, None, [made_id])
    assert (made["source_file_id"], made["output_file_ids"]) == (file_id, [])
    assert made["made_by"] == {"action": "convert", "execution_id": None, "step": None, "workflow_version_id": None}


def test_a_list_shows_lineage_without_reading_file_by_file(api, django_assert_max_num_queries):
    file_id = send(api, CSV, "people.csv")
    with django_assert_max_num_queries(20) as few:
        api.get("/files")
    for _ in range(3):
        post(api, f"/files/{file_id}/convert", {"target_format": "json"})

    with django_assert_max_num_queries(20) as many:
        listed = api.get("/files").json()

    assert len(many.captured_queries) == len(few.captured_queries)
    assert [file["source_file_id"] for file in listed] == [file_id] * 3 + [None]
    assert listed[0]["made_by"]["action"] == "convert"


def test_the_files_of_an_owner_at_its_quota_grow_no_further(api, owner):
    file_id = send(api, CSV, "people.csv")
    owner.file_quota_bytes = len(CSV)
    owner.save(update_fields=["file_quota_bytes"])

    answer = post(api, f"/files/{file_id}/convert", {"target_format": "json"})

    assert (answer.status_code, answer.json()["error_code"]) == (400, "FILE_QUOTA_EXCEEDED")
    assert [error["loc"] for error in answer.json()["errors"]] == [["path", "id"]]
    assert File.objects.count() == 1
