"""What an agent knows: its mode, attempts, claim and timers; frozen, `machine` makes the next state of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from tunefleet.protocol import Lease, StopOrder
from tunefleet_worker.agent.circuit_breaker import FIRST_REST_S, CircuitBreaker
from tunefleet_worker.agent.events import Key

DRAIN_S = 25.0  # from a drain to the end of the agent: batch systems and clouds kill after 30 s
GRACE_SHARE = 0.6  # of it for a training process to save itself; the rest is for what it saved to be delivered
LEAVE_SHARE = 0.92  # of it until the agent gives up delivering; the next one in its folder goes on


class Mode(StrEnum):
    """What the agent is about."""

    WORKING = "working"
    DRAINING = "draining"
    """It takes nothing new, and leaves when what it has is saved."""
    GONE = "gone"


class Phase(StrEnum):
    """Where an attempt is; BLOCKED -> STARTING -> TRAINING -> DELIVERING -> gone."""

    BLOCKED = "blocked"
    """An older attempt of its trial still has a process."""
    STARTING = "starting"
    TRAINING = "training"
    DELIVERING = "delivering"
    """Its process is gone; what it told is on its way to the master."""


class Fate(StrEnum):
    """Why the agent killed a training process."""

    LOST = "lost"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A lease that the agent holds.

    Attributes:
        slot: where it runs; None for one that an earlier agent left behind: it has no process and takes no slot.
        stop: what the master wants of it.
        timeout_at: when it has run too long.
        kill_at: when it has had its grace after an order.
        fate: set once the agent has killed it.
        is_half_open: it came while the worker was sick, and shows whether it still is.
    """

    lease: Lease
    slot: int | None
    phase: Phase
    stop: StopOrder | None = None
    timeout_at: float | None = None
    kill_at: float | None = None
    fate: Fate | None = None
    is_half_open: bool = False

    @property
    def key(self) -> Key:
        """Which attempt it is."""
        return Key.of(self.lease)

    @property
    def has_process(self) -> bool:
        """Whether a training process runs, or may run in a moment."""
        return self.phase in (Phase.STARTING, Phase.TRAINING)

    @property
    def deadlines(self) -> tuple[float, ...]:
        """When the agent must look at it again."""
        if not self.has_process or self.fate is not None:
            return ()
        return tuple(at for at in (self.timeout_at, self.kill_at) if at is not None)


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """The one claim that is under way; its id stays until it is answered, so that no lease gets lost with an answer.

    Attributes:
        retry_at: when to send it again after it failed; None while its answer is awaited.
        is_settling: the answer that counts is SettleClaim's.
    """

    request_id: str
    slots: int
    sent_at: float
    retry_at: float | None = None
    is_settling: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a person may set about an agent's times, in seconds; see AgentState and Health."""

    exit_when_idle_s: float | None = None
    drain_s: float = DRAIN_S
    first_rest_s: float = FIRST_REST_S


@dataclass(frozen=True, slots=True)
class AgentState:
    """Everything that the agent decides by.

    Attributes:
        prefix: makes the ids of this agent's claims unlike those of every other.
        attempts: at most one with a process for each trial, and one in each slot.
        breaker: whether trials can be trusted to it.
        claim_at: no claim goes out before.
        beat_at: when the next heartbeat is due.
        is_beating: a heartbeat is under way.
        idle_since: when the last attempt went; None while there is one.
        exit_when_idle_s: leave after so long without a trial; None: never.
        drain_s: how long a drain may take in all.
        exit_by: a draining agent is gone by then, whatever happens.
        exit_code: of a draining agent.
    """

    slots: int
    prefix: str
    idle_since: float | None
    beat_at: float
    exit_when_idle_s: float | None = None
    mode: Mode = Mode.WORKING
    attempts: tuple[Attempt, ...] = ()
    claim: OpenClaim | None = None
    n_claims: int = 0
    claim_at: float = 0.0
    releasing: frozenset[Key] = frozenset()
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    is_beating: bool = False
    drain_s: float = DRAIN_S
    exit_by: float | None = None
    exit_code: int = 0

    @classmethod
    def begin(cls, *, slots: int, prefix: str, now: float, limits: Limits | None = None) -> Self:
        """An agent that has just started."""
        limits = limits or Limits()
        return cls(
            slots=slots,
            prefix=prefix,
            idle_since=now,
            beat_at=now,
            exit_when_idle_s=limits.exit_when_idle_s,
            drain_s=limits.drain_s,
            breaker=CircuitBreaker(limits.first_rest_s),
        )

    def find(self, key: Key) -> Attempt | None:
        """The attempt, if the agent holds it."""
        return next((attempt for attempt in self.attempts if attempt.key == key), None)

    def with_attempt(self, attempt: Attempt) -> AgentState:
        """The state with this attempt, new or changed."""
        others = tuple(each for each in self.attempts if each.key != attempt.key)
        return replace(self, attempts=(*others, attempt))

    def without(self, key: Key) -> AgentState:
        """The state without this attempt."""
        return replace(self, attempts=tuple(each for each in self.attempts if each.key != key))

    @property
    def free_slots(self) -> tuple[int, ...]:
        """Slots without an attempt."""
        taken = {attempt.slot for attempt in self.attempts}
        return tuple(slot for slot in range(self.slots) if slot not in taken)

    @property
    def claimable_slots(self) -> int:
        """How many trials a claim may ask for, once its time has come: one of a sick worker."""
        if self.mode is not Mode.WORKING:
            return 0
        if self.breaker.is_open:
            return 0 if any(attempt.is_half_open for attempt in self.attempts) else min(1, len(self.free_slots))
        return len(self.free_slots)

    @property
    def claims_at(self) -> float:
        """No claim goes out before: neither from a worker that rests, nor too soon behind an empty answer."""
        return max(self.claim_at, self.breaker.rests_until or self.claim_at)

    def status(self, now: float) -> str:
        """One line about the worker for its fellow humans, empty when all is well."""
        return "draining" if self.mode is not Mode.WORKING else self.breaker.status(now)

    def next_deadline(self) -> float | None:
        """When a Tick is due at the latest, on the clock that the events came with."""
        times = [at for attempt in self.attempts for at in attempt.deadlines]
        if not self.is_beating:
            times.append(self.beat_at)
        if self.claim is None and self.claimable_slots:
            times.append(self.claims_at)
        if self.claim is not None and self.claim.retry_at is not None:
            times.append(self.claim.retry_at)
        if self.exit_by is not None:
            times.append(self.exit_by)
        if self.idle_since is not None and self.exit_when_idle_s is not None and self.mode is Mode.WORKING:
            times.append(self.idle_since + self.exit_when_idle_s)
        return min(times, default=None)
