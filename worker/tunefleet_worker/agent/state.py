"""What an agent knows: its mode, attempts, claim and timers; frozen, `machine` makes the next state of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from tunefleet.names import TrialId
from tunefleet.protocol import Lease, StopOrder
from tunefleet_worker.agent.events import Key

MOST_FAILURES = 3  # different trials in a row that failed by themselves: then it is rather the worker than the trials


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
    """

    lease: Lease
    slot: int | None
    phase: Phase
    stop: StopOrder | None = None
    timeout_at: float | None = None
    kill_at: float | None = None
    fate: Fate | None = None

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
class AgentState:
    """Everything that the agent decides by.

    Attributes:
        prefix: makes the ids of this agent's claims unlike those of every other.
        attempts: at most one with a process for each trial, and one in each slot.
        failures: the trials that failed by themselves, one after another.
        claim_at: no claim goes out before.
        beat_at: when the next heartbeat is due.
        is_beating: a heartbeat is under way.
        idle_since: when the last attempt went; None while there is one.
        exit_when_idle_s: leave after so long without a trial; None: never.
        exit_by: a draining agent is gone by then, whatever happens.
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
    failures: tuple[TrialId, ...] = ()
    is_beating: bool = False
    exit_by: float | None = None

    @classmethod
    def begin(cls, *, slots: int, prefix: str, now: float, exit_when_idle_s: float | None = None) -> Self:
        """An agent that has just started."""
        return cls(slots=slots, prefix=prefix, idle_since=now, beat_at=now, exit_when_idle_s=exit_when_idle_s)

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
    def is_sick(self) -> bool:
        """Whether too many trials failed here for another one to be risked."""
        return len(self.failures) >= MOST_FAILURES

    @property
    def status(self) -> str:
        """One line about the worker for its fellow humans, empty when all is well."""
        if self.mode is not Mode.WORKING:
            return "draining"
        if self.is_sick:
            trials = ", ".join(str(trial) for trial in self.failures)
            return (
                f"stopped claiming: {len(self.failures)} different trials failed here in a row (ids {trials}); "
                "restart the worker when the cause is mended"
            )
        return ""

    def next_deadline(self) -> float | None:
        """When a Tick is due at the latest, on the clock that the events came with."""
        times = [at for attempt in self.attempts for at in attempt.deadlines]
        if not self.is_beating:
            times.append(self.beat_at)
        if self.claim is None and self.free_slots and self.mode is Mode.WORKING and not self.is_sick:
            times.append(self.claim_at)
        if self.claim is not None and self.claim.retry_at is not None:
            times.append(self.claim.retry_at)
        if self.exit_by is not None:
            times.append(self.exit_by)
        if self.idle_since is not None and self.exit_when_idle_s is not None and self.mode is Mode.WORKING:
            times.append(self.idle_since + self.exit_when_idle_s)
        return min(times, default=None)
