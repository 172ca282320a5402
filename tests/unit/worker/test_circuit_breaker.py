"""An agent on which trials fail: it rests, tries one, and trusts itself again."""

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


def beats(driven):
    return [each for each in driven.all if isinstance(each, SendHeartbeat)]


def test_three_different_trials_that_fail_in_a_row_send_the_worker_to_rest_and_it_says_why_and_for_how_long(sick):
    driven = sick()
    [said] = only(Log, driven.last)
    assert "3 different trials failed here in a row (study/1, study/2, study/3); trying one in 1 min 00 s" in said.text
    driven.see(HeartbeatAnswered((), (), (), 10.0))
    driven.see(Tick(), after_s=20)
    told = beats(driven)[-1]
    assert (told.status, told.resting_s) == (
        "rests: 3 different trials failed here in a row (study/1, study/2, study/3)",
        40.0,
    )
    assert only(Claim, driven.see(Tick(), after_s=39)) == []


def test_the_master_hears_of_a_rest_at_once(agent, fail):
    driven = agent(slots=1)
    driven.see(HeartbeatAnswered((), (), (), 10.0))
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert beats(driven)[-1].resting_s == 60.0


def test_a_rest_ends_with_one_trial_however_many_slots_are_free(sick, lease):
    driven = sick(slots=3)
    [probe] = driven.see(Tick(), after_s=60)
    assert isinstance(probe, Claim)
    assert probe.slots == 1
    assert probe.status.startswith("tries one trial: 3 different trials failed here in a row")
    driven.train(lease(4))
    assert only(Claim, driven.see(Tick(), after_s=600)) == []


def test_a_good_trial_ends_the_row_and_all_slots_claim_again(sick, lease):
    driven = sick(slots=3)
    driven.see(Tick(), after_s=60)
    driven.train(lease(4))
    out = driven.end(4, End.complete(), answer())
    assert [said.text for said in only(Log, out)] == ["claims trials again"]
    assert driven.claim().slots == 3
    assert not driven.state.breaker.is_open


def test_each_rest_is_twice_as_long_as_the_one_before_up_to_half_an_hour(sick, fail):
    driven = sick()
    rests = []
    for trial_id in range(4, 11):
        rests.append(driven.state.breaker.cooldown_left_s(driven.now))
        driven.see(Tick(), after_s=rests[-1])
        fail(driven, trial_id)
    assert rests == pytest.approx([60, 120, 240, 480, 960, 1800, 1800])
    assert len(driven.state.status(driven.now)) < 500


def test_a_probe_that_nobody_lets_come_to_its_end_is_followed_by_another_at_once(sick, lease):
    driven = sick()
    driven.see(Tick(), after_s=60)
    driven.train(lease(4))
    out = driven.end(4, End.released("preempted"), answer(TrialState.WAITING))
    assert [claim.slots for claim in only(Claim, out)] == [1]


def test_what_a_claim_brings_that_was_open_when_the_rest_began_runs_as_a_probe_does(agent, lease, fail):
    driven = agent(slots=3)
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert only(Start, driven.give(lease(4))) == [Start(lease(4), 0)]
    assert only(Claim, driven.see(Tick(), after_s=60)) == []
    assert driven.end(4, OOM, answer(TrialState.FAILED)) != []
    assert driven.state.breaker.cooldown_left_s(driven.now) == 120.0


def test_the_probe_may_be_the_trial_that_failed_last(sick, lease):
    driven = sick()
    driven.see(Tick(), after_s=60)
    driven.train(lease(3, 2))
    driven.see(ChildEnded(key(3, 2), OOM, GONE))
    driven.see(Delivered(key(3, 2), OOM, answer(TrialState.FAILED)))
    assert driven.state.breaker.cooldown_left_s(driven.now) == 120.0


def test_what_runs_beside_goes_on_during_a_rest_and_its_success_ends_it(agent, lease, fail):
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
def test_a_success_or_a_study_that_is_paused_for_it_starts_the_count_again(agent, lease, between, fail):
    driven = agent(slots=1)
    fail(driven, 1)
    fail(driven, 2)
    driven.train(lease(3))
    driven.end(3, *between)
    fail(driven, 4)
    assert not driven.state.breaker.is_open


@pytest.mark.parametrize("end", [End.released("preempted"), End.failed(Failure.LOST, "killed from outside")])
def test_what_is_nobodys_fault_does_not_count(agent, end, fail):
    driven = agent(slots=1)
    for trial_id in (1, 2, 3, 4):
        fail(driven, trial_id, end)
    assert not driven.state.breaker.is_open
