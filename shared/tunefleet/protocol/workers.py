"""Workers: the facts that they send, and what users read."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.plain import FreeText
from tunefleet.protocol.trials import TrialView

MAX_REST_S = 86_400.0


class WorkerFacts(Model):
    """Facts about a worker, sent with every claim and heartbeat."""

    host: FreeText = Field(default="", max_length=200)
    device: FreeText = Field(default="cpu", max_length=200)
    """A readable name, such as `cpu` or `NVIDIA H200`."""
    slots: int = Field(default=1, ge=1, le=1_024)
    gpus_per_slot: int = Field(default=0, ge=0, le=64)
    labels: tuple[Name, ...] = Field(default=(), max_length=20)
    allow_code: bool = False
    """True: it runs functions and commands that users submit. False: it runs built-in tasks only."""
    preflight: bool = False
    """True: it can run a study's preflight."""
    study: Name | None = None
    """It takes trials of this study only; None: of any study."""
    version: FreeText = Field(default="", max_length=50)
    status: FreeText = Field(default="", max_length=500)
    """One line for people, such as the reason that it takes no trials."""
    resting_s: float | None = Field(default=None, ge=0, le=MAX_REST_S)
    """It takes no trials for this long from now, because several failed on it in a row. None: it takes trials."""
    is_leaving: bool = False
    """It takes no more trials: it saves its running trials, then exits."""


class WorkerView(Model):
    """A worker as users read it. It is `alive` while its last heartbeat is younger than the lease time."""

    name: Name
    facts: WorkerFacts
    first_seen_at: AwareDatetime
    last_beat_at: AwareDatetime
    alive: bool
    rests_until: AwareDatetime | None = None
    """It takes no trials before this time, because several failed on it in a row; `facts.status` names them."""
    trials: list[TrialView]
