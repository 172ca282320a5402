"""An agent leaves after a signal, or when it is idle."""

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


def heartbeats(driven):
    return [each for each in driven.all if isinstance(each, SendHeartbeat)]


def test_signal_drains_trials_settles_the_claim_and_ends_the_agent(agent, lease):
    driven = agent()
    driven.train(lease(1))
    out = driven.see(SignalReceived())
    assert out[1:] == [SettleClaim("agent-1", 1), SendOrder(key(1), Order("drain"))]
    assert driven.see(ChildEnded(key(1), End.released("preempted"), GONE)) == [
        Deliver(key(1), End.released("preempted"))
    ]
    assert driven.see(Delivered(key(1), End.released("preempted"), answer(TrialState.WAITING))) == [Drop(key(1))]
    assert driven.see(Claimed("agent-1", (), settles=True)) == [Exit(0)]


def test_leases_that_come_while_draining_are_released(agent, lease):
    driven = agent()
    driven.see(SignalReceived())
    assert driven.see(Claimed("agent-0", (lease(1),))) == [Release(lease(1))]
    assert driven.see(Claimed("agent-0", (lease(1),), settles=True)) == []
    assert driven.see(Released(key(1))) == [Exit(0)]


def test_process_that_does_not_drain_in_time_is_killed_and_its_trial_released(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(SignalReceived())
    assert driven.see(Tick(), after_s=14) == []
    assert driven.see(Tick(), after_s=1) == [Kill(key(1))]
    assert driven.see(ChildEnded(key(1), None, GONE)) == [Deliver(key(1), End.released("preempted"))]


def test_the_shorter_of_two_grace_periods_counts(agent, lease):
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


def test_draining_agent_exits_in_time_without_an_answer_of_the_master(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(SignalReceived())
    driven.see(ChildEnded(key(1), End.released("preempted"), GONE))
    assert driven.see(Tick(), after_s=22.9) == []
    assert driven.see(Tick(), after_s=0.1)[-1] == Exit(0)
    assert driven.see(Tick()) == []


def test_drain_time_is_configurable_and_scales_every_limit(agent, lease):
    driven = agent(drain_s=5.0)
    driven.train(lease(1))
    driven.see(SignalReceived())
    assert driven.see(Tick(), after_s=3.0) == [Kill(key(1))]
    assert driven.see(Tick(), after_s=1.6)[-1] == Exit(0)


def test_worker_with_an_open_breaker_drains(open_breaker):
    driven = open_breaker()
    assert driven.see(SignalReceived())[-1] == Exit(0)


def test_idle_worker_with_an_open_breaker_exits_with_code_1(agent, fail):
    driven = agent(slots=1, exit_when_idle_s=30.0)
    for trial_id in (1, 2, 3):
        fail(driven, trial_id)
    assert driven.see(Tick(), after_s=30)[-1] == Exit(1)


def test_a_draining_worker_tells_the_master_at_once_that_it_leaves(agent, lease):
    driven = agent()
    driven.train(lease(1))
    driven.see(HeartbeatAnswered((), (), (), 10.0))
    driven.see(SignalReceived())
    heartbeat = heartbeats(driven)[-1]
    assert (heartbeat.status, heartbeat.is_leaving, heartbeat.resting_s) == ("draining", True, None)


def test_process_that_ended_before_its_start_event_is_not_running(agent, lease):
    driven = agent()
    driven.give(lease(1))
    driven.see(ChildEnded(key(1), None, GONE))
    assert driven.see(ChildStarted(key(1))) == []
    assert only(Claim, driven.see(Delivered(key(1), GONE, answer(TrialState.FAILED)))) == []
    assert driven.state.attempts == ()


def test_second_signal_kills_releases_and_exits_at_once(agent, lease):
    driven = agent()
    driven.train(lease(1), lease(2))
    driven.see(ChildEnded(key(2), End.complete(), GONE))
    driven.see(SignalReceived())
    assert driven.see(SignalReceived()) == [Kill(key(1)), ReleaseAtOnce((key(1),)), Exit(1)]


def test_idle_agent_exits_after_its_time(agent, lease):
    driven = agent(exit_when_idle_s=10.0)
    assert driven.claim().wait_s == 10.0
    driven.train(lease(1))
    driven.see(Tick(), after_s=60)
    driven.end(1, End.complete(), answer())
    assert driven.see(Tick(), after_s=9.9) == []
    driven.see(Tick(), after_s=0.1)
    assert driven.state.mode is Mode.DRAINING
    assert driven.see(ClaimFailed(driven.claim().request_id, settles=True)) == [Exit(0)]
