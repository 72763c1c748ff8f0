"""Storing events: types, streams, keys."""

from typing import Any
from uuid import UUID

import pytest

from automation import services
from automation.choices import canonical_event_type
from automation.models import Event, Publication
from core.errors import InvalidInput
from tests import factories

pytestmark = pytest.mark.django_db


def publish(owner: Any, **changes: Any) -> UUID:
    given = {"event_type": "order.paid", "aggregate_type": "order", "aggregate_id": "7", "data": {"a": 1}}
    return services.publish_event(owner=owner, **{**given, **changes})


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("workflow.completed", "workflow.completed"),
        ("workflow_completed", "workflow.completed"),
        ("user_profile_updated", "user.profile_updated"),
        ("order.paid", "order.paid"),
        ("order.line-item.paid", "order.line-item.paid"),
        ("order_paid", None),
        ("order", None),
        ("order.", None),
        (".paid", None),
        ("order paid.now", None),
        ("ordér.paid", None),
        ("", None),
    ],
)
def test_known_types_and_dotted_names_are_types(name: str, stored: str | None) -> None:
    assert canonical_event_type(name) == stored


def test_versions_count_per_stream() -> None:
    owner = factories.make_owner()

    publish(owner)
    publish(owner, aggregate_id="8")
    publish(owner)

    found = Event.objects.order_by("pk").values_list("stream_id", "version")
    assert list(found) == [("order-7", 1), ("order-8", 1), ("order-7", 2)]


def test_the_same_key_of_the_same_owner_publishes_once() -> None:
    owner, other = factories.make_owner(), factories.make_owner("Eve")

    first = publish(owner, idempotency_key="k")
    again = publish(owner, idempotency_key="k", data={"a": 2})
    foreign = publish(other, idempotency_key="k")

    assert first == again != foreign
    assert Event.objects.count() == Publication.objects.count() == 2
    assert Event.objects.get(uuid=first).event_data == {"a": 1}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_type": "unheard"}, "event_type"),
        ({"event_type": f"a.{'b' * 200}"}, "event_type"),
        ({"aggregate_type": "workflow_execution", "aggregate_id": "1"}, "aggregate_type"),
        ({"aggregate_type": "saga", "aggregate_id": "1"}, "aggregate_type"),
        ({"aggregate_id": "x" * 128}, "aggregate_id"),
    ],
)
def test_what_cannot_be_published_is_refused_and_nothing_is_stored(changes: dict[str, str], field: str) -> None:
    owner = factories.make_owner()

    with pytest.raises(InvalidInput) as refusal:
        publish(owner, idempotency_key="k", **changes)

    assert refusal.value.problems[0].loc == ("body", field)
    assert not Event.objects.exists()
    assert not Publication.objects.exists()
