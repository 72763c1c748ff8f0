"""An operator who is signed in to the admin."""

import pytest
from django.test import Client

from accounts.models import User


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator@example.com", "correct horse battery")


@pytest.fixture
def admin(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    return client
