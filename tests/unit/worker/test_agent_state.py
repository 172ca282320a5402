"""The agent's state machine, without processes, network or clock."""

from __future__ import annotations

from typing import TypeVar

import pytest

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, StopOrder, StopReason, StudyState, TrialState
from tunefleet_worker.agent.events import (
    Adopt,
    ChildEnded,
    ChildStarted,
    Claim,
    Claimed,
    ClaimFailed,
    Deliver,
    Delivered,
    Drop,
    HeartbeatAnswered,
    HeartbeatFailed,
    Instruction,
    Key,
    Kill,
    LeaseLost,
    Recovered,
    Release,
    SendHeartbeat,
    SendOrder,
    Start,
    StopOrdered,
    Tick,
)
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


def test_agent_starts_with_a_heartbeat_and_a_claim_for_all_slots(agent):
    driven = agent(slots=3)
    assert driven.all == [SendHeartbeat((), ""), Claim("agent-0", 3, 25.0, "")]


def test_leases_start_in_free_slots_and_the_other_slots_claim_again(agent, lease):
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


def test_empty_answers_do_not_cause_a_busy_loop(agent):
    driven = agent()
    assert driven.give() == []
    assert driven.see(Tick(), after_s=1.0) == [Claim("agent-1", 2, 25.0, "")]
    assert driven.see(Claimed("agent-1", ()), after_s=25.0) == [Claim("agent-2", 2, 25.0, "")]


def test_an_answer_to_a_claim_that_is_settled_changes_nothing(agent, lease):
    driven = agent()
    driven.give(lease(1))
    assert driven.see(Claimed("agent-0", (lease(1),))) == []


def test_lease_beyond_the_slots_is_released(agent, lease):
    driven = agent(slots=1)
    assert driven.give(lease(1), lease(2)) == [Release(lease(2)), Start(lease(1), 0)]


# --- Ends


def test_what_the_process_recorded_is_its_end_however_it_went_away(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(ChildEnded(key(1), End.complete(), GONE)) == [Deliver(key(1), End.complete())]


def test_process_without_a_recorded_end_has_the_end_of_its_exit_code(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), GONE)]


def test_slot_is_free_once_the_end_is_delivered(agent, lease):
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


def test_stop_is_sent_once_and_after_the_grace_period_the_process_is_killed_and_the_trial_completes(agent, lease):
    driven = agent()
    driven.train(lease(1))
    order = [SendOrder(key(1), Order("stop", "pruned", "others do better"))]
    assert driven.see(StopOrdered(key(1), stop(1))) == order
    assert driven.see(HeartbeatAnswered((key(1),), (), (stop(1),), 10.0)) == []
    assert driven.see(Tick(), after_s=29) == []
    assert driven.see(Tick(), after_s=1) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), End.complete())]


def test_stop_before_the_process_runs_is_sent_after_its_start(agent, lease):
    driven = agent()
    driven.give(lease(1))
    assert driven.see(StopOrdered(key(1), stop(1))) == []
    assert only(SendOrder, driven.see(ChildStarted(key(1)))) != []


def test_a_lost_lease_kills_the_process_and_delivers_nothing(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(HeartbeatAnswered((key(1),), (TrialId(1),), (), 10.0)) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Drop(key(1))]
    assert driven.state.attempts == ()


def test_refused_report_ends_the_attempt_like_a_heartbeat(agent, lease):
    driven = agent()
    driven.train(lease(1))
    assert driven.see(LeaseLost(key(1))) == [Kill(key(1))]


def test_result_in_delivery_is_sent_even_if_the_lease_is_lost(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(ChildEnded(key(1), End.complete(), GONE))
    assert driven.see(HeartbeatAnswered((key(1),), (TrialId(1),), (), 10.0)) == []


def test_an_answer_about_an_older_attempt_does_not_touch_the_newer_one(agent, lease):
    driven = agent()
    driven.train(lease(1, 2))
    assert driven.see(HeartbeatAnswered((key(1, 1),), (TrialId(1),), (stop(1),), 10.0)) == []


def test_new_attempt_waits_until_the_older_process_has_ended(agent, lease):
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
    driven.see(HeartbeatAnswered((), (), (), 9.0))
    driven.see(Tick(), after_s=9)
    assert driven.all[-1] == SendHeartbeat((key(1), key(2)), "")
    driven.see(Tick(), after_s=9)
    assert len(only(SendHeartbeat, driven.all)) == 2
    driven.see(HeartbeatFailed(5.0))
    driven.see(Tick(), after_s=5)
    assert len(only(SendHeartbeat, driven.all)) == 3


# --- Recovery


@pytest.mark.parametrize(("recorded", "delivered"), [(End.complete(), End.complete()), (None, End.released("lost"))])
def test_recovered_attempt_is_delivered_and_takes_no_slot(agent, lease, recorded, delivered):
    driven = agent(slots=1)
    out = driven.see(Recovered(lease(7), recorded))
    assert out == [Adopt(lease(7)), Deliver(key(7), delivered)]
    assert driven.give(lease(1))[0] == Start(lease(1), 0)
    assert driven.see(Delivered(key(7), delivered, None)) == [Drop(key(7))]
