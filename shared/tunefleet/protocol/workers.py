"""What a worker says of itself, and what it will take by it."""

from __future__ import annotations

from pydantic import Field

from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.plain import FreeText

MAX_REST_S = 86_400.0


class WorkerFacts(Model):
    """What a worker says of itself with every claim and heartbeat."""

    host: FreeText = Field(default="", max_length=200)
    device: FreeText = Field(default="cpu", max_length=200)
    """As a person reads it: `cpu`, `NVIDIA H200`."""
    slots: int = Field(default=1, ge=1, le=1_024)
    gpus_per_slot: int = Field(default=0, ge=0, le=64)
    labels: tuple[Name, ...] = Field(default=(), max_length=20)
    allow_code: bool = False
    """Whether it runs functions and commands that users submit, or built-in tasks only."""
    preflight: bool = False
    """Whether it knows how to run a study's preflight."""
    study: Name | None = None
    """It takes trials of this study only; None: of any."""
    version: FreeText = Field(default="", max_length=50)
    status: FreeText = Field(default="", max_length=500)
    """One line that a person should know, such as why it rests."""
    resting_s: float | None = Field(default=None, ge=0, le=MAX_REST_S)
    """It takes no trial for so long from now, since several failed on it in a row; None: it does not rest."""
    is_leaving: bool = False
    """It takes no trial any more: it saves what it has, and goes."""
