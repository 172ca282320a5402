"""Leases, on every database."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from sqlalchemy import text
from tests.contracts.conftest import spec_of

from tunefleet.errors import AttemptEnded, InvalidInput, LeaseLost, NotFound
from tunefleet.protocol import (
    CompleteRequest,
    FailRequest,
    Failure,
    HeartbeatRequest,
    HeldLease,
    Lease,
    ReleaseRequest,
    Report,
    ReportBatch,
    StopReason,
    StudyPatch,
    StudyState,
    TrialState,
    WorkerFacts,
)
from tunefleet_master.app import build_planner
from tunefleet_master.services.execution import artifacts, heartbeats, reports
from tunefleet_master.services.execution.artifacts import Upload
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.planning import study_control, submission
from tunefleet_master.services.reading import studies, trials
from tunefleet_master.storage.segments import CHECKPOINT
from tunefleet_master.storage.subscriptions import Subscriptions


def state_of(master: Any, lease: Lease) -> TrialState:
    return TrialState(master.read(lambda uow: trials.read(uow, lease.trial_id)).state)


def beat(master: Any, *leases: Lease, worker: str = "w1") -> Any:
    held = [HeldLease(trial_id=lease.trial_id, attempt=lease.attempt) for lease in leases]
    return master.ask(heartbeats.beat, HeartbeatRequest(worker=worker, leases=held))


def fail(master: Any, lease: Lease, failure: Failure = Failure.ERROR, exception: str | None = None) -> Any:
    request = FailRequest(attempt=lease.attempt, failure=failure, message="it broke", exception=exception)
    return master.end(lease.trial_id, request)


def test_each_claim_raises_the_attempt_and_gives_another_trial(master: Any) -> None:
    master.submit()
    leases = [master.claim()[0] for _ in range(4)]
    assert [lease.attempt for lease in leases] == [1, 1, 1, 1]
    assert [lease.number for lease in leases] == [0, 1, 2, 3]
    assert master.claim() == []


def test_a_claim_with_the_same_request_id_gives_the_same_lease_again(master: Any) -> None:
    master.submit()
    first = master.claim(request_id="r1")
    assert master.claim(request_id="r1") == first
    assert master.claim(request_id="r2") != first


def test_a_claim_takes_as_many_trials_as_slots(master: Any) -> None:
    master.submit()
    assert [lease.number for lease in master.claim(slots=3)] == [0, 1, 2]
    assert [lease.number for lease in master.claim(slots=3)] == [3]


def test_a_renewed_lease_never_expires(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    for _ in range(10):
        master.pass_time(50)
        assert beat(master, lease).lost == []
    assert state_of(master, lease) is TrialState.RUNNING


def test_an_expired_lease_is_given_to_the_next_worker_with_a_higher_attempt(master: Any) -> None:
    master.submit()
    [lost] = master.claim("w1")
    master.pass_time(65)
    [again] = master.claim("w2")
    assert (again.trial_id, again.attempt) == (lost.trial_id, 2)


def test_a_late_result_is_accepted_until_the_trial_is_claimed_again(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.pass_time(65)
    assert state_of(master, lease) is TrialState.WAITING
    assert master.complete(lease, loss=0.5).state is TrialState.COMPLETE


def test_a_late_heartbeat_renews_the_lease_of_an_unclaimed_trial(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.pass_time(65)
    assert beat(master, lease).lost == []
    assert state_of(master, lease) is TrialState.RUNNING


def test_every_write_of_a_stale_attempt_is_refused_and_changes_nothing(master: Any) -> None:
    master.submit()
    [stale] = master.claim("w1")
    master.pass_time(65)
    [fresh] = master.claim("w2")
    assert beat(master, stale).lost == [stale.trial_id]
    with pytest.raises(LeaseLost):
        master.report(stale, 0, loss=0.1)
    with pytest.raises(LeaseLost):
        master.complete(stale, loss=0.1)
    with pytest.raises(LeaseLost):
        fail(master, stale)
    with pytest.raises(LeaseLost):
        master.end(stale.trial_id, ReleaseRequest(attempt=stale.attempt))
    upload = Upload(attempt=stale.attempt, sha256="0" * 64, size_bytes=1)
    with pytest.raises(LeaseLost):
        master.call(artifacts.attach, stale.trial_id, "model", upload=upload)
    detail = master.read(lambda uow: trials.read(uow, fresh.trial_id))
    assert (detail.state, detail.attempt, detail.worker, detail.curve) == (TrialState.RUNNING, 2, "w2", [])


def test_completing_twice_with_the_same_body_gives_the_first_answer(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    first = master.complete(lease, loss=0.5)
    assert master.complete(lease, loss=0.5) == first
    with pytest.raises(AttemptEnded):
        master.complete(lease, loss=0.4)
    with pytest.raises(AttemptEnded):
        fail(master, lease)


def test_metrics_in_another_order_are_the_same_request(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    first = master.complete(lease, loss=math.inf, accuracy=0.5)
    assert master.complete(lease, accuracy=0.5, loss=math.inf) == first


def test_an_attempt_that_failed_cannot_complete_although_its_trial_waits_again(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    first = fail(master, lease)
    assert first.state is TrialState.WAITING
    assert fail(master, lease) == first
    with pytest.raises(AttemptEnded):
        master.complete(lease, loss=0.5)
    assert beat(master, lease).lost == [lease.trial_id]


def test_repeated_reports_are_stored_once_and_a_higher_number_replaces(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    for number, loss in [(1, 0.5), (1, 0.4), (0, 0.3), (2, 0.2)]:
        batch = ReportBatch(attempt=1, reports=[Report(step=0, metrics={"loss": loss}, number=number)])
        master.ask(reports.record, Reported(lease.trial_id, batch))
    curve = master.read(lambda uow: trials.read(uow, lease.trial_id)).curve
    assert [(point.step, point.metrics) for point in curve] == [(0, {"loss": 0.2})]


def test_the_value_is_the_best_report_or_the_last_as_the_objective_says(master: Any) -> None:
    for value, expected in [("best", 0.2), ("last", 0.4)]:
        master.submit(name=value, objective={"metric": "loss", "goal": "minimize", "value": value})
        [lease] = master.claim(study=value)
        for step, loss in enumerate([0.5, 0.2, 0.4]):
            master.report(lease, step, loss=loss, accuracy=1 - loss)
        master.complete(lease)
        trial = master.read(lambda uow: trials.read(uow, lease.trial_id))  # noqa: B023
        assert trial.value == expected
        assert trial.metrics == {"loss": expected, "accuracy": 1 - expected}


def test_a_resumed_attempt_replaces_the_steps_that_it_reports_again(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    for step, loss in enumerate([0.5, 0.1]):
        master.report(lease, step, loss=loss)
    master.pass_time(65)
    [again] = master.claim()
    master.report(again, 1, loss=0.4)
    master.complete(again)
    trial = master.read(lambda uow: trials.read(uow, lease.trial_id))
    assert [point.metrics["loss"] for point in trial.curve] == [0.5, 0.4]
    assert (trial.value, trial.best_step) == (0.4, 1)


def test_completing_without_the_objectives_metric_is_refused_and_the_lease_stays(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.report(lease, 0, accuracy=0.5)
    with pytest.raises(InvalidInput, match=r"'loss' was never reported; reported was: accuracy"):
        master.complete(lease)
    assert state_of(master, lease) is TrialState.RUNNING


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_ends_the_trial_as_diverged_with_its_step(master: Any, bad: float) -> None:
    master.submit()
    [lease] = master.claim()
    master.report(lease, 6, loss=0.5)
    directive = master.report(lease, 7, loss=bad)
    assert (directive.directive, directive.reason) == ("stop", StopReason.DIVERGED)
    answer = master.complete(lease)
    assert (answer.state, answer.failure) == (TrialState.FAILED, Failure.DIVERGED)
    assert "at step 7" in master.read(lambda uow: trials.read(uow, lease.trial_id)).message


def test_a_diverged_trial_stays_diverged_when_its_worker_dies(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.report(lease, 0, loss=math.nan)
    master.pass_time(65)
    trial = master.read(lambda uow: trials.read(uow, lease.trial_id))
    assert (trial.state, trial.failure) == (TrialState.FAILED, Failure.DIVERGED)


def test_a_final_metric_that_is_not_finite_is_divergence_too(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    assert master.complete(lease, loss=math.nan).failure is Failure.DIVERGED


def test_an_error_is_retried_as_often_as_the_study_allows(master: Any) -> None:
    master.submit(retry={"error": 1}, budget={"trials": 1})
    assert fail(master, master.claim()[0]).state is TrialState.WAITING
    [again] = master.claim()
    assert again.attempt == 2
    answer = fail(master, again)
    assert (answer.state, answer.failure) == (TrialState.FAILED, Failure.ERROR)
    assert answer.study_state is StudyState.COMPLETE


def test_a_trial_fails_after_three_crashes_whatever_its_retry_rules_allow(master: Any) -> None:
    master.submit(retry={"error": 50}, budget={"trials": 1})
    states = [fail(master, master.claim()[0]).state for _ in range(3)]
    assert states == [TrialState.WAITING, TrialState.WAITING, TrialState.FAILED]


def test_retry_lost_bounds_worker_losses_apart_from_crashes(master: Any) -> None:
    master.submit(retry={"lost": 2, "error": 0}, budget={"trials": 1})
    for _ in range(2):
        [lease] = master.claim()
        master.pass_time(65)
        assert state_of(master, lease) is TrialState.WAITING
    [lease] = master.claim()
    master.pass_time(65)
    trial = master.read(lambda uow: trials.read(uow, lease.trial_id))
    assert (trial.state, trial.failure, trial.attempt) == (TrialState.FAILED, Failure.LOST, 3)
    assert [attempt.outcome for attempt in trial.attempts] == ["lost", "lost", "lost"]


def test_a_released_trial_goes_to_the_next_claim_before_new_ones(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.end(lease.trial_id, ReleaseRequest(attempt=1, reason="preempted"))
    [again] = master.claim()
    assert (again.trial_id, again.attempt) == (lease.trial_id, 2)


def test_a_later_attempt_resumes_from_the_last_checkpoint(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    assert lease.resume is None
    upload = Upload(attempt=1, sha256="a" * 64, size_bytes=5)
    master.call(artifacts.attach, lease.trial_id, CHECKPOINT, upload=upload)
    master.end(lease.trial_id, ReleaseRequest(attempt=1))
    [again] = master.claim()
    assert again.resume is not None
    assert (again.resume.sha256, again.resume.size_bytes) == ("a" * 64, 5)


def test_an_outage_of_the_master_expires_no_lease(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.pass_time(10)
    master.skip_time(3600)
    master.restart()
    master.pass_time(40)
    assert state_of(master, lease) is TrialState.RUNNING
    master.pass_time(30)
    assert state_of(master, lease) is TrialState.WAITING


def test_the_same_exception_in_three_trials_pauses_the_study_with_a_message(master: Any) -> None:
    master.submit(retry={"error": 0})
    answers = [fail(master, master.claim()[0], exception="ValueError at train.py:3") for _ in range(3)]
    assert [answer.study_state for answer in answers] == ["running", "running", "paused"]
    message = master.read(lambda uow: studies.read(uow, "study")).message
    assert "the same exception in 3 trials" in message
    assert "ValueError at train.py:3" in message
    assert master.claim() == []


def test_a_resumed_study_ignores_the_exceptions_before_its_pause(master: Any) -> None:
    master.submit(retry={"error": 0}, budget={"trials": 6})
    for _ in range(3):
        fail(master, master.claim()[0], exception="ValueError at train.py:3")
    master.pass_time(2)
    master.call(study_control.change, "study", StudyPatch(state="running"))
    assert fail(master, master.claim()[0], exception="ValueError at train.py:3").study_state is StudyState.RUNNING


def test_stopping_a_study_cancels_waiting_trials_and_stops_running_ones(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    master.call(study_control.change, "study", StudyPatch(state="stopped"))
    [order] = beat(master, lease).stop
    assert order.reason is StopReason.CANCELLED
    assert master.complete(lease, loss=0.3).state is TrialState.CANCELLED
    assert master.read(lambda uow: studies.read(uow, "study")).trials == {TrialState.CANCELLED: 4}


def test_a_worker_gets_only_what_it_may_run(master: Any) -> None:
    master.submit(name="code")
    master.submit(name="gpu", resources={"gpus": 2, "labels": ["a100"]}, priority=5)
    assert master.claim(facts=WorkerFacts()) == []
    assert master.claim(facts=WorkerFacts(allow_code=True))[0].study == "code"
    rich = WorkerFacts(allow_code=True, gpus_per_slot=2, labels=("a100", "big"))
    assert master.claim(facts=rich)[0].study == "gpu"


def test_studies_of_one_priority_share_the_slots_and_a_higher_one_goes_first(master: Any) -> None:
    master.submit(name="a", budget={"trials": 8})
    master.submit(name="b", budget={"trials": 8})
    assert [lease.study for lease in master.claim(slots=4)] == ["a", "b", "a", "b"]
    master.submit(name="c", priority=1, budget={"trials": 2})
    assert [lease.study for lease in master.claim(slots=3)] == ["c", "c", "a"]


def test_an_unknown_trial_is_not_found(master: Any) -> None:
    with pytest.raises(NotFound, match="no trial with id 99"):
        master.end(99, CompleteRequest(attempt=1))


def test_a_worker_of_a_deleted_study_cannot_write_to_another_study(master: Any) -> None:
    master.submit(name="old")
    [stale] = master.claim()
    master.call(study_control.change, "old", StudyPatch(state="stopped"))
    master.call(study_control.delete, "old")
    master.submit(name="new")
    [fresh] = master.claim("w2")
    assert fresh.trial_id > stale.trial_id
    with pytest.raises(NotFound):
        master.complete(stale, loss=0.1)
    assert state_of(master, fresh) is TrialState.RUNNING


def test_a_study_that_cannot_be_planned_does_not_block_others(master: Any) -> None:
    async def plan() -> None:
        task = asyncio.create_task(
            build_planner(master.database, Subscriptions(), observe=lambda sampler, took_s: None).run()
        )
        try:
            async with asyncio.timeout(60):
                while not master.claim(study="second"):
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()

    for name in ("first", "second"):
        master.call(submission.submit, spec_of(name=name, search={"sampler": "random"}))
    broken = "update studies set sampler = 'no such sampler' where name = 'first'"
    master.call(lambda uow: uow.connection.execute(text(broken)))
    asyncio.run(plan())
    assert master.claim(study="first") == []
