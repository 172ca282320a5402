"""The inputs (events) and outputs (instructions) of the agent's state machine."""

from __future__ import annotations

from dataclasses import dataclass

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, HeldLease, Lease, StopOrder
from tunefleet_worker.orders import Order
from tunefleet_worker.spool import End


@dataclass(frozen=True, slots=True)
class Key:
    """One attempt of one trial."""

    trial_id: TrialId
    attempt: int

    @classmethod
    def of(cls, lease: Lease | HeldLease) -> Key:
        """Return the key of a lease's attempt."""
        return cls(lease.trial_id, lease.attempt)


# --- Events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The master answered a claim; `settles`: the claim was a SettleClaim."""

    request_id: str
    leases: tuple[Lease, ...]
    settles: bool = False


@dataclass(frozen=True, slots=True)
class ClaimFailed:
    """The master refused a claim, or did not answer."""

    request_id: str
    settles: bool = False


@dataclass(frozen=True, slots=True)
class Recovered:
    """An attempt of an earlier agent was found in the folder; `end` is its recorded end, if any."""

    lease: Lease
    end: End | None


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """The training process has started."""

    key: Key


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """The training process has ended, or could not be started.

    `end` is the end that it recorded itself, if any; `exit_end` is the end that its exit code implies.
    """

    key: Key
    end: End | None
    exit_end: End


@dataclass(frozen=True, slots=True)
class StopOrdered:
    """The master's answer to reports orders the trial to stop."""

    key: Key
    stop: StopOrder


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The master answered that another attempt has the trial, or that the trial has ended."""

    key: Key


@dataclass(frozen=True, slots=True)
class Delivered:
    """The master accepted the end, or refused it (`answer` is None)."""

    key: Key
    end: End
    answer: EndResponse | None


@dataclass(frozen=True, slots=True)
class Released:
    """A lease that was never started was released."""

    key: Key


@dataclass(frozen=True, slots=True)
class HeartbeatAnswered:
    """The master answered a heartbeat."""

    sent: tuple[Key, ...]
    lost: tuple[TrialId, ...]
    stop: tuple[StopOrder, ...]
    next_in_s: float


@dataclass(frozen=True, slots=True)
class HeartbeatFailed:
    """The master did not answer a heartbeat."""

    next_in_s: float


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """SIGTERM or SIGINT was received: the first drains, the second exits at once."""


Event = (
    Tick
    | Claimed
    | ClaimFailed
    | Recovered
    | ChildStarted
    | ChildEnded
    | StopOrdered
    | LeaseLost
    | Delivered
    | Released
    | HeartbeatAnswered
    | HeartbeatFailed
    | SignalReceived
)

# --- Instructions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim trials; Claimed or ClaimFailed follows."""

    request_id: str
    slots: int
    wait_s: float
    status: str


@dataclass(frozen=True, slots=True)
class SettleClaim:
    """Repeat a claim that is still open, without waiting, to learn its leases; Claimed or ClaimFailed follows."""

    request_id: str
    slots: int


@dataclass(frozen=True, slots=True)
class Start:
    """Start the training process in a slot; ChildStarted and finally ChildEnded follow."""

    lease: Lease
    slot: int


@dataclass(frozen=True, slots=True)
class SendOrder:
    """Send an order to the training process."""

    key: Key
    order: Order


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the training process and its descendants; ChildEnded follows."""

    key: Key


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take over the files of an attempt of an earlier agent; it has no process."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Deliver:
    """Deliver the rest of the spool and then the end; Delivered follows."""

    key: Key
    end: End


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the attempt and delete its files."""

    key: Key


@dataclass(frozen=True, slots=True)
class Release:
    """Release a lease that was never started; Released follows."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class ReleaseAtOnce:
    """Release the leases of killed children, as many as possible within RELEASE_AT_ONCE_S; no event follows."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Send a heartbeat for these attempts; HeartbeatAnswered or HeartbeatFailed follows."""

    keys: tuple[Key, ...]
    status: str
    resting_s: float | None = None
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    """Log a line for the operator."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Exit; the last instruction."""

    code: int


Instruction = (
    Claim
    | SettleClaim
    | Start
    | SendOrder
    | Kill
    | Adopt
    | Deliver
    | Drop
    | Release
    | ReleaseAtOnce
    | SendHeartbeat
    | Log
    | Exit
)
