"""What an agent does about what happens to it, with no process, no network and no clock."""

from __future__ import annotations

from typing import TypeVar

import pytest

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, StopOrder, StopReason, StudyState, TrialState
from tunefleet_worker.agent.events import (
    Adopt,
    Beat,
    Beaten,
    BeatFailed,
    ChildEnded,
    ChildStarted,
    Claim,
    Claimed,
    ClaimFailed,
    Deliver,
    Delivered,
    Directed,
    Drop,
    Exit,
    Instruction,
    Key,
    Kill,
    LeaseGone,
    Recovered,
    Release,
    ReleaseAtOnce,
    Released,
    Say,
    SettleClaim,
    SignalCame,
    Start,
    Tell,
    Tick,
)
from tunefleet_worker.agent.state import Mode
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End

GONE = End.failed(Failure.ERROR, "the training process exited with code 1")
OOM = End.failed(Failure.OUT_OF_MEMORY, "no room")


def answer(state: TrialState = TrialState.COMPLETE, study: StudyState = StudyState.RUNNING) -> EndResponse:
    return EndResponse(state=state, study_state=study)


def key(trial_id: int, attempt: int = 1) -> Key:
    return Key(TrialId(trial_id), attempt)


def stop(trial_id: int) -> StopOrder:
    return StopOrder(trial_id=TrialId(trial_id), reason=StopReason.PRUNED, message="others do better")


T = TypeVar("T", bound=Instruction)


def only(kind: type[T], instructions: list[Instruction]) -> list[T]:
    return [each for each in instructions if isinstance(each, kind)]


# --- Claims


def test_an_agent_begins_with_a_heartbeat_and_a_claim_for_all_its_slots(agent):
    driven = agent(slots=3)
    assert driven.all == [Beat((), ""), Claim("agent-0", 3, 25.0, "")]


def test_leases_are_started_in_free_slots_and_the_rest_is_claimed_again(agent, lease):
    driven = agent(slots=3)
    first, second = lease(1), lease(2)
    assert driven.give(first, second) == [Start(first, 0), Start(second, 1), Claim("agent-1", 1, 25.0, "")]


def test_there_is_one_claim_at_a_time_however_many_slots_come_free(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert only(Claim, driven.end(1, End.complete(), answer())) == []
    assert driven.give(lease(2))[-1] == Claim("agent-2", 1, 25.0, "")


def test_a_claim_that_failed_is_sent_again_with_the_same_id(agent):
    driven = agent()
    assert driven.see(ClaimFailed("agent-0")) == []
    assert driven.see(Tick(), after_s=5) == [Claim("agent-0", 2, 25.0, "")]


def test_a_master_that_answers_at_once_that_there_is_nothing_is_not_asked_in_a_busy_loop(agent):
    driven = agent()
    assert driven.give() == []
    assert driven.see(Tick(), after_s=1.0) == [Claim("agent-1", 2, 25.0, "")]
    assert driven.see(Claimed("agent-1", ()), after_s=25.0) == [Claim("agent-2", 2, 25.0, "")]


def test_an_answer_to_a_claim_that_is_settled_changes_nothing(agent, lease):
    driven = agent()
    driven.give(lease(1))
    assert driven.see(Claimed("agent-0", (lease(1),))) == []


def test_a_lease_beyond_the_slots_is_given_back(agent, lease):
    driven = agent(slots=1)
    assert driven.give(lease(1), lease(2)) == [Release(lease(2)), Start(lease(1), 0)]


# --- Ends


def test_what_the_process_recorded_is_its_end_however_it_went_away(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(ChildEnded(key(1), End.complete(), GONE)) == [Deliver(key(1), End.complete())]


def test_a_process_that_goes_without_a_word_has_the_end_of_its_exit(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), GONE)]


def test_a_slot_is_free_when_the_end_is_delivered_and_not_before(agent, lease):
    driven = agent(slots=1)
    driven.train(lease(1))
    assert only(Claim, driven.see(ChildEnded(key(1), End.complete(), GONE))) == []
    out = driven.see(Delivered(key(1), End.complete(), answer()))
    assert out == [Drop(key(1)), Claim("agent-1", 1, 25.0, "")]


def test_a_trial_that_runs_too_long_is_killed_and_fails_with_its_limit(agent, lease):
    driven = agent()
    driven.train(lease(1, timeout_s=60))
    assert driven.state.next_deadline() is not None
    assert driven.see(Tick(), after_s=59) == []
    assert driven.see(Tick(), after_s=1) == [Kill(key(1))]
    [deliver] = driven.see(ChildEnded(key(1), None, GONE))
    assert isinstance(deliver, Deliver)
    assert deliver.end == End.failed(Failure.TIMEOUT, "the attempt did not end within 1 min 00 s (trial_timeout)")


def test_a_process_that_cannot_be_started_ends_like_any_other(agent, lease):
    driven = agent()
    driven.give(lease(1))
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), GONE)]


# --- Stops and lost leases


def test_a_stop_is_passed_on_once_and_after_its_grace_the_process_is_killed_and_the_trial_complete(agent, lease):
    driven = agent()
    driven.train(lease(1))
    told = [Tell(key(1), Order("stop", "pruned", "others do better"))]
    assert driven.see(Directed(key(1), stop(1))) == told
    assert driven.see(Beaten((key(1),), (), (stop(1),), 10.0)) == []
    assert driven.see(Tick(), after_s=29) == []
    assert driven.see(Tick(), after_s=1) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), End.complete())]


def test_a_stop_before_the_process_runs_is_told_when_it_does(agent, lease):
    driven = agent()
    driven.give(lease(1))
    assert driven.see(Directed(key(1), stop(1))) == []
    assert only(Tell, driven.see(ChildStarted(key(1)))) != []


def test_a_lost_lease_kills_the_process_and_delivers_nothing(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(Beaten((key(1),), (TrialId(1),), (), 10.0)) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Drop(key(1))]
    assert driven.state.attempts == ()


def test_a_report_that_is_too_late_ends_the_attempt_as_a_heartbeat_does(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(LeaseGone(key(1))) == [Kill(key(1))]


def test_a_result_on_its_way_is_delivered_even_if_the_lease_is_called_lost(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(ChildEnded(key(1), End.complete(), GONE))
    assert driven.see(Beaten((key(1),), (TrialId(1),), (), 10.0)) == []


def test_an_answer_about_an_older_attempt_does_not_touch_the_newer_one(agent, lease):
    driven = agent()
    driven.train(lease(1, 2))
    assert driven.see(Beaten((key(1, 1),), (TrialId(1),), (stop(1),), 10.0)) == []


def test_a_trial_that_comes_back_waits_until_its_older_process_is_gone(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.give(lease(1, 2)) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE))[:2] == [Drop(key(1)), Start(lease(1, 2), 1)]


def test_the_same_lease_twice_is_one(agent, lease):
    driven = agent()
    driven.give(lease(1))
    assert only(Start, driven.give(lease(1))) == []
    assert len(driven.state.attempts) == 1


# --- Heartbeats


def test_heartbeats_name_every_lease_and_follow_each_other(agent, lease):
    driven = agent()
    driven.train(lease(1), lease(2))
    driven.see(Beaten((), (), (), 9.0))
    driven.see(Tick(), after_s=9)
    assert driven.all[-1] == Beat((key(1), key(2)), "")
    driven.see(Tick(), after_s=9)
    assert len(only(Beat, driven.all)) == 2
    driven.see(BeatFailed(5.0))
    driven.see(Tick(), after_s=5)
    assert len(only(Beat, driven.all)) == 3


# --- Recovery


@pytest.mark.parametrize(("recorded", "delivered"), [(End.complete(), End.complete()), (None, End.released("lost"))])
def test_what_an_earlier_agent_left_is_delivered_and_takes_no_slot(agent, lease, recorded, delivered):
    driven = agent(slots=1)
    out = driven.see(Recovered(lease(7), recorded))
    assert out == [Adopt(lease(7)), Deliver(key(7), delivered)]
    assert driven.give(lease(1))[0] == Start(lease(1), 0)
    assert driven.see(Delivered(key(7), delivered, None)) == [Drop(key(7))]


# --- A sick worker


@pytest.fixture(scope="session")
def fail(lease):
    """Let a trial fail here."""

    def fail(driven, trial_id, end=OOM):
        driven.train(lease(trial_id))
        return driven.end(trial_id, end, answer(TrialState.FAILED))

    return fail


@pytest.fixture(scope="session")
def sick(agent, fail):
    """An agent of some slots on which three trials have just failed; its first rest is a minute."""

    def sick(slots=1):
        driven = agent(slots=slots)
        for trial_id in (1, 2, 3):
            fail(driven, trial_id)
        if driven.state.claim is not None:  # a long poll for the other slots is open still
            driven.give()
        return driven

    return sick


def beats(driven):
    return [each for each in driven.all if isinstance(each, Beat)]


def test_three_different_trials_that_fail_in_a_row_send_the_worker_to_rest_and_it_says_why_and_for_how_long(sick):
    driven = sick()
    [said] = only(Say, driven.last)
    assert "3 different trials failed here in a row (study/1, study/2, study/3); trying one in 1 min 00 s" in said.text
    driven.see(Beaten((), (), (), 10.0))
    driven.see(Tick(), after_s=20)
    told = beats(driven)[-1]
    assert (told.status, told.resting_s) == (
        "rests: 3 different trials failed here in a row (study/1, study/2, study/3)",
        40.0,
    )
    assert only(Claim, driven.see(Tick(), after_s=39)) == []


def test_the_master_hears_of_a_rest_at_once(agent, fail):
    driven = agent(slots=1)
    driven.see(Beaten((), (), (), 10.0))
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
    assert [said.text for said in only(Say, out)] == ["claims trials again"]
    assert driven.claim().slots == 3
    assert not driven.state.health.is_sick


def test_each_rest_is_twice_as_long_as_the_one_before_up_to_half_an_hour(sick, fail):
    driven = sick()
    rests = []
    for trial_id in range(4, 11):
        rests.append(driven.state.health.resting_s(driven.now))
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
    assert driven.state.health.resting_s(driven.now) == 120.0


def test_the_probe_may_be_the_trial_that_failed_last(sick, lease):
    driven = sick()
    driven.see(Tick(), after_s=60)
    driven.train(lease(3, 2))
    driven.see(ChildEnded(key(3, 2), OOM, GONE))
    driven.see(Delivered(key(3, 2), OOM, answer(TrialState.FAILED)))
    assert driven.state.health.resting_s(driven.now) == 120.0


def test_what_runs_beside_goes_on_during_a_rest_and_its_success_ends_it(agent, lease, fail):
    driven = agent(slots=2)
    driven.train(lease(9))
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert driven.state.health.is_sick
    assert only(Claim, driven.end(9, End.complete(), answer())) != []
    assert driven.claim().slots == 2


def test_the_same_trial_three_times_is_the_trials_fault(agent, lease):
    driven = agent(slots=1)
    for attempt in (1, 2, 3):
        driven.train(lease(1, attempt))
        driven.see(ChildEnded(key(1, attempt), OOM, GONE))
        driven.see(Delivered(key(1, attempt), OOM, answer(TrialState.FAILED)))
    assert not driven.state.health.is_sick


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
    assert not driven.state.health.is_sick


@pytest.mark.parametrize("end", [End.released("preempted"), End.failed(Failure.LOST, "killed from outside")])
def test_what_is_nobodys_fault_does_not_count(agent, end, fail):
    driven = agent(slots=1)
    for trial_id in (1, 2, 3, 4):
        fail(driven, trial_id, end)
    assert not driven.state.health.is_sick


# --- Leaving


def test_a_signal_drains_trials_settles_the_claim_and_then_the_agent_leaves(agent, lease):
    driven = agent()
    driven.train(lease(1))
    out = driven.see(SignalCame())
    assert out[1:] == [SettleClaim("agent-1", 1), Tell(key(1), Order("drain"))]
    assert driven.see(ChildEnded(key(1), End.released("preempted"), GONE)) == [
        Deliver(key(1), End.released("preempted"))
    ]
    assert driven.see(Delivered(key(1), End.released("preempted"), answer(TrialState.WAITING))) == [Drop(key(1))]
    assert driven.see(Claimed("agent-1", (), settles=True)) == [Exit(0)]


def test_leases_that_come_while_draining_are_given_back(agent, lease):
    driven = agent()
    driven.see(SignalCame())
    assert driven.see(Claimed("agent-0", (lease(1),))) == [Release(lease(1))]
    assert driven.see(Claimed("agent-0", (lease(1),), settles=True)) == []
    assert driven.see(Released(key(1))) == [Exit(0)]


def test_a_process_that_does_not_drain_in_time_is_killed_and_its_trial_given_back(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(SignalCame())
    assert driven.see(Tick(), after_s=14) == []
    assert driven.see(Tick(), after_s=1) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), End.released("preempted"))]


def test_a_stop_whose_grace_is_shorter_outranks_the_drains_and_the_other_way_round(agent, lease):
    driven = agent()
    driven.train(lease(1), lease(2))
    driven.see(Directed(key(1), stop(1)))
    driven.see(Tick(), after_s=20)
    driven.see(SignalCame())
    assert driven.see(Tick(), after_s=10) == [Kill(key(1))]
    assert driven.see(Tick(), after_s=5) == [Kill(key(2))]


def test_a_process_that_starts_while_draining_is_drained(agent, lease):
    driven = agent()
    driven.give(lease(1))
    driven.see(SignalCame())
    assert driven.see(ChildStarted(key(1))) == [Tell(key(1), Order("drain"))]


def test_a_draining_agent_leaves_in_time_even_if_the_master_never_answers(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(SignalCame())
    driven.see(ChildEnded(key(1), End.released("preempted"), GONE))
    assert driven.see(Tick(), after_s=22.9) == []
    assert driven.see(Tick(), after_s=0.1)[-1] == Exit(0)
    assert driven.see(Tick()) == []


def test_how_long_a_drain_may_take_can_be_set_and_all_of_it_shrinks(agent, lease):
    driven = agent(drain_s=5.0)
    driven.train(lease(1))
    driven.see(SignalCame())
    assert driven.see(Tick(), after_s=3.0) == [Kill(key(1))]
    assert driven.see(Tick(), after_s=1.6)[-1] == Exit(0)


def test_a_worker_that_rests_drains_as_well_as_any_other(sick):
    driven = sick()
    assert driven.see(SignalCame())[-1] == Exit(0)


def test_a_worker_that_is_idle_for_too_long_because_it_rests_says_so_by_its_exit(agent, fail):
    driven = agent(slots=1, exit_when_idle_s=30.0)
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert driven.see(Tick(), after_s=30)[-1] == Exit(1)


def test_a_draining_worker_tells_the_master_at_once_that_it_leaves(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(Beaten((), (), (), 10.0))
    driven.see(SignalCame())
    told = beats(driven)[-1]
    assert (told.status, told.is_leaving, told.resting_s) == ("draining", True, None)


def test_a_process_that_ended_before_its_start_was_told_does_not_run(agent, lease):
    driven = agent()
    driven.give(lease(1))
    driven.see(ChildEnded(key(1), None, GONE))
    assert driven.see(ChildStarted(key(1))) == []
    assert only(Claim, driven.see(Delivered(key(1), GONE, answer(TrialState.FAILED)))) == []
    assert driven.state.attempts == ()


def test_a_second_signal_kills_gives_back_and_leaves_at_once(agent, lease):
    driven = agent()
    driven.train(lease(1), lease(2))
    driven.see(ChildEnded(key(2), End.complete(), GONE))
    driven.see(SignalCame())
    assert driven.see(SignalCame()) == [Kill(key(1)), ReleaseAtOnce((key(1),)), Exit(1)]


def test_an_idle_agent_leaves_when_it_was_told_to(agent, lease):
    driven = agent(exit_when_idle_s=10.0)
    assert driven.claim().wait_s == 10.0
    driven.train(lease(1))
    driven.see(Tick(), after_s=60)
    driven.end(1, End.complete(), answer())
    assert driven.see(Tick(), after_s=9.9) == []
    driven.see(Tick(), after_s=0.1)
    assert driven.state.mode is Mode.DRAINING
    assert driven.see(ClaimFailed(driven.claim().request_id, settles=True)) == [Exit(0)]
