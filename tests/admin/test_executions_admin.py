"""Executions in the admin: why, over time, step by step, live; cancel and retry."""

import shlex
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from tests import factories
from tests.admin.rows import GREET, editor_of, make_failed, make_file, messages_of, text_of
from workflows.admin import execution_panels
from workflows.admin.timeline import timeline_of
from workflows.models import Branch, Execution, StepAttempt

pytestmark = pytest.mark.django_db

EXECUTIONS = "/admin/workflows/execution/"


def test_a_failed_execution_says_why_in_a_sentence_with_step_and_code(admin: Client) -> None:
    execution, attempt = make_failed(factories.make_workflow(GREET))

    page = admin.get(f"{EXECUTIONS}{execution.pk}/change/")

    text = text_of(page)
    assert "Why it failed failed Step &#x27;greet&#x27; failed: the log is full LOG_FULL" in text
    assert "the log is full (LOG_FULL)" in text
    assert "the name was cut" in text
    assert "Hello &lt;b&gt;Grace&lt;/b&gt;" in page.content.decode()
    # Beside the reason, at the top of the page, and once more at the step.
    assert page.content.decode().count(f'name="attempt" value="{attempt.pk}"') == 2
    assert "Why it failed" in text.split("Retry from here")[0]
    assert "Timeline" not in text.split("Retry from here")[0].split("Why it failed")[1]
    # There is nothing to save, so no bar lies over the page.
    assert 'id="submit-row"' not in page.content.decode()
    assert "failed: the log is full" in text_of(admin.get(EXECUTIONS))


def test_retrying_the_failed_step_runs_it_again_in_the_same_execution(admin: Client) -> None:
    execution, attempt = make_failed(factories.make_workflow(GREET))

    answer = admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_step/", {"attempt": attempt.pk})
    factories.drain_all()

    execution.refresh_from_db()
    assert messages_of(answer) == ["Step greet runs again, and the steps after it."]
    assert execution.status == "completed"
    assert factories.statuses(execution) == [("greet", 1, "failed"), ("greet", 2, "completed")]
    page = text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))
    assert "1 of 2" in page
    assert "2 of 2" in page


@pytest.mark.parametrize("wanted", ["", "x", "99999999999999999999"])
def test_retrying_a_step_that_is_not_there_is_not_found(admin: Client, wanted: str) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))

    assert admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_step/", {"attempt": wanted}).status_code == 404


def test_an_execution_that_completed_refuses_a_retry_with_a_message(admin: Client) -> None:
    execution = factories.run(factories.make_workflow(GREET))
    attempt = execution.attempts.get()

    answer = admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_step/", {"attempt": attempt.pk})

    assert messages_of(answer) == ["Step cannot be retried (status: completed)"]


def test_cancelling_ends_an_execution_that_waits_and_is_refused_afterwards(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    page = f"{EXECUTIONS}{execution.pk}/"

    admin.post(f"{page}press/cancel/")
    again = admin.post(f"{page}press/cancel/")

    execution.refresh_from_db()
    assert execution.status == "cancelled"
    assert "Execution has already finished (status: cancelled)" in messages_of(again)
    assert "press/cancel" not in admin.get(f"{page}change/").content.decode()


def test_a_waiting_execution_says_what_it_waits_for(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    Branch.objects.filter(execution=execution).update(waiting_on="timer", waiting_reason="pauses until 12:00")

    assert "pauses until 12:00" in text_of(admin.get(EXECUTIONS))
    assert "Why it waits pending pauses until 12:00" in text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))


def test_executions_are_filtered_by_status_and_trigger_and_found_by_id_and_uuid(admin: Client) -> None:
    failed, _ = make_failed(factories.make_workflow(GREET))
    other = factories.start(factories.make_workflow(GREET))
    found = f"{EXECUTIONS}{failed.pk}/change/"
    not_found = f"{EXECUTIONS}{other.pk}/change/"

    for query in ({"status__exact": "failed"}, {"q": failed.pk}, {"q": str(failed.uuid)}):
        body = admin.get(EXECUTIONS, query).content.decode()
        assert found in body, query
        assert not_found not in body, query
    assert found not in admin.get(EXECUTIONS, {"trigger_type__exact": "scheduled"}).content.decode()


def test_the_list_of_one_workflow_is_a_link_on_its_page(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    mine, _ = make_failed(workflow)
    make_failed(factories.make_workflow(GREET, owner=workflow.owner, name="another"))

    page = admin.get(f"/admin/workflows/workflow/{workflow.pk}/change/").content.decode()
    listed = admin.get(EXECUTIONS, {"workflow": workflow.pk})

    assert f'href="{EXECUTIONS}?workflow={workflow.pk}"' in page
    assert [row.pk for row in listed.context["cl"].result_list] == [mine.pk]
    assert admin.get(EXECUTIONS, {"workflow": "9" * 5000}).status_code in (200, 302)


def test_executions_cannot_be_made_changed_or_deleted_by_hand(admin: Client) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))
    page = f"{EXECUTIONS}{execution.pk}/"

    assert admin.get(f"{EXECUTIONS}add/").status_code == 403
    assert admin.post(f"{page}change/", {"status": "completed"}).status_code == 403
    assert admin.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    assert Execution.objects.get(pk=execution.pk).status == "failed"


def live(client: Client, execution: Execution, seen: str = "none") -> Any:
    return client.get(f"{EXECUTIONS}{execution.pk}/live/", {"seen": seen})


def mark_of(answer: Any) -> str:
    """Return the mark that the page would send with its next question."""
    return str(answer.context["live_url"]).split("seen=")[1]


def make_attempts(execution: Execution, spans: list[tuple[str, int, str, float, float | None]]) -> None:
    """Give the execution attempts: (path, attempt, status, begin, end) in seconds after it was made."""
    paths = list(dict.fromkeys(path for path, *_ in spans))
    for path, number, status, begin, end in spans:
        StepAttempt.objects.create(
            execution=execution,
            path=path,
            attempt=number,
            node=paths.index(path),
            step_order=paths.index(path) + 1,
            step_name=path,
            step_type="delay" if path == "pause" else "log",
            effect="pure",
            status=status,
            started_at=execution.created_at + timedelta(seconds=begin),
            completed_at=None if end is None else execution.created_at + timedelta(seconds=end),
            execution_time_ms=None if end is None else int((end - begin) * 1000),
        )


def bars_of(execution: Execution, *, after_seconds: float) -> dict[str, list[tuple[str, float, float]]]:
    attempts = list(execution.attempts.order_by("node", "attempt"))
    now = execution.created_at + timedelta(seconds=after_seconds)
    shown = timeline_of(execution, attempts, list(execution.branches.all()), now=now)
    return {row.name: [(bar.kind, bar.left, bar.width) for bar in row.bars] for row in shown.rows}


def test_the_timeline_shows_the_queue_attempts_and_the_waits_between_them() -> None:
    execution = factories.start(factories.make_workflow(GREET))
    make_attempts(
        execution,
        [
            ("load", 1, "completed", 2, 4),
            ("pause", 1, "completed", 4, 8),
            ("call", 1, "failed", 8, 10),
            ("call", 2, "running", 14, None),
        ],
    )

    bars = bars_of(execution, after_seconds=20)

    assert bars == {
        "Waits for a worker": [("queue", 0.0, 10.0)],
        "load": [("completed", 10.0, 10.0)],
        "pause": [("waiting", 20.0, 20.0)],
        "call": [("failed", 40.0, 10.0), ("waiting", 50.0, 20.0), ("running", 70.0, 30.0)],
    }


def test_the_timeline_of_a_step_about_to_be_retried_waits_until_now_and_says_why() -> None:
    execution = factories.start(factories.make_workflow(GREET))
    make_attempts(execution, [("greet", 1, "failed", 0, 5)])
    Branch.objects.update(waiting_on="retry", waiting_reason="retries greet at 12:00", cursor=0, attempt=2)

    [row] = timeline_of(
        execution,
        list(execution.attempts.all()),
        list(execution.branches.all()),
        now=execution.created_at + timedelta(seconds=10),
    ).rows

    assert [(bar.kind, bar.left, bar.width) for bar in row.bars] == [("failed", 0.0, 50.0), ("waiting", 50.0, 50.0)]
    assert row.status == "retrying"
    assert row.bars[1].words.startswith("Waits: retries greet at 12:00: 5.0 s, from ")


def test_a_timeline_ends_with_its_execution_and_not_now() -> None:
    execution = factories.start(factories.make_workflow(GREET))
    make_attempts(execution, [("greet", 1, "completed", 0, 10)])
    execution.status, execution.completed_at = "completed", execution.created_at + timedelta(seconds=10)

    assert bars_of(execution, after_seconds=3600) == {"greet": [("completed", 0.0, 100.0)]}


def test_a_bar_has_a_sign_and_words_beside_its_colour(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    make_attempts(execution, [("greet", 1, "failed", 0, 5)])

    body = admin.get(f"{EXECUTIONS}{execution.pk}/change/").content.decode()

    attempt = execution.attempts.get()
    assert f'id="bar-{attempt.pk}" href="#attempt-{attempt.pk}" aria-label="Attempt 1 of greet, failed: 5.0 s' in body
    assert '<span aria-hidden="true">✕</span>' in body


def test_the_page_asks_again_while_the_execution_runs_and_stops_when_it_has_ended(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    page = f"{EXECUTIONS}{execution.pk}/change/"

    running = admin.get(page).content.decode()
    waiting = live(admin, execution)
    factories.drain_all()
    ended = live(admin, execution, mark_of(waiting)).content.decode()

    assert 'hx-trigger="every 2s"' in running
    assert f'hx-get="{EXECUTIONS}{execution.pk}/live/?seen=' in running
    assert 'data-status="pending"' in waiting.content.decode()
    assert 'data-status="completed"' in ended
    assert "hx-get" not in ended
    assert "Hello" in ended
    assert "press/cancel" not in ended


def test_the_steps_data_are_sent_only_when_they_have_changed(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    first = live(admin, execution)

    with CaptureQueriesContext(connection) as captured:
        same = live(admin, execution, mark_of(first))
    make_attempts(execution, [("greet", 1, "running", 0, None)])
    other = live(admin, execution, mark_of(first))

    assert 'id="execution-steps"' in first.content.decode()
    assert 'id="execution-steps"' not in same.content.decode()
    assert 'id="execution-live"' in same.content.decode()
    assert not any("output_data" in query["sql"] for query in captured)
    assert 'hx-swap-oob="true"' in other.content.decode()


def test_the_live_part_takes_six_queries_at_most_whatever_the_number_of_steps(admin: Client) -> None:
    steps = [{**GREET[0], "name": f"step {number}"} for number in range(60)]
    short, long = factories.run(factories.make_workflow(GREET)), factories.run(factories.make_workflow(steps))
    taken = []

    for execution in (short, long):
        with CaptureQueriesContext(connection) as captured:
            assert live(admin, execution).status_code == 200
        taken.append(len(captured))

    assert taken[0] == taken[1] <= 6


def test_data_of_many_steps_are_cut_where_the_page_is_full(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_panels, "LONGEST_PAGE", 5_000)
    execution = factories.start(factories.make_workflow(GREET))
    make_attempts(execution, [(f"step {number}", 1, "completed", 0, 1) for number in range(4)])
    execution.attempts.update(output_data={"text": "x" * 4_000})

    outputs = [step["output"] for step in live(admin, execution).context["attempts"]]

    assert [len(text) > 4_000 for text in outputs] == [True, False, False, False]
    assert "more characters are not shown here" in outputs[3]


def test_the_page_names_files_children_parent_and_what_it_repeats(admin: Client) -> None:
    owner = factories.make_owner()
    workflow = factories.make_workflow(GREET, owner=owner)
    given, made = make_file(owner), make_file(owner)
    parent, earlier, execution, child = (factories.start(workflow) for _ in range(4))
    Execution.objects.filter(pk=execution.pk).update(
        parent=parent, rerun_of=earlier, input_file_ids=[given.pk], output_file_ids=[made.pk], correlation_id="corr-42"
    )
    Execution.objects.filter(pk=child.pk).update(parent=execution)

    page = admin.get(f"{EXECUTIONS}{execution.pk}/change/")

    text, body = text_of(page), page.content.decode()
    assert f"Started by {parent.pk}" in text
    assert f"Repeats {earlier.pk}" in text
    assert f"Has started {child.pk}" in text
    assert f"Input files {given.pk}" in text
    assert f"Output files {made.pk}" in text
    assert "Correlation id corr-42" in text
    assert f'href="{EXECUTIONS}{child.pk}/change/"' in body
    assert f'href="/admin/files/file/{made.pk}/change/"' in body


def test_the_api_call_is_a_shell_command_with_the_same_data_and_no_key(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET), {"who": "it's $HOME `x`"})

    call = live(admin, execution).context["call"]

    words = shlex.split(call.replace("\\\n", ""))
    assert words[:4] == ["curl", "-X", "POST", f"http://testserver/api/v1/workflows/{execution.workflow_id}/execute"]
    assert words[5] == "X-API-Key: $API_KEY"
    assert words[-1] == '{"trigger_data": {"who": "it\'s $HOME `x`"}}'


def test_another_owners_execution_is_not_found_whole_or_live(admin: Client) -> None:
    user, client = editor_of("eve")
    own = factories.start(factories.make_workflow(GREET, owner=accounts.owner_of_user(user)))
    other = factories.start(factories.make_workflow(GREET))

    assert live(client, own).status_code == 200
    assert live(client, other).status_code == 404
    assert client.post(f"{EXECUTIONS}{other.pk}/press/cancel/").status_code == 404
    assert live(admin, other).status_code == 200
    assert live(Client(), own).status_code == 302


def test_who_may_only_look_sees_the_live_part_without_buttons() -> None:
    user, client = editor_of("vera")
    user.user_permissions.set(Permission.objects.filter(codename="view_execution"))
    execution = factories.start(factories.make_workflow(GREET, owner=accounts.owner_of_user(user)))

    body = live(client, execution).content.decode()

    assert 'data-status="pending"' in body
    assert "press/cancel" not in body
    assert client.post(f"{EXECUTIONS}{execution.pk}/press/cancel/").status_code == 403
