"""Invariants of an agent under any sequence of events."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, Lease, StopOrder, StopReason, StudyState, TrialState
from tunefleet_worker.agent.events import (
    ChildEnded,
    ChildStarted,
    Claimed,
    ClaimFailed,
    Deliver,
    Delivered,
    Event,
    Exit,
    HeartbeatAnswered,
    Instruction,
    Key,
    Kill,
    Recovered,
    Release,
    Released,
    SettleClaim,
    SignalReceived,
    Start,
    StopOrdered,
    Tick,
)
from tunefleet_worker.agent.state import Phase
from tunefleet_worker.spool import End

GONE = End.failed(Failure.ERROR, "the training process exited with code 1")
STEPS = st.lists(st.tuples(st.integers(0, 13), st.integers(0, 5), st.floats(0, 15)), max_size=60)


def stop_of(trial_id: int) -> StopOrder:
    return StopOrder(trial_id=TrialId(trial_id), reason=StopReason.PRUNED)


class World:
    """A master and processes that act in any permitted order."""

    def __init__(self, driven, lease: Callable[..., Lease]) -> None:
        self.driven = driven
        self.make_lease = lease
        self.attempts: dict[int, int] = {}
        self.processes: set[Key] = set()
        self.starting: set[Key] = set()
        self.delivering: list[Deliver] = []
        self.releasing: list[Release] = []
        self.settling: list[SettleClaim] = []
        self.exits: list[Exit] = []
        self.take(self.driven.all)

    def take(self, instructions: list[Instruction]) -> None:
        for each in instructions:
            if isinstance(each, Start):
                assert Key.of(each.lease).trial_id not in {k.trial_id for k in self.processes | self.starting}
                self.starting.add(Key.of(each.lease))
            elif isinstance(each, Deliver):
                self.delivering.append(each)
            elif isinstance(each, Release):
                self.releasing.append(each)
            elif isinstance(each, SettleClaim):
                self.settling.append(each)
            elif isinstance(each, Exit):
                self.exits.append(each)
            else:
                assert not isinstance(each, Kill) or each.key in self.processes | self.starting
        assert len(self.processes | self.starting) <= self.driven.state.slots
        slots = [each.slot for each in self.driven.state.attempts if each.slot is not None]
        assert len(slots) == len(set(slots))

    def see(self, event: Event, after_s: float = 0.0) -> None:
        self.take(self.driven.see(event, after_s=after_s))

    def lease(self, trial_id: int) -> Lease:
        self.attempts[trial_id] = self.attempts.get(trial_id, 0) + 1
        return self.make_lease(trial_id, self.attempts[trial_id], timeout_s=30)

    def do(self, what: int, which: int) -> Event:
        state = self.driven.state
        if what == 0 and state.claim is not None:
            return Claimed(state.claim.request_id, (self.lease(which), self.lease(which + 1))[: 1 + which % 2])
        if what == 1 and state.claim is not None:
            return ClaimFailed(state.claim.request_id)
        if what == 2 and self.starting:
            started = sorted(self.starting, key=str)[0]
            self.starting.discard(started)
            self.processes.add(started)
            return ChildStarted(started)
        if what in (3, 4) and self.processes | self.starting:
            ended = sorted(self.processes | self.starting, key=str)[0]
            self.processes.discard(ended)
            self.starting.discard(ended)
            return ChildEnded(ended, End.complete() if what == 3 else None, GONE)
        if what in (5, 6) and self.delivering:
            delivery = self.delivering.pop(0)
            return Delivered(
                delivery.key,
                delivery.end,
                EndResponse(state=TrialState.COMPLETE, study_state=StudyState.RUNNING) if what == 5 else None,
            )
        if what == 7 and self.releasing:
            return Released(Key.of(self.releasing.pop(0).lease))
        return self.do_more(what, which)

    def do_more(self, what: int, which: int) -> Event:
        held = tuple(each.key for each in self.driven.state.attempts)
        if what == 8:
            return HeartbeatAnswered(held, (TrialId(which),), (), 10.0)
        if what == 9:
            return HeartbeatAnswered(held, (), (stop_of(which),), 10.0)
        if what == 10 and held:
            return StopOrdered(held[0], stop_of(held[0].trial_id))
        if what == 11:
            return Recovered(self.lease(which + 100), None)
        if what == 12 and self.settling:
            return Claimed(self.settling.pop(0).request_id, (self.lease(which),), settles=True)
        return Tick()


@given(slots=st.integers(1, 4), steps=STEPS)
def test_a_trial_has_one_process_a_slot_too_and_a_signal_always_ends_the_agent(agent, lease, slots, steps):
    world = World(agent(slots=slots), lease)
    for what, which, after_s in steps:
        world.see(world.do(what, which), after_s)
    assert world.exits == []
    world.see(SignalReceived())
    for _ in range(50):
        if world.exits:
            break
        at = world.driven.state.next_deadline()
        assert at is not None
        world.see(Tick(), max(0.0, at - world.driven.now))
    assert len(world.exits) == 1
    assert world.driven.see(Tick(), after_s=100) == []


@given(slots=st.integers(1, 4), steps=STEPS)
def test_with_a_world_that_answers_every_process_is_gone_when_the_agent_has_drained(agent, lease, slots, steps):
    world = World(agent(slots=slots), lease)
    for what, which, after_s in steps:
        world.see(world.do(what, which), after_s)
    world.see(SignalReceived())
    for _ in range(200):
        if world.exits:
            break
        for what in (2, 3, 5, 7, 12):
            if not world.exits:
                world.see(world.do(what, 50))
    assert world.exits in ([Exit(0)], [Exit(1)])
    assert world.processes | world.starting == set()
    assert all(each.phase is not Phase.TRAINING for each in world.driven.state.attempts)
