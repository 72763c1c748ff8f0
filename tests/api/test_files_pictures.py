"""Pictures over HTTP: refused by the seed's list of types, read where the setting has them."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from files import services
from files.extractors import ocr_languages
from tests import documents
from tests.api.test_files_api import api, key_of, send  # noqa: F401  (fixtures, used by name)
from tests.unit.files.conftest import storage_folder  # noqa: F401  (a fixture, used by name)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_folder")]


def test_a_picture_is_refused_by_default_and_the_answer_names_the_setting(api):  # noqa: F811
    answer = send(api, documents.picture("Words"), "a.png")

    assert answer.status_code == 400
    detail = "File type not allowed. Allowed types: pdf,doc,docx,txt,csv,xlsx (ALLOWED_EXTENSIONS)"
    assert answer.json()["detail"] == detail


@pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed")
def test_a_picture_is_read_where_the_setting_has_its_kind(api, settings):  # noqa: F811
    settings.ALLOWED_EXTENSIONS = ["png", "jpg"]
    file_id = send(api, documents.picture("Invoice 4711", kind="JPEG"), "photo.JPG").json()["id"]
    services.extract_due_files()

    body = api.get(f"/files/{file_id}").json()

    assert (body["status"], body["mime_type"], body["extracted_content"]) == ("processed", "image/jpeg", "Invoice 4711")
    shown = {"extraction_method", "image_width", "image_height", "ocr_language", "word_count"}
    assert {key: body["metadata"][key] for key in shown} == {
        "extraction_method": "ocr",
        "image_width": 1000,
        "image_height": 400,
        "ocr_language": "eng",
        "word_count": 2,
    }


def test_a_picture_under_another_kinds_name_is_refused(api, settings):  # noqa: F811
    settings.ALLOWED_EXTENSIONS = ["png", "jpg"]

    answer = api.post("/files/upload", {"file": SimpleUploadedFile("a.png", documents.picture(kind="JPEG"))})

    assert answer.status_code == 400
    message = "File content does not match its name: the name says png, the content is jpeg"
    assert (answer.json()["error_code"], answer.json()["detail"]) == ("TYPE_MISMATCH", message)
