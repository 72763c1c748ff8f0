import io

import pytest

from accounts.choices import OwnerKind
from accounts.models import Owner
from files import services
from files.models import File


@pytest.fixture(autouse=True)
def storage_folder(tmp_path, settings):
    """Give every test an upload folder of its own."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    local = settings.STORAGES["default"] | {"OPTIONS": {"location": str(folder)}}
    settings.STORAGES = settings.STORAGES | {"default": local}
    return folder


@pytest.fixture
def owner(db):
    return Owner.objects.create(name="Ada", kind=OwnerKind.TEAM)


@pytest.fixture
def upload(owner):
    """Upload bytes under a name and return the row."""

    def _upload(content: bytes, name: str, *, by: Owner | None = None) -> File:
        return services.upload_file(by or owner, actor="test", stream=io.BytesIO(content), filename=name)

    return _upload
