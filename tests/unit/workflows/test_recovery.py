"""Leases, fences and effect classes: what a crash may cost, and what it may never do."""

import os

import pytest
from django.db import connection

from core import clock
from tests import factories
from workflows.choices import Effect, Lane, StepStatus
from workflows.engine import checkpoint, lease, sweep
from workflows.engine.checkpoint import LeaseLost, Next
from workflows.engine.drain import drain
from workflows.engine.runner import Slice
from workflows.engine.step_rows import Attempt, fill_late_outcome
from workflows.engine.steps.base import Output, Step, StepConfig, StepContext, StepError, Wait
from workflows.engine.steps.registry import _types, register
from workflows.models import Branch, Execution, StepAttempt

pytestmark = pytest.mark.django_db

performed: list[tuple[str, int]] = []


class Recording(Step[StepConfig]):
    """A step with an effect that the test can count."""

    type = "recording"
    config_model = StepConfig
    lane = None

    def run(self, config: StepConfig, context: StepContext) -> Output:
        performed.append((context.idempotency_key.split(":")[1], context.attempt))
        return Output({"n": len(performed)})


class Refused(Recording):
    type = "refused"

    def run(self, config: StepConfig, context: StepContext) -> Output:
        super().run(config, context)
        raise StepError("http_refused", "nobody listens", effect_happened=False)


class Broken(Recording):
    type = "broken"

    def run(self, config: StepConfig, context: StepContext) -> Output:
        super().run(config, context)
        raise StepError("http_reset", "connection reset", effect_happened=None)


@pytest.fixture(autouse=True)
def _step_types() -> object:
    performed.clear()
    for step in (Recording, Refused, Broken):
        register(step)
    yield
    for step in (Recording, Refused, Broken):
        _types.pop(step.type)


def die_at_effect(execution: Execution, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Run the execution's slice as a process that dies at a fault point would: stop there, store nothing more."""

    class Died(BaseException):
        pass

    def fault(name: str) -> None:
        if name == point:
            raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr("workflows.engine.runner.faults.point", fault)
        claim = factories.claim_one()
        Slice(claim, lane=Lane.FLOW, hand_back=lambda: None).run()
    factories.expire_leases()
    sweep.free_expired_leases()


@pytest.mark.parametrize("point", ["before_effect", "after_effect"])
def test_an_idempotent_step_is_repeated_after_a_crash_under_the_same_key(
    point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "recording"}]))

    die_at_effect(execution, monkeypatch, point)
    factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert performed == [("act", 1)] * (1 if point == "before_effect" else 2)
    assert factories.statuses(execution) == [("act", 1, "completed")]


@pytest.mark.parametrize("point", ["before_effect", "after_effect"])
def test_a_once_step_is_never_repeated_after_a_crash(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = factories.start(
        factories.make_workflow([{"name": "act", "type": "recording", "effect": "once", "max_retries": 5}])
    )

    die_at_effect(execution, monkeypatch, point)
    factories.drain_all()

    execution.refresh_from_db()
    assert len(performed) == (0 if point == "before_effect" else 1)
    assert (execution.status, execution.error_code) == ("failed", "outcome_unknown")


def test_a_once_step_is_retried_only_where_nothing_can_have_happened() -> None:
    refused = factories.run(factories.make_workflow([{"name": "act", "type": "refused", "effect": "once"}]))
    assert Branch.objects.get(execution=refused).waiting_on == "retry"

    broken = factories.run(factories.make_workflow([{"name": "act", "type": "broken", "effect": "once"}]))
    assert (broken.status, broken.error_code) == ("failed", "outcome_unknown")
    assert performed == [("act", 1), ("act", 1)]


def test_the_attempt_row_of_a_step_with_an_effect_is_there_before_the_effect() -> None:
    seen: list[str] = []

    class Looking(Recording):
        type = "recording"

        def run(self, config: StepConfig, context: StepContext) -> Output:
            seen.extend(StepAttempt.objects.values_list("status", flat=True))
            return Output({})

    register(Looking)

    factories.run(factories.make_workflow([{"name": "act", "type": "recording", "effect": "once"}]))

    assert seen == [StepStatus.RUNNING]


def test_a_worker_that_outlived_its_lease_changes_nothing() -> None:
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "log", "config": {}}]))
    zombie = factories.claim_one()
    factories.expire_leases()
    sweep.free_expired_leases()
    heir = factories.claim_one()

    for write in (
        lambda: checkpoint.finish(zombie, [], status="completed", started_at=execution.created_at),
        lambda: checkpoint.save(zombie, [], Next(3), started_at=execution.created_at, deadline_at=execution.created_at),
    ):
        with pytest.raises(LeaseLost):
            write()

    branch = Branch.objects.get(execution=execution)
    execution.refresh_from_db()
    assert (heir.fence, branch.fence, branch.cursor, execution.status) == (zombie.fence + 1, heir.fence, 0, "pending")
    assert branch.recoveries == 1


def test_the_maker_of_an_attempt_fills_its_empty_outcome_late_but_only_once() -> None:
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "recording", "effect": "once"}]))
    claim = factories.claim_one()
    row = Attempt("act", 1, 0, 1, "act", "recording", Effect.ONCE, StepStatus.RUNNING, made_by=claim.claimed_by)
    checkpoint.save(
        claim, [row], Next(0, release=False), started_at=execution.created_at, deadline_at=execution.created_at
    )
    factories.expire_leases()
    sweep.free_expired_leases()
    factories.drain_all()
    assert StepAttempt.objects.get(execution=execution).error_code == "outcome_unknown"

    row.status, row.output_data, row.completed_at = StepStatus.COMPLETED, {"n": 1}, execution.created_at
    assert fill_late_outcome(claim, row) is True
    row.output_data = {"n": 2}
    assert fill_late_outcome(claim, row) is False

    stored = StepAttempt.objects.get(execution=execution)
    assert (stored.status, stored.error_code, stored.output_data) == ("completed", "", {"n": 1})


def test_unstarted_claims_are_handed_back_before_a_step_with_an_effect() -> None:
    claimed_during: list[int] = []

    class Looking(Recording):
        type = "recording"

        def run(self, config: StepConfig, context: StepContext) -> Output:
            claimed_during.append(Branch.objects.exclude(claimed_by="").count())
            return Output({})

    register(Looking)
    workflow = factories.make_workflow([{"name": "act", "type": "recording"}])
    for _ in range(3):
        factories.start(workflow)

    drain(Lane.FLOW)

    assert claimed_during == [1, 1, 1]


def test_two_claims_never_hold_the_same_branch() -> None:
    factories.start(factories.make_workflow([{"name": "act", "type": "log", "config": {}}]))

    first, second = lease.claim(Lane.FLOW), lease.claim(Lane.FLOW)

    assert (len(first), len(second)) == (1, 0)


def test_continuations_are_claimed_before_new_starts_and_high_priority_before_low() -> None:
    workflow = factories.make_workflow([{"name": "act", "type": "log", "config": {}}])
    low = factories.start(workflow, priority=3)
    high = factories.start(workflow, priority=1)
    begun = factories.start(workflow, priority=3)
    Branch.objects.filter(execution=begun).update(rank=-7)

    order = [factories.claim_one().execution_id for _ in range(3)]

    assert order == [begun.pk, high.pk, low.pk]


def test_the_sweep_gives_up_after_a_hundred_recoveries() -> None:
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "log", "config": {}}]))
    Branch.objects.update(recoveries=101)

    factories.drain_all()

    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("failed", "recovery_exhausted")


def test_the_keeper_renews_only_leases_of_its_own_fence() -> None:
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "log", "config": {}}]))
    claim = factories.claim_one()
    keeper = lease.Keeper()
    keeper._held[claim.branch_id] = lease._Held(claim, execution.created_at.replace(year=2100), None)
    Branch.objects.update(lease_until="2020-01-01T00:00:00Z")

    keeper._renew()
    assert Branch.objects.filter(lease_until__gt="2021-01-01T00:00:00Z").count() == 1

    Branch.objects.update(lease_until="2020-01-01T00:00:00Z", fence=99)
    keeper._renew()
    with connection.cursor() as cursor:
        cursor.execute("SELECT lease_until < clock_timestamp() FROM workflow_branches")
        assert cursor.fetchone() == (True,)


class Asking(Recording):
    """Waits first, as a step behind an open breaker does."""

    type = "broken"

    def run(self, config: StepConfig, context: StepContext) -> Output | Wait:
        return Wait(until=clock.now(), reason="waits a moment")

    def resume(self, config: StepConfig, context: StepContext) -> Output:
        return super().run(config, context)


def test_a_once_step_that_waited_is_never_repeated_either(monkeypatch: pytest.MonkeyPatch) -> None:
    register(Asking)
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "broken", "effect": "once"}]))
    drain_once()

    die_at_effect(execution, monkeypatch, "after_effect")
    factories.drain_all()

    execution.refresh_from_db()
    assert performed == [("act", 1)]
    assert (execution.status, execution.error_code) == ("failed", "outcome_unknown")


def drain_once() -> None:
    claim = factories.claim_one()
    Slice(claim, lane=Lane.FLOW, hand_back=lambda: None).run()


class Deep(Recording):
    """Fails with an output that JSON cannot hold, and says what PostgreSQL refuses."""

    type = "broken"

    def run(self, config: StepConfig, context: StepContext) -> Output:
        context.log("half a \ud800 word")
        deep: dict[str, object] = {}
        for _ in range(200):
            deep = {"in": deep}
        raise StepError("too_deep", "NUL \x00 inside", retryable=False, output=deep)


def test_what_a_failing_step_says_never_stops_its_failure_from_being_stored() -> None:
    register(Deep)

    execution = factories.run(factories.make_workflow([{"name": "act", "type": "broken"}]))

    row = StepAttempt.objects.get(execution=execution)
    assert (execution.status, row.status, row.error_code) == ("failed", "failed", "too_deep")
    assert (row.error_message, row.output_data) == ("NUL  inside", None)
    assert row.log == [{"level": "info", "message": "half a ? word"}]


def test_a_slice_that_cannot_go_on_fails_its_execution_and_frees_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = factories.make_workflow([{"name": "act", "type": "log", "config": {}}])
    broken, fine = factories.start(workflow), factories.start(workflow)
    load = Slice._advance

    def advance(self: Slice) -> None:
        if self.claim.execution_id == broken.pk:
            raise ZeroDivisionError("a bug")
        load(self)

    monkeypatch.setattr(Slice, "_advance", advance)
    drain(Lane.FLOW)

    broken.refresh_from_db()
    fine.refresh_from_db()
    assert (broken.status, broken.error_code) == ("failed", "checkpoint_refused")
    assert fine.status == "completed"


def test_a_thread_that_lost_a_branch_does_not_stop_its_heirs_renewals() -> None:
    factories.start(factories.make_workflow([{"name": "act", "type": "log", "config": {}}]))
    first = factories.claim_one()
    keeper = lease.Keeper()
    keeper._pid = os.getpid()  # no thread of its own: the test renews
    keeper.hold(first, deadline=clock.now())
    factories.expire_leases()
    sweep.free_expired_leases()
    heir = factories.claim_one()
    keeper.hold(heir, deadline=clock.now())

    keeper.drop(first)

    assert [held.claim for held in keeper._held.values()] == [heir]
    keeper.drop(heir)
    assert not keeper._held


def test_the_makers_late_word_is_not_overwritten_by_a_guess() -> None:
    execution = factories.start(factories.make_workflow([{"name": "act", "type": "recording", "effect": "once"}]))
    claim = factories.claim_one()
    done = Attempt("act", 1, 0, 1, "act", "recording", Effect.ONCE, StepStatus.COMPLETED, output_data={"n": 1})
    times = {"started_at": execution.created_at, "deadline_at": execution.created_at}
    checkpoint.save(claim, [done], Next(0, release=False), **times)
    guess = Attempt("act", 1, 0, 1, "act", "recording", Effect.ONCE, StepStatus.FAILED, error_code="outcome_unknown")

    checkpoint.save(claim, [guess], Next(0, release=False), **times)

    assert StepAttempt.objects.get(execution=execution).status == "completed"


def test_the_error_of_a_continued_step_is_seen_after_a_wait_too() -> None:
    steps = [
        {"name": "bad", "type": "delay", "config": {"seconds": "{{trigger.x}}"}, "on_error": "continue"},
        {"name": "nap", "type": "delay", "config": {"seconds": 60}},
        {"name": "end", "type": "log", "config": {"message": "{{steps.bad.error_code}}"}},
    ]
    execution = factories.run(factories.make_workflow(steps), {"x": "soon"})

    with clock.moved_by(seconds=61):
        factories.drain_all()

    assert factories.outputs(execution)["end"]["message"] == "config_invalid"


def test_owners_take_turns_within_a_claim_however_long_one_of_them_queues() -> None:
    steps = [{"name": "act", "type": "log", "config": {}}]
    many, few = factories.make_workflow(steps), factories.make_workflow(steps)
    for _ in range(300):
        factories.start(many)
    late = factories.start(few).pk

    assert late in [claim.execution_id for claim in lease.claim(Lane.FLOW, limit=2)]


def test_one_high_behind_five_thousand_low_is_claimed_next() -> None:
    workflow = factories.make_workflow([{"name": "act", "type": "log", "config": {}}])
    factories.multiply(factories.start(workflow, priority=3), 4999)
    high = factories.start(workflow, priority=1)

    assert Branch.objects.count() == 5001
    assert factories.claim_one().execution_id == high.pk


def test_one_execution_behind_five_thousand_of_another_owner_is_in_the_next_claim() -> None:
    steps = [{"name": "act", "type": "log", "config": {}}]
    factories.multiply(factories.start(factories.make_workflow(steps)), 4999)
    late = factories.start(factories.make_workflow(steps)).pk

    assert late in [claim.execution_id for claim in lease.claim(Lane.FLOW, limit=2)]


def test_workflows_of_one_owner_take_turns_however_long_one_of_them_queues() -> None:
    steps = [{"name": "act", "type": "log", "config": {}}]
    owner = factories.make_owner()
    many, few = factories.make_workflow(steps, owner=owner), factories.make_workflow(steps, owner=owner)
    for _ in range(300):
        factories.start(many)
    late = factories.start(few).pk

    assert late in [claim.execution_id for claim in lease.claim(Lane.FLOW, limit=2)]


def test_an_owner_with_many_workflows_gets_no_more_turns_than_one_with_a_single_workflow() -> None:
    steps = [{"name": "act", "type": "log", "config": {}}]
    wide, narrow = factories.make_owner("Wide"), factories.make_owner("Narrow")
    for workflow in [factories.make_workflow(steps, owner=wide) for _ in range(10)]:
        factories.start(workflow)
    single = factories.make_workflow(steps, owner=narrow)
    for _ in range(10):
        factories.start(single)

    owners = [claim.owner_id for claim in lease.claim(Lane.FLOW, limit=10)]

    assert (owners.count(wide.pk), owners.count(narrow.pk)) == (5, 5)


def test_an_owner_with_one_execution_is_served_soon_where_branches_are_claimed_one_by_one() -> None:
    steps = [{"name": "act", "type": "log", "config": {}}]
    many, few = factories.make_workflow(steps), factories.make_workflow(steps)
    for _ in range(60):
        factories.start(many)
    late = factories.start(few).pk

    # Each claim picks the late owner with probability 1/2: forty misses in a row do not happen.
    assert late in [factories.claim_one().execution_id for _ in range(40)]


def test_now_is_the_same_in_all_attempts_of_a_step() -> None:
    seen: list[object] = []

    class Clock(Recording):
        type = "recording"

        def run(self, config: StepConfig, context: StepContext) -> Output:
            seen.append(context.scope.find(("now",)))
            if len(seen) == 1:
                raise StepError("again", "once more")
            return Output({})

    register(Clock)
    execution = factories.run(factories.make_workflow([{"name": "act", "type": "recording"}]))

    with clock.moved_by(seconds=10):
        factories.drain_all()

    execution.refresh_from_db()
    assert execution.status == "completed"
    assert len(seen) == 2
    assert seen[0] == seen[1]
