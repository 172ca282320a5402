"""What happens to an agent (events), and what it does about it (instructions)."""

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
        """The attempt that a lease is for."""
        return cls(lease.trial_id, lease.attempt)


# --- Events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The master answered a claim; `settles`: it was the one that SettleClaim asked for."""

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
    """An attempt of an earlier agent was found in the folder; `end` is what it recorded."""

    lease: Lease
    end: End | None


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """The training process runs."""

    key: Key


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """The training process is gone, or could not be started.

    `end` is what it recorded itself; `exit_end` what its way to go away means.
    """

    key: Key
    end: End | None
    exit_end: End


@dataclass(frozen=True, slots=True)
class Directed:
    """The master's answer to reports says that the trial must stop."""

    key: Key
    stop: StopOrder


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """The master says that another attempt has the trial, or that it has ended."""

    key: Key


@dataclass(frozen=True, slots=True)
class Delivered:
    """The master has taken the end, or (`answer` is None) does not want it any more."""

    key: Key
    end: End
    answer: EndResponse | None


@dataclass(frozen=True, slots=True)
class Released:
    """A lease that was never started was given back."""

    key: Key


@dataclass(frozen=True, slots=True)
class Beaten:
    """The master answered a heartbeat."""

    sent: tuple[Key, ...]
    lost: tuple[TrialId, ...]
    stop: tuple[StopOrder, ...]
    next_in_s: float


@dataclass(frozen=True, slots=True)
class BeatFailed:
    """The master did not answer a heartbeat."""

    next_in_s: float


@dataclass(frozen=True, slots=True)
class SignalCame:
    """Somebody wants the worker to go: first gently, a second time at once."""


Event = (
    Tick
    | Claimed
    | ClaimFailed
    | Recovered
    | ChildStarted
    | ChildEnded
    | Directed
    | LeaseGone
    | Delivered
    | Released
    | Beaten
    | BeatFailed
    | SignalCame
)

# --- Instructions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for trials; answer with Claimed or ClaimFailed."""

    request_id: str
    slots: int
    wait_s: float
    status: str


@dataclass(frozen=True, slots=True)
class SettleClaim:
    """Ask again for the leases of a claim whose answer is not waited for, without waiting; answer as to Claim."""

    request_id: str
    slots: int


@dataclass(frozen=True, slots=True)
class Start:
    """Start the training process in a slot; answer with ChildStarted and, in the end, ChildEnded."""

    lease: Lease
    slot: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Give the training process an order."""

    key: Key
    order: Order


@dataclass(frozen=True, slots=True)
class Kill:
    """End the training process and all that it started, at once; ChildEnded follows."""

    key: Key


@dataclass(frozen=True, slots=True)
class Adopt:
    """Look after the files of an attempt whose training process is long gone."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Deliver:
    """Deliver what is left in the spool, and then the end; answer with Delivered."""

    key: Key
    end: End


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the attempt and delete its files."""

    key: Key


@dataclass(frozen=True, slots=True)
class Release:
    """Give back a lease that was never started; answer with Released."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class ReleaseAtOnce:
    """Give back the leases of killed children as far as that goes within a moment; no answer."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """Send a heartbeat for these attempts; answer with Beaten or BeatFailed."""

    keys: tuple[Key, ...]
    status: str
    resting_s: float | None = None
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the person who watches."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave; nothing is done behind this."""

    code: int


Instruction = (
    Claim | SettleClaim | Start | Tell | Kill | Adopt | Deliver | Drop | Release | ReleaseAtOnce | Beat | Say | Exit
)
