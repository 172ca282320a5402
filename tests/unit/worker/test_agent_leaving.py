"""An agent that is told to go, or has nothing to do."""

from __future__ import annotations

from typing import TypeVar

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, StopOrder, StopReason, StudyState, TrialState
from tunefleet_worker.agent.events import (
    ChildEnded,
    ChildStarted,
    Claim,
    Claimed,
    ClaimFailed,
    Deliver,
    Delivered,
    Drop,
    Exit,
    HeartbeatAnswered,
    Instruction,
    Key,
    Kill,
    Release,
    ReleaseAtOnce,
    Released,
    SendHeartbeat,
    SendOrder,
    SettleClaim,
    SignalReceived,
    StopOrdered,
    Tick,
)
from tunefleet_worker.agent.state import Mode
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End

GONE = End.failed(Failure.ERROR, "the training process exited with code 1")


def answer(state: TrialState = TrialState.COMPLETE, study: StudyState = StudyState.RUNNING) -> EndResponse:
    return EndResponse(state=state, study_state=study)


def key(trial_id: int, attempt: int = 1) -> Key:
    return Key(TrialId(trial_id), attempt)


def stop(trial_id: int) -> StopOrder:
    return StopOrder(trial_id=TrialId(trial_id), reason=StopReason.PRUNED, message="others do better")


T = TypeVar("T", bound=Instruction)


def only(kind: type[T], instructions: list[Instruction]) -> list[T]:
    return [each for each in instructions if isinstance(each, kind)]


def beats(driven):
    return [each for each in driven.all if isinstance(each, SendHeartbeat)]


def test_a_signal_drains_trials_settles_the_claim_and_then_the_agent_leaves(agent, lease):
    driven = agent()
    driven.train(lease(1))
    out = driven.see(SignalReceived())
    assert out[1:] == [SettleClaim("agent-1", 1), SendOrder(key(1), Order("drain"))]
    assert driven.see(ChildEnded(key(1), End.released("preempted"), GONE)) == [
        Deliver(key(1), End.released("preempted"))
    ]
    assert driven.see(Delivered(key(1), End.released("preempted"), answer(TrialState.WAITING))) == [Drop(key(1))]
    assert driven.see(Claimed("agent-1", (), settles=True)) == [Exit(0)]


def test_leases_that_come_while_draining_are_given_back(agent, lease):
    driven = agent()
    driven.see(SignalReceived())
    assert driven.see(Claimed("agent-0", (lease(1),))) == [Release(lease(1))]
    assert driven.see(Claimed("agent-0", (lease(1),), settles=True)) == []
    assert driven.see(Released(key(1))) == [Exit(0)]


def test_a_process_that_does_not_drain_in_time_is_killed_and_its_trial_given_back(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(SignalReceived())
    assert driven.see(Tick(), after_s=14) == []
    assert driven.see(Tick(), after_s=1) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), End.released("preempted"))]


def test_a_stop_whose_grace_is_shorter_outranks_the_drains_and_the_other_way_round(agent, lease):
    driven = agent()
    driven.train(lease(1), lease(2))
    driven.see(StopOrdered(key(1), stop(1)))
    driven.see(Tick(), after_s=20)
    driven.see(SignalReceived())
    assert driven.see(Tick(), after_s=10) == [Kill(key(1))]
    assert driven.see(Tick(), after_s=5) == [Kill(key(2))]


def test_a_process_that_starts_while_draining_is_drained(agent, lease):
    driven = agent()
    driven.give(lease(1))
    driven.see(SignalReceived())
    assert driven.see(ChildStarted(key(1))) == [SendOrder(key(1), Order("drain"))]


def test_a_draining_agent_leaves_in_time_even_if_the_master_never_answers(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(SignalReceived())
    driven.see(ChildEnded(key(1), End.released("preempted"), GONE))
    assert driven.see(Tick(), after_s=22.9) == []
    assert driven.see(Tick(), after_s=0.1)[-1] == Exit(0)
    assert driven.see(Tick()) == []


def test_how_long_a_drain_may_take_can_be_set_and_all_of_it_shrinks(agent, lease):
    driven = agent(drain_s=5.0)
    driven.train(lease(1))
    driven.see(SignalReceived())
    assert driven.see(Tick(), after_s=3.0) == [Kill(key(1))]
    assert driven.see(Tick(), after_s=1.6)[-1] == Exit(0)


def test_a_worker_that_rests_drains_as_well_as_any_other(sick):
    driven = sick()
    assert driven.see(SignalReceived())[-1] == Exit(0)


def test_a_worker_that_is_idle_for_too_long_because_it_rests_says_so_by_its_exit(agent, fail):
    driven = agent(slots=1, exit_when_idle_s=30.0)
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert driven.see(Tick(), after_s=30)[-1] == Exit(1)


def test_a_draining_worker_tells_the_master_at_once_that_it_leaves(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(HeartbeatAnswered((), (), (), 10.0))
    driven.see(SignalReceived())
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
    driven.see(SignalReceived())
    assert driven.see(SignalReceived()) == [Kill(key(1)), ReleaseAtOnce((key(1),)), Exit(1)]


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
