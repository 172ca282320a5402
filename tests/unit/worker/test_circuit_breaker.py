"""The circuit breaker of an agent: open, half-open and closed."""

from __future__ import annotations

from typing import TypeVar

import pytest

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, StudyState, TrialState
from tunefleet_worker.agent.events import (
    ChildEnded,
    Claim,
    Delivered,
    HeartbeatAnswered,
    Instruction,
    Key,
    Log,
    SendHeartbeat,
    Start,
    Tick,
)
from tunefleet_worker.spool import End

GONE = End.failed(Failure.ERROR, "the training process exited with code 1")
OOM = End.failed(Failure.OUT_OF_MEMORY, "no room")


def answer(state: TrialState = TrialState.COMPLETE, study: StudyState = StudyState.RUNNING) -> EndResponse:
    return EndResponse(state=state, study_state=study)


def key(trial_id: int, attempt: int = 1) -> Key:
    return Key(TrialId(trial_id), attempt)


T = TypeVar("T", bound=Instruction)


def only(kind: type[T], instructions: list[Instruction]) -> list[T]:
    return [each for each in instructions if isinstance(each, kind)]


def heartbeats(driven):
    return [each for each in driven.all if isinstance(each, SendHeartbeat)]


def test_three_different_failures_in_a_row_open_the_breaker_and_the_status_says_why(open_breaker):
    driven = open_breaker()
    [log] = only(Log, driven.last)
    assert "3 different trials failed here in a row (study/1, study/2, study/3); trying one in 1 min 00 s" in log.text
    driven.see(HeartbeatAnswered((), (), (), 10.0))
    driven.see(Tick(), after_s=20)
    heartbeat = heartbeats(driven)[-1]
    assert (heartbeat.status, heartbeat.resting_s) == (
        "rests: 3 different trials failed here in a row (study/1, study/2, study/3)",
        40.0,
    )
    assert only(Claim, driven.see(Tick(), after_s=39)) == []


def test_cooldown_is_sent_to_the_master_at_once(agent, fail):
    driven = agent(slots=1)
    driven.see(HeartbeatAnswered((), (), (), 10.0))
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert heartbeats(driven)[-1].resting_s == 60.0


def test_half_open_breaker_claims_one_trial_for_any_number_of_slots(open_breaker, lease):
    driven = open_breaker(slots=3)
    [claim] = driven.see(Tick(), after_s=60)
    assert isinstance(claim, Claim)
    assert claim.slots == 1
    assert claim.status.startswith("tries one trial: 3 different trials failed here in a row")
    driven.train(lease(4))
    assert only(Claim, driven.see(Tick(), after_s=600)) == []


def test_successful_trial_closes_the_breaker_and_all_slots_claim_again(open_breaker, lease):
    driven = open_breaker(slots=3)
    driven.see(Tick(), after_s=60)
    driven.train(lease(4))
    out = driven.end(4, End.complete(), answer())
    assert [log.text for log in only(Log, out)] == ["claims trials again"]
    assert driven.claim().slots == 3
    assert not driven.state.breaker.is_open


def test_cooldown_doubles_up_to_half_an_hour(open_breaker, fail):
    driven = open_breaker()
    cooldowns = []
    for trial_id in range(4, 11):
        cooldowns.append(driven.state.breaker.cooldown_left_s(driven.now))
        driven.see(Tick(), after_s=cooldowns[-1])
        fail(driven, trial_id)
    assert cooldowns == pytest.approx([60, 120, 240, 480, 960, 1800, 1800])
    assert len(driven.state.status(driven.now)) < 500


def test_released_half_open_trial_is_followed_by_another_at_once(open_breaker, lease):
    driven = open_breaker()
    driven.see(Tick(), after_s=60)
    driven.train(lease(4))
    out = driven.end(4, End.released("preempted"), answer(TrialState.WAITING))
    assert [claim.slots for claim in only(Claim, out)] == [1]


def test_lease_of_a_claim_from_before_the_cooldown_counts_as_half_open(agent, lease, fail):
    driven = agent(slots=3)
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert only(Start, driven.give(lease(4))) == [Start(lease(4), 0)]
    assert only(Claim, driven.see(Tick(), after_s=60)) == []
    assert driven.end(4, OOM, answer(TrialState.FAILED)) != []
    assert driven.state.breaker.cooldown_left_s(driven.now) == 120.0


def test_half_open_trial_may_be_the_one_that_failed_last(open_breaker, lease):
    driven = open_breaker()
    driven.see(Tick(), after_s=60)
    driven.train(lease(3, 2))
    driven.see(ChildEnded(key(3, 2), OOM, GONE))
    driven.see(Delivered(key(3, 2), OOM, answer(TrialState.FAILED)))
    assert driven.state.breaker.cooldown_left_s(driven.now) == 120.0


def test_running_trials_continue_during_a_cooldown_and_a_success_ends_it(agent, lease, fail):
    driven = agent(slots=2)
    driven.train(lease(9))
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert driven.state.breaker.is_open
    assert only(Claim, driven.end(9, End.complete(), answer())) != []
    assert driven.claim().slots == 2


def test_the_same_trial_three_times_is_the_trials_fault(agent, lease):
    driven = agent(slots=1)
    for attempt in (1, 2, 3):
        driven.train(lease(1, attempt))
        driven.see(ChildEnded(key(1, attempt), OOM, GONE))
        driven.see(Delivered(key(1, attempt), OOM, answer(TrialState.FAILED)))
    assert not driven.state.breaker.is_open


@pytest.mark.parametrize(
    "between",
    [
        (End.complete(), answer()),
        (OOM, answer(TrialState.FAILED, StudyState.PAUSED)),
    ],
)
def test_success_or_a_paused_study_resets_the_count(agent, lease, between, fail):
    driven = agent(slots=1)
    fail(driven, 1)
    fail(driven, 2)
    driven.train(lease(3))
    driven.end(3, *between)
    fail(driven, 4)
    assert not driven.state.breaker.is_open


@pytest.mark.parametrize("end", [End.released("preempted"), End.failed(Failure.LOST, "killed from outside")])
def test_releases_and_lost_processes_do_not_count(agent, end, fail):
    driven = agent(slots=1)
    for trial_id in (1, 2, 3, 4):
        fail(driven, trial_id, end)
    assert not driven.state.breaker.is_open
