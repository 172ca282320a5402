"""Fixtures: an agent's state machine without processes, network or clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, Lease, StudyState, TrialState
from tunefleet_worker.agent.events import (
    ChildEnded,
    ChildStarted,
    Claim,
    Claimed,
    Delivered,
    Event,
    Instruction,
    Key,
    SendHeartbeat,
    Tick,
)
from tunefleet_worker.agent.machine import on_event
from tunefleet_worker.agent.state import AgentState, Limits
from tunefleet_worker.spool import End

GONE = End.failed(Failure.ERROR, "the training process exited with code 1")
OOM = End.failed(Failure.OUT_OF_MEMORY, "no room")


def make_lease(trial_id: int, attempt: int = 1, *, timeout_s: float | None = None) -> Lease:
    return Lease.parse(
        {
            "trial_id": trial_id,
            "attempt": attempt,
            "study": "study",
            "number": trial_id,
            "params": {},
            "seed": 0,
            "steps": 3,
            "run": {"task": "image_classification"},
            "data": {},
            "objective": {"metric": "loss", "goal": "minimize"},
            "trial_timeout_s": timeout_s,
            "resume": None,
        }
    )


@dataclass
class Driven:
    """An agent's state machine; the test provides the events."""

    state: AgentState
    now: float = 100.0
    last: list[Instruction] = field(default_factory=list)
    all: list[Instruction] = field(default_factory=list)

    def see(self, event: Event, *, after_s: float = 0.0) -> list[Instruction]:
        """Pass an event to the agent; return its instructions without heartbeats."""
        self.now += after_s
        self.state, out = on_event(self.state, event, now=self.now)
        self.last = [each for each in out if not isinstance(each, SendHeartbeat)]
        self.all += out
        return self.last

    def claim(self) -> Claim:
        """Return the last claim."""
        return [each for each in self.all if isinstance(each, Claim)][-1]

    def give(self, *leases: Lease) -> list[Instruction]:
        """Answer the open claim with leases."""
        return self.see(Claimed(self.claim().request_id, leases), after_s=0.1)

    def train(self, *leases: Lease) -> None:
        """Answer the open claim with leases, and start their processes."""
        self.give(*leases)
        for each in leases:
            self.see(ChildStarted(Key.of(each)))

    def end(self, trial_id: int, end: End, reply: EndResponse | None) -> list[Instruction]:
        """End a training process, and deliver its end."""
        self.see(ChildEnded(Key(TrialId(trial_id), 1), end, GONE))
        return self.see(Delivered(Key(TrialId(trial_id), 1), end, reply))


def make_agent(slots: int = 2, **options: float) -> Driven:
    driven = Driven(AgentState.begin(slots=slots, prefix="agent", now=100.0, limits=Limits(**options)))
    driven.see(Tick())
    return driven


@pytest.fixture(scope="session")
def lease() -> Callable[..., Lease]:
    """Return a factory of leases by trial id and attempt."""
    return make_lease


@pytest.fixture(scope="session")
def agent() -> Callable[..., Driven]:
    """Return a factory of agents that have just started."""
    return make_agent


@pytest.fixture(scope="session")
def fail() -> Callable[..., list[Instruction]]:
    """Return a function that fails a trial on an agent."""

    def fail(driven: Driven, trial_id: int, end: End = OOM) -> list[Instruction]:
        driven.train(make_lease(trial_id))
        return driven.end(trial_id, end, EndResponse(state=TrialState.FAILED, study_state=StudyState.RUNNING))

    return fail


@pytest.fixture(scope="session")
def open_breaker(fail: Callable[..., list[Instruction]]) -> Callable[..., Driven]:
    """Return a factory of agents on which three trials have failed; the first cooldown is a minute."""

    def open_breaker(slots: int = 1) -> Driven:
        driven = make_agent(slots=slots)
        for trial_id in (1, 2, 3):
            fail(driven, trial_id)
        if driven.state.claim is not None:  # a long poll for the other slots is still open
            driven.give()
        return driven

    return open_breaker
