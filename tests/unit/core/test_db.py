"""Transactions that PostgreSQL rolled back because of others."""

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from core.db import again_after_deadlock
from tests import factories

PATIENCE_SECONDS = 20


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_a_deadlock_ended_is_run_again() -> None:
    one, other = (factories.make_workflow([]) for _ in range(2))
    both_hold_one, one_is_through = threading.Barrier(2), threading.Event()
    runs: list[str] = []

    @again_after_deadlock
    def rename(first: int, second: int, name: str) -> str:
        runs.append(name)
        if runs.count(name) == 2:
            # Else it might take its first row again before the other has woken up, and both would meet once more.
            one_is_through.wait(PATIENCE_SECONDS)
        with transaction.atomic():
            rename_one(first, name)
            if runs.count(name) == 1:
                both_hold_one.wait(PATIENCE_SECONDS)
            rename_one(second, name)
        return name

    done: list[str] = []

    def run(*args: Any) -> None:
        try:
            done.append(rename(*args))
            one_is_through.set()
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=(one.pk, other.pk, "a")),
        threading.Thread(target=run, args=(other.pk, one.pk, "b")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert sorted(done) == ["a", "b"]
    assert len(runs) == 3


def rename_one(workflow_id: int, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE workflows SET description = %s WHERE id = %s", [name, workflow_id])


def fail(sqlstate: str, runs: list[str]) -> None:
    runs.append(sqlstate)
    with connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("sqlstate", "times"), [("40P01", 3), ("40001", 3), ("57014", 1)])
def test_only_what_another_transaction_caused_is_tried_again_and_not_for_ever(sqlstate: str, times: int) -> None:
    runs: list[str] = []

    with pytest.raises(OperationalError):
        again_after_deadlock(fail)(sqlstate, runs)

    assert len(runs) == times


@pytest.mark.django_db
def test_inside_a_transaction_nothing_is_repeated() -> None:
    runs: list[str] = []

    with pytest.raises(OperationalError):
        again_after_deadlock(fail)("40P01", runs)

    assert len(runs) == 1
