"""The state of an agent: mode, attempts, claim and timers. It is frozen; `machine` computes the next state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from tunefleet.protocol import Lease, StopOrder
from tunefleet_worker.agent.circuit_breaker import FIRST_COOLDOWN_S, CircuitBreaker
from tunefleet_worker.agent.events import Key

DRAIN_S = 25.0  # from the start of a drain to exit: batch systems and clouds kill after 30 s
GRACE_SHARE = 0.6  # of DRAIN_S for a training process to save its state; the rest is for the delivery
LEAVE_SHARE = 0.92  # of DRAIN_S until the agent stops the delivery; the next agent in its folder continues


class Mode(StrEnum):
    """The agent's lifecycle; WORKING -> DRAINING -> EXITED."""

    WORKING = "working"
    DRAINING = "draining"
    """The agent claims nothing, and exits after its attempts are delivered."""
    EXITED = "exited"


class Phase(StrEnum):
    """The lifecycle of an attempt; BLOCKED -> STARTING -> TRAINING -> DELIVERING -> removed."""

    BLOCKED = "blocked"
    """An older attempt of the same trial still has a process."""
    STARTING = "starting"
    TRAINING = "training"
    DELIVERING = "delivering"
    """The process has ended; its records are being delivered."""


class KillReason(StrEnum):
    """The reason for which the agent killed a training process."""

    LOST = "lost"
    TIMEOUT = "timeout"
    STOPPED = "stopped"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A lease that the agent holds.

    Attributes:
        slot: the slot of its process; None for an attempt of an earlier agent, which has no process.
        stop: the master's order to stop, if any.
        timeout_at: when the attempt exceeds the trial's time limit.
        kill_at: when the grace period after an order ends.
        kill_reason: set once the agent has killed the process.
        is_half_open: claimed while the circuit breaker was not closed; its end decides on the breaker.
    """

    lease: Lease
    slot: int | None
    phase: Phase
    stop: StopOrder | None = None
    timeout_at: float | None = None
    kill_at: float | None = None
    kill_reason: KillReason | None = None
    is_half_open: bool = False

    @property
    def key(self) -> Key:
        """The attempt's key."""
        return Key.of(self.lease)

    @property
    def has_process(self) -> bool:
        """True while a training process runs or is being started."""
        return self.phase in (Phase.STARTING, Phase.TRAINING)

    @property
    def deadlines(self) -> tuple[float, ...]:
        """The times at which the agent must kill the process."""
        if not self.has_process or self.kill_reason is not None:
            return ()
        return tuple(at for at in (self.timeout_at, self.kill_at) if at is not None)


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """The claim in flight. Retries have the same id, so that no lease is lost with an answer.

    Attributes:
        retry_at: when to send the claim again after a failure; None while its answer is awaited.
        is_settling: only the answer to SettleClaim ends the claim.
    """

    request_id: str
    slots: int
    sent_at: float
    retry_at: float | None = None
    is_settling: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The configurable times of an agent, in seconds; see AgentState and CircuitBreaker."""

    exit_when_idle_s: float | None = None
    drain_s: float = DRAIN_S
    first_cooldown_s: float = FIRST_COOLDOWN_S


@dataclass(frozen=True, slots=True)
class AgentState:
    """The complete state of an agent.

    Attributes:
        prefix: makes the ids of this agent's claims unique.
        attempts: at most one with a process for each trial, and at most one in each slot.
        claim_at: the earliest time of the next claim.
        releasing: leases that were never started and whose release is not confirmed.
        heartbeat_at: when the next heartbeat is due.
        is_heartbeat_pending: a heartbeat was sent and is not answered.
        idle_since: when the last attempt was removed; None while there is one.
        exit_when_idle_s: leave after this many seconds without a trial; None: never.
        drain_s: time limit of a drain.
        exit_by: a draining agent exits at this time at the latest.
        exit_code: the exit code of a draining agent.
    """

    slots: int
    prefix: str
    idle_since: float | None
    heartbeat_at: float
    exit_when_idle_s: float | None = None
    mode: Mode = Mode.WORKING
    attempts: tuple[Attempt, ...] = ()
    claim: OpenClaim | None = None
    n_claims: int = 0
    claim_at: float = 0.0
    releasing: frozenset[Key] = frozenset()
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    is_heartbeat_pending: bool = False
    drain_s: float = DRAIN_S
    exit_by: float | None = None
    exit_code: int = 0

    @classmethod
    def begin(cls, *, slots: int, prefix: str, now: float, limits: Limits | None = None) -> Self:
        """Return the state of an agent that has just started."""
        limits = limits or Limits()
        return cls(
            slots=slots,
            prefix=prefix,
            idle_since=now,
            heartbeat_at=now,
            exit_when_idle_s=limits.exit_when_idle_s,
            drain_s=limits.drain_s,
            breaker=CircuitBreaker(limits.first_cooldown_s),
        )

    def find(self, key: Key) -> Attempt | None:
        """Return the attempt; None when the agent does not hold it."""
        return next((attempt for attempt in self.attempts if attempt.key == key), None)

    def with_attempt(self, attempt: Attempt) -> AgentState:
        """Return the state with this attempt added or replaced."""
        others = tuple(each for each in self.attempts if each.key != attempt.key)
        return replace(self, attempts=(*others, attempt))

    def without(self, key: Key) -> AgentState:
        """Return the state without this attempt."""
        return replace(self, attempts=tuple(each for each in self.attempts if each.key != key))

    @property
    def free_slots(self) -> tuple[int, ...]:
        """Slots without an attempt."""
        taken = {attempt.slot for attempt in self.attempts}
        return tuple(slot for slot in range(self.slots) if slot not in taken)

    @property
    def claimable_slots(self) -> int:
        """The number of slots that a claim may ask for; at most one unless the circuit breaker is closed."""
        if self.mode is not Mode.WORKING:
            return 0
        if self.breaker.is_open:
            return 0 if any(attempt.is_half_open for attempt in self.attempts) else min(1, len(self.free_slots))
        return len(self.free_slots)

    @property
    def earliest_claim_at(self) -> float:
        """The earliest time of the next claim: after the cooldown, and not too soon after an empty answer."""
        return max(self.claim_at, self.breaker.open_until or self.claim_at)

    def status(self, now: float) -> str:
        """Return one line on the worker for a person; empty in normal operation."""
        return "draining" if self.mode is not Mode.WORKING else self.breaker.status(now)

    def next_deadline(self) -> float | None:
        """Return the latest time for the next Tick, on the clock of the events; None: no Tick is needed."""
        times = [at for attempt in self.attempts for at in attempt.deadlines]
        if not self.is_heartbeat_pending:
            times.append(self.heartbeat_at)
        if self.claim is None and self.claimable_slots:
            times.append(self.earliest_claim_at)
        if self.claim is not None and self.claim.retry_at is not None:
            times.append(self.claim.retry_at)
        if self.exit_by is not None:
            times.append(self.exit_by)
        if self.idle_since is not None and self.exit_when_idle_s is not None and self.mode is Mode.WORKING:
            times.append(self.idle_since + self.exit_when_idle_s)
        return min(times, default=None)
